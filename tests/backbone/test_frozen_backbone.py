import logging
import re
import shutil

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen3VLModel

from lerobot_qwenvla.backbone import FrozenBackbone, loading
from lerobot_qwenvla.backbone.prompt import MAX_INSTRUCTION_TOKENS
from lerobot_qwenvla.backbone.text_layers import picture_positions

FRAMES = torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))  # (B, F, C, H, W)
INSTRUCTIONS = ["go", "go to the red box", "gå till den röda lådan"]


@pytest.fixture(scope="module")
def full_model(backbone_dir) -> Qwen3VLModel:
    """transformers' own model, untouched."""
    return Qwen3VLModel.from_pretrained(backbone_dir, dtype=torch.float32).eval()


@torch.no_grad()
def stock_features(model: Qwen3VLModel, backbone: FrozenBackbone, frames: torch.Tensor, instruction: str):
    """Hidden states of pictures (F, C, H, W) in one sequence, the way transformers computes them.  # (F, T, D)"""
    content = [{"type": "text", "text": instruction}, *[{"type": "image"}] * len(frames)]
    prompt = backbone.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    inputs = backbone.processor(
        text=[prompt], images=list(frames), do_rescale=False, size=backbone.resize, return_tensors="pt"
    )
    hidden = model(**inputs, output_hidden_states=True).hidden_states[backbone.settings.vlm_layer]
    return hidden[0, inputs["input_ids"][0] == model.config.image_token_id].unflatten(0, (len(frames), -1))


@pytest.mark.parametrize("shape", [(64, 64), (32, 128)])
@pytest.mark.parametrize("mode", ["per_frame", "joint"])
def test_features_are_the_full_models_hidden_states(make_settings, full_model, mode, shape):
    backbone = FrozenBackbone(make_settings(vlm_layer=4, image_size=96, frame_encoding=mode))
    frames = torch.rand(3, 2, 3, *shape)
    features = backbone.encode(frames, INSTRUCTIONS)
    assert len(backbone.text.layers) == 4 < len(full_model.language_model.layers)
    for row, instruction in enumerate(INSTRUCTIONS):
        sequences = [frames[row]] if mode == "joint" else frames[row].split(1)
        stock = torch.cat([stock_features(full_model, backbone, sequence, instruction) for sequence in sequences])
        torch.testing.assert_close(features[row], stock, atol=1e-5, rtol=1e-4)


def test_encoding_a_batch_of_pictures_is_transformers_vision_tower(make_settings, full_model):
    backbone = FrozenBackbone(make_settings(image_size=128))
    backbone.load("cpu")
    patches, grid = backbone.prepare(FRAMES[:, 0]), backbone.patch_grid((3, 64, 64))
    with torch.no_grad():
        ours = backbone.vision.encode_images(patches, grid)  # (3, 1 + K, T, D)
        stock = full_model.visual(patches.flatten(0, 1), grid_thw=torch.tensor([[1, *grid]] * 3))
    levels = [stock.pooler_output, *stock.deepstack_features]
    expected = torch.stack([level.unflatten(0, (3, -1)) for level in levels], dim=1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), frames=st.integers(1, 3), words=st.integers(0, 5))
@settings(max_examples=40)
def test_positions_are_those_of_transformers(full_model, rows, columns, frames, words):
    image, between = [1] * (rows * columns), [0, 0]
    kinds = [0] * words
    for frame in range(frames):
        kinds += (between if frame else []) + image
    grids = torch.tensor([[1, 2 * rows, 2 * columns]] * frames)
    stock, _ = full_model.get_rope_index(torch.zeros(1, len(kinds), dtype=torch.long), torch.tensor([kinds]), grids)
    ours = words + picture_positions((rows, columns), frames, len(between), torch.device("cpu"))
    assert torch.equal(ours[:, : len(kinds) - words], stock[:, 0, words:])


