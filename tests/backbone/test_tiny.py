import pytest
from safetensors.torch import load_file
from transformers import AutoProcessor

from lerobot_qwenvla.backbone.tiny import make_tiny_backbone


def test_the_same_seed_makes_the_same_weights(tmp_path):
    folders = [
        make_tiny_backbone(tmp_path / name, width=64, seed=seed) for name, seed in zip("abc", (1, 1, 2), strict=True)
    ]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert not all(weights[0][name].equal(weights[2][name]) for name in weights[0])


def test_any_text_survives_the_tokenizer(backbone_dir):
    tokenizer = AutoProcessor.from_pretrained(backbone_dir).tokenizer
    for text in ("go to the red box", "Γειά σου 🙂", "日本語\n\t"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_existing_folder_is_never_overwritten(backbone_dir):
    with pytest.raises(FileExistsError, match="remove it or choose another folder"):
        make_tiny_backbone(backbone_dir)
