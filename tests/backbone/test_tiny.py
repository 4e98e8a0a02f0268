import re

import pytest
from safetensors.torch import load_file
from transformers import AutoProcessor

from lerobot_qwenvla.backbone.tiny import make_tiny_backbone
from lerobot_qwenvla.miniworld.tasks.table import TASKS


def test_the_same_seed_makes_the_same_weights(tmp_path):
    folders = [
        make_tiny_backbone(tmp_path / name, width=64, seed=seed) for name, seed in zip("abc", (1, 1, 2), strict=True)
    ]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert not all(weights[0][name].equal(weights[2][name]) for name in weights[0])


def test_any_text_survives_the_tokenizer(backbone_dir):
    tokenizer = AutoProcessor.from_pretrained(backbone_dir).tokenizer
    for text in ("go to the red box", "Go to the RED box!", "Γειά σου 🙂", "日本語\n\t"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_word_of_our_tasks_is_one_token(backbone_dir):
    tokenizer = AutoProcessor.from_pretrained(backbone_dir).tokenizer
    for text in (words.format(goal="red ball") for task in TASKS.values() for words in (*task.words, *task.new_words)):
        assert tokenizer.tokenize(text) == [word.replace(" ", "Ġ") for word in re.findall(r" ?\w+|,", text)]


def test_a_word_without_a_token_is_read_in_pieces(backbone_dir):
    tokenizer = AutoProcessor.from_pretrained(backbone_dir).tokenizer
    assert len(tokenizer.tokenize("vibraphone")) > 1


def test_existing_folder_is_never_overwritten(backbone_dir):
    with pytest.raises(FileExistsError, match="remove it or choose another folder"):
        make_tiny_backbone(backbone_dir)