@pytest.mark.parametrize("mode", ["per_frame", "joint"])
def test_a_batch_is_read_as_each_row_would_be_alone(make_settings, mode):
    backbone = FrozenBackbone(make_settings(frame_encoding=mode))
    together = backbone.encode(FRAMES, INSTRUCTIONS)
    alone = torch.cat([backbone.encode(FRAMES[i : i + 1], INSTRUCTIONS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def count_prefills(backbone: FrozenBackbone) -> list[list[str]]:
    """Fills with the instructions of every prefill that is run from now on."""
    backbone.load("cpu")
    prefill, seen = backbone.prefill, []
    backbone.prefill = lambda texts: (seen.append(texts), prefill(texts))[1]
    return seen


def test_an_instruction_is_read_once_for_all_its_frames(make_settings):
    backbone = FrozenBackbone(make_settings())
    read = count_prefills(backbone)
    with torch.no_grad():
        first = backbone.encode(FRAMES, ["go", "go", "stop"])
        again = backbone.encode(FRAMES, ["go", "go", "stop"])
    assert read == [["go", "stop"]]
    assert torch.equal(first, again)


@torch.no_grad()
def test_forty_instructions_are_read_together_and_once(make_settings):
    backbone = FrozenBackbone(make_settings())
    read = count_prefills(backbone)
    texts = [f"go to box {n} " + "and on " * (n % 5) for n in range(40)]
    frames = torch.rand(40, 1, 3, 64, 64)
    features = [backbone.encode(frames, texts) for _ in range(2)]
    assert [len(batch) for batch in read] == [40]
    assert torch.equal(*features)
    alone = torch.cat([FrozenBackbone.encode(backbone, frames[i : i + 1], texts[i : i + 1]) for i in (0, 7, 39)])
    torch.testing.assert_close(features[0][[0, 7, 39]], alone, atol=1e-5, rtol=1e-4)


def test_picture_tokens_have_read_the_instruction(make_settings):
    backbone = FrozenBackbone(make_settings())
    first, second = (backbone.encode(FRAMES[:1], [text]) for text in INSTRUCTIONS[:2])
    assert (first - second).abs().max() > 1e-3


def test_later_frames_have_read_earlier_ones_only_jointly(make_settings):
    changed = FRAMES.clone()
    changed[:, 0] = 1 - changed[:, 0]
    for mode in ("per_frame", "joint"):
        backbone = FrozenBackbone(make_settings(frame_encoding=mode))
        before, after = backbone.encode(FRAMES, INSTRUCTIONS), backbone.encode(changed, INSTRUCTIONS)
        assert ((before - after)[:, 1].abs().max() > 1e-3) == (mode == "joint")


def test_a_long_instruction_is_cut_with_a_warning(make_settings, caplog):
    backbone = FrozenBackbone(make_settings())
    with caplog.at_level(logging.WARNING):
        features = backbone.encode(FRAMES[:1], ["go" + " go" * 9999])
    assert f"An instruction of 10000 tokens is cut to {MAX_INSTRUCTION_TOKENS}: 'go go" in caplog.text
    torch.testing.assert_close(features, backbone.encode(FRAMES[:1], ["go" + " go" * (MAX_INSTRUCTION_TOKENS - 1)]))


def test_an_instruction_with_a_placeholder_of_a_picture_is_refused(make_settings):
    with pytest.raises(ValueError, match=re.escape("'look <|image_pad|>' contains <|image_pad|>")):
        FrozenBackbone(make_settings()).encode(FRAMES[:1], ["look <|image_pad|>"])


@pytest.mark.parametrize(("height", "width", "tokens"), [(64, 64, 4), (128, 128, 4), (32, 128, 4), (50, 50, 4)])
def test_any_picture_size_becomes_the_announced_number_of_tokens(make_settings, height, width, tokens):
    backbone = FrozenBackbone(make_settings())
    rows, columns = backbone.token_grid((3, height, width))
    assert rows * columns == tokens
    assert backbone.encode(torch.rand(1, 1, 3, height, width), ["go"]).shape == (1, 1, tokens, 64)


def test_frozen_in_eval_mode_and_outside_of_every_state_dict(make_settings):
    backbone = FrozenBackbone(make_settings())
    backbone.load("cpu")
    nn.ModuleList([backbone]).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert nn.ModuleList([backbone]).state_dict() == {}
    assert not backbone.encode(FRAMES.clone().requires_grad_(), INSTRUCTIONS).requires_grad


LINEAR = {"none": nn.Linear, "4bit": Linear4bit, "8bit": Linear8bitLt}


@pytest.mark.parametrize(("text", "vision"), [("4bit", "none"), ("8bit", "none"), ("4bit", "4bit"), ("none", "8bit")])
def test_text_layers_and_vision_tower_are_quantised_as_told(make_settings, text, vision):
    plain = FrozenBackbone(make_settings())
    quantised = FrozenBackbone(make_settings(quantization=text, vision_quantization=vision))
    features = quantised.encode(FRAMES, INSTRUCTIONS)
    for part, wanted in ((quantised.text, text), (quantised.vision, vision)):
        assert {type(module) for module in part.modules() if isinstance(module, nn.Linear)} == {LINEAR[wanted]}
    reference = plain.encode(FRAMES, INSTRUCTIONS)
    assert 0 < (features - reference).abs().mean() < 0.25 * reference.abs().mean()


def test_only_the_parts_in_use_are_allocated(make_settings, backbone_dir):
    backbone = FrozenBackbone(make_settings(vlm_layer=2))
    backbone.load("cpu")
    stored = load_file(backbone_dir / "model.safetensors")
    needed = [name for name in stored if ".visual." in name or "embed_tokens" in name]
    needed += [name for name in stored if ".layers.0." in name or ".layers.1." in name]
    assert sum(p.numel() for p in backbone.parameters()) == sum(stored[name].numel() for name in set(needed))


@pytest.fixture
def broken_backbone(backbone_dir, tmp_path):
    return shutil.copytree(backbone_dir, tmp_path / "broken")


def test_folder_without_weights_is_refused(make_settings, broken_backbone):
    (broken_backbone / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"broken.*model.safetensors.*download it again"):
        FrozenBackbone(make_settings(backbone=str(broken_backbone))).load("cpu")


def test_folder_with_truncated_weights_is_refused(make_settings, broken_backbone):
    weights = broken_backbone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"--policy\.backbone=.*broken: .*download it again"):
        FrozenBackbone(make_settings(backbone=str(broken_backbone))).load("cpu")


def test_folder_with_some_weights_missing_is_refused(make_settings, broken_backbone):
    weights = load_file(broken_backbone / "model.safetensors")
    del weights["model.visual.blocks.0.norm1.weight"]
    save_file(weights, broken_backbone / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing.*visual.blocks.0.norm1.weight"):
        FrozenBackbone(make_settings(backbone=str(broken_backbone))).load("cpu")


def test_folder_that_does_not_exist_is_refused(make_settings, tmp_path):
    with pytest.raises(ValueError, match=r"--policy.backbone=.*nowhere.*qwenvla-tiny-backbone"):
        FrozenBackbone(make_settings(backbone=str(tmp_path / "nowhere")))


def test_more_layers_than_the_model_has_are_refused(make_settings):
    with pytest.raises(ValueError, match="vlm_layer=7 exceeds the 6 text layers"):
        FrozenBackbone(make_settings(vlm_layer=7))


def test_4bit_without_bitsandbytes_is_refused(make_settings, monkeypatch):
    monkeypatch.setattr(loading, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ValueError, match="a 4bit backbone needs bitsandbytes: pip install bitsandbytes"):
        FrozenBackbone(make_settings(quantization="4bit")).load("cpu")
