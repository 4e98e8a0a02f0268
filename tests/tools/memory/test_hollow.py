"""Hollow policies take the bytes that loaded ones do, in whatever form bitsandbytes keeps their 4-bit weights."""

import pytest
import torch
from bitsandbytes.functional import _convert_weight_packed_for_cpu
from bitsandbytes.nn import Linear4bit
from lerobot.policies.factory import make_policy as make_policy_as_lerobot_does

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.memory.hollow import hollow_policy, verify_weights
from lerobot_qwenvla.tools.parameters import components

TEXT_LINEARS, VISION_LINEARS = 28, 24


def pack(policy: QwenVLAPolicy) -> None:
    """As bitsandbytes does on the first use of a layer on a CPU with AVX-512 BF16, which may have been."""
    for layer in policy.backbone.modules():
        if isinstance(layer, Linear4bit) and layer.weight.quant_state.nested:
            weight = layer.weight
            weight.data, weight.quant_state = _convert_weight_packed_for_cpu(weight.data, weight.quant_state)


@pytest.mark.parametrize(
    ("quantization", "vision_quantization", "dequantize", "four_bit"),
    [
        ("none", "none", False, 0),
        ("4bit", "none", False, TEXT_LINEARS),
        ("8bit", "4bit", False, VISION_LINEARS),
        ("4bit", "4bit", True, 0),
    ],
)
def test_parts_are_counted_as_they_are_loaded_and_as_they_are_after_use(
    seeing_config, quantization, vision_quantization, dequantize, four_bit
):
    config = seeing_config(
        quantization=quantization, vision_quantization=vision_quantization, dequantize=dequantize, dtype="bfloat16"
    )
    loaded = QwenVLAPolicy(config)
    assert components(hollow_policy(config)) == components(loaded)
    assert verify_weights(loaded) == four_bit
    loaded.predict_action_chunk({camera: torch.rand(1, 3, 64, 64) for camera in config.image_features} | {
        "observation.state": torch.zeros(1, 5), "task": ["go"]
    })  # fmt: skip
    assert verify_weights(loaded) == four_bit
    pack(loaded)
    assert verify_weights(loaded) == four_bit


def test_four_bit_weights_are_counted_as_stored(seeing_config):
    plain, packed = (
        {part.name: part for part in components(hollow_policy(seeing_config(quantization=q)))} for q in ("none", "4bit")
    )
    linear = 4 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128)  # layers × (query, key, value, out; gate, up, down)
    scales = linear // 64
    nested = 4 * (4 * (1 + 16 + 256) * 7 + 4 * 7)  # per Linear: a scale, two code books and an offset
    saved = plain["text layers"].stored_bytes - packed["text layers"].stored_bytes
    assert packed["text layers"].parameters == plain["text layers"].parameters
    assert saved == 4 * linear - linear // 2 - scales - nested


def test_weights_that_are_not_four_bit_are_found(make_policy):
    policy = make_policy(quantization="none")
    policy.config.quantization = "4bit"
    with pytest.raises(ValueError, match=r"text\.layers\.0\S* is a Linear with None, must be NF4"):
        verify_weights(policy)


def test_four_bits_with_plain_scales_are_found(make_policy):
    policy = make_policy(quantization="4bit")
    layer = policy.backbone.text.layers[0].self_attn.q_proj
    policy.backbone.text.layers[0].self_attn.q_proj = Linear4bit(
        layer.in_features, layer.out_features, bias=False, quant_type="nf4", compress_statistics=False
    ).to("cpu")
    with pytest.raises(ValueError, match=r"text\.layers\.0\.self_attn\.q_proj is a Linear4bit with .*, must be NF4"):
        verify_weights(policy)


def test_training_on_features_never_holds_the_backbone(seeing_config, feature_dataset, make_config):
    loaded = make_policy_as_lerobot_does(make_config(), ds_meta=feature_dataset.meta)
    hollow = hollow_policy(seeing_config(), precomputed=True)
    assert components(hollow) == components(loaded)
    assert {part.name: part.stored_bytes > 0 for part in components(hollow)} == {
        "vision tower": False, "text layers": False, "embedding table": False, "context projector": True,
        "action expert": True,
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["per_frame", "joint"])
def test_blank_features_have_the_shape_and_type_of_real_ones(seeing_config, pixel_dataset, make_settings, encoding):
    policy = hollow_policy(seeing_config(frame_encoding=encoding, dtype="bfloat16"), precomputed=True)
    rows = {camera: torch.zeros(2, 3, dtype=torch.long) for camera in policy.config.image_features}
    for features in policy.perception.store.read(rows).values():
        assert features.shape == (2, 3, 4, 64)
        assert features.dtype is torch.bfloat16
