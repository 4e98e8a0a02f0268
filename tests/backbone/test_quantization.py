"""4-bit weights in both forms that bitsandbytes keeps them in, whatever the processor of the day."""

import pytest
import torch
from bitsandbytes.functional import _convert_weight_packed_for_cpu
from bitsandbytes.nn import Linear4bit
from torch import nn

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.backbone.quantization import is_nf4, original_size, stored_tensors

FRAMES = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def pack(module: nn.Module) -> None:
    """As bitsandbytes does on the first use of a layer on a CPU with AVX-512 BF16."""
    for layer in linear_layers(module):
        layer.weight.data, layer.weight.quant_state = _convert_weight_packed_for_cpu(
            layer.weight.data, layer.weight.quant_state
        )


@pytest.fixture
def text_layers(make_settings):
    backbone = FrozenBackbone(make_settings(quantization="4bit", dtype="bfloat16"))
    backbone.load("cpu")
    return backbone.text


@pytest.mark.parametrize("is_packed", [False, True])
def test_four_bit_layers_are_told_in_both_forms(text_layers, is_packed):
    if is_packed:
        pack(text_layers)
    layers = linear_layers(text_layers)
    assert {layer.weight.quant_state.nested for layer in layers} == {not is_packed}
    assert len(layers) == 28 and all(is_nf4(layer) for layer in layers)


def test_four_bits_with_plain_scales_are_not_what_was_asked_for():
    plain = Linear4bit(64, 64, quant_type="nf4", compress_statistics=False).to("cpu")
    packed = Linear4bit(64, 64, quant_type="nf4", compress_statistics=False).to("cpu")
    pack(packed)
    assert not is_nf4(plain) and not is_nf4(packed) and not is_nf4(nn.Linear(4, 4))


@pytest.mark.parametrize("is_packed", [False, True])
def test_all_that_is_stored_is_counted(text_layers, is_packed):
    if is_packed:
        pack(text_layers)
    layer = linear_layers(text_layers)[0]
    weights = original_size(layer.weight)
    assert weights == layer.in_features * layer.out_features
    nbytes = {tensor.data_ptr(): tensor.nbytes for tensor in stored_tensors(layer)}
    scales = weights // 64
    expected = weights // 2 + (2 * scales if is_packed else scales + 4 * -(-scales // 256) + 4 * 256) + 4 * 16 + 4
    assert sum(nbytes.values()) == expected


@torch.no_grad()
def test_dequantised_once_is_dequantised_for_every_product(make_settings):
    settings = {"quantization": "4bit", "vision_quantization": "4bit", "dtype": "float32"}
    packed, whole = (FrozenBackbone(make_settings(**settings, dequantize=d)) for d in (False, True))
    features = [backbone.encode(FRAMES, ["go", "stop"]) for backbone in (packed, whole)]
    assert {type(layer) for layer in linear_layers(whole)} == {nn.Linear}
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    # A CPU with AVX-512 BF16 multiplies the packed ones in its own way.
    scale = features[0].abs().mean()
    assert (features[0] - features[1]).abs().mean() < 0.02 * scale
