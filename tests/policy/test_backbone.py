import shutil
import subprocess
import sys

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen3VLModel

from lerobot_qwenvla.backbone import FrozenBackbone

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
INSTRUCTIONS = ["go", "go to the red box", "gå till den röda lådan"]


def test_features_are_the_full_models_hidden_states(make_config, backbone_dir):
    config = make_config(vlm_layer=4)
    truncated = FrozenBackbone(config)
    features = truncated.encode(IMAGES[:1], INSTRUCTIONS[:1])
    full = Qwen3VLModel.from_pretrained(backbone_dir, dtype=torch.float32).eval()
    prompt = f"<|im_start|>user\n{INSTRUCTIONS[0]}<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
    inputs = truncated.processor(
        text=[prompt], images=[IMAGES[0]], do_rescale=False, size=truncated.resize, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = full(**inputs, output_hidden_states=True).hidden_states
    assert len(full.language_model.layers) == 6
    assert len(truncated.model.language_model.layers) == 4
    is_image = inputs["input_ids"][0] == full.config.image_token_id
    torch.testing.assert_close(features[0], hidden[4][0, is_image], atol=1e-5, rtol=1e-5)


def test_instructions_of_different_length_in_a_batch_change_nothing(make_config):
    backbone = FrozenBackbone(make_config())
    together = backbone.encode(IMAGES, INSTRUCTIONS)
    alone = torch.cat([backbone.encode(IMAGES[i : i + 1], INSTRUCTIONS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_picture_tokens_have_read_the_instruction(make_config):
    backbone = FrozenBackbone(make_config())
    first, second = (backbone.encode(IMAGES[:1], [text]) for text in INSTRUCTIONS[:2])
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width", "tokens"), [(64, 64, 4), (128, 128, 4), (32, 128, 4), (50, 50, 4)])
def test_any_picture_size_becomes_the_announced_number_of_tokens(make_config, height, width, tokens):
    backbone = FrozenBackbone(make_config())
    assert backbone.tokens_per_image((3, height, width)) == tokens
    assert backbone.encode(torch.rand(1, 3, height, width), ["go"]).shape == (1, tokens, 64)


def test_frozen_in_eval_mode_and_outside_of_every_state_dict(make_config):
    backbone = FrozenBackbone(make_config())
    backbone.load()
    nn.ModuleList([backbone]).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert nn.ModuleList([backbone]).state_dict() == {}
    assert not backbone.encode(IMAGES.requires_grad_(), INSTRUCTIONS).requires_grad


@pytest.mark.parametrize(("quantization", "linear"), [("4bit", Linear4bit), ("8bit", Linear8bitLt)])
def test_text_layers_are_quantised_and_the_vision_tower_is_not(make_config, quantization, linear):
    plain = FrozenBackbone(make_config())
    quantised = FrozenBackbone(make_config(quantization=quantization))
    features = quantised.encode(IMAGES, INSTRUCTIONS)
    kinds = {type(m) for m in quantised.model.language_model.modules() if isinstance(m, nn.Linear)}
    assert kinds == {linear}
    assert not any(isinstance(m, linear) for m in quantised.model.visual.modules())
    reference = plain.encode(IMAGES, INSTRUCTIONS)
    assert 0 < (features - reference).abs().mean() < 0.25 * reference.abs().mean()


@pytest.fixture
def broken_backbone(backbone_dir, tmp_path):
    return shutil.copytree(backbone_dir, tmp_path / "broken")


def test_folder_without_weights_is_refused(make_config, broken_backbone):
    (broken_backbone / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"broken.*model.safetensors.*download it again"):
        FrozenBackbone(make_config(backbone=str(broken_backbone))).load()


def test_folder_with_truncated_weights_is_refused(make_config, broken_backbone):
    weights = broken_backbone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"--policy\.backbone=.*broken: .*download it again"):
        FrozenBackbone(make_config(backbone=str(broken_backbone))).load()


def test_folder_with_some_weights_missing_is_refused(make_config, broken_backbone):
    weights = load_file(broken_backbone / "model.safetensors")
    del weights["model.visual.blocks.0.norm1.weight"]
    save_file(weights, broken_backbone / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing.*visual.blocks.0.norm1.weight"):
        FrozenBackbone(make_config(backbone=str(broken_backbone))).load()


def test_folder_that_does_not_exist_is_refused(make_config, tmp_path):
    with pytest.raises(ValueError, match=r"--policy.backbone=.*nowhere.*qwenvla-tiny-backbone"):
        FrozenBackbone(make_config(backbone=str(tmp_path / "nowhere")))


def test_more_layers_than_the_model_has_are_refused(make_config):
    with pytest.raises(ValueError, match="vlm_layer=7 exceeds the 6 text layers"):
        FrozenBackbone(make_config(vlm_layer=7))


def test_4bit_without_bitsandbytes_is_refused(backbone_dir):
    script = f"""
import sys
sys.modules["bitsandbytes"] = None  # as if it were not installed
from lerobot_qwenvla import QwenVLAConfig
from lerobot_qwenvla.backbone import FrozenBackbone
FrozenBackbone(QwenVLAConfig(backbone={str(backbone_dir)!r}, vlm_layer=4, device="cpu")).load()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "ValueError: --policy.quantization=4bit needs bitsandbytes: pip install bitsandbytes" in run.stderr
