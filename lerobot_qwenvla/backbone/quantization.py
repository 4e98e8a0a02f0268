"""Quantised weights: how to ask for them, what is really stored, and how much of it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig


def quantization_config(quantization: str, dtype: torch.dtype, keep: list[str]) -> BitsAndBytesConfig | None:
    """transformers' config of a quantisation; modules named in `keep` stay as they are (None: the last one does)."""
    if quantization == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=keep,
        )
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=keep)
    return None


def is_nf4(layer: nn.Module) -> bool:
    """Whether a layer really holds 4-bit NF4 weights that were stored with quantised scales.

    On a CPU with AVX-512 BF16 bitsandbytes packs weights anew on their first use and then holds the scales plainly
    (`packing_format_for_cpu`); the weights are the same four bits.
    """
    state = getattr(getattr(layer, "weight", None), "quant_state", None)
    if state is None or state.quant_type != "nf4":
        return False
    is_packed = getattr(state, "packing_format_for_cpu", False)
    return state.original_nested if is_packed else state.nested


def stored_tensors(module: nn.Module) -> Iterator[Tensor]:
    """All that a module keeps: parameters, buffers, and the scales bitsandbytes keeps beside quantised weights."""
    for part in module.modules():
        yield from own_tensors(part)


def own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """What a module keeps itself, without its children."""
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
    weight = getattr(module, "weight", None)
    four_bit = getattr(weight, "quant_state", None)
    if four_bit is not None:
        nested = vars(four_bit.state2).values() if four_bit.nested else ()
        yield from (value for value in (*vars(four_bit).values(), *nested) if isinstance(value, Tensor))
    # bitsandbytes moves the scales of an 8-bit weight from the weight to the layer when it is first used.
    for holder in (weight, getattr(module, "state", None)):
        if (eight_bit := getattr(holder, "SCB", None)) is not None:
            yield eight_bit


def original_size(parameter: nn.Parameter) -> int:
    """How many weights a parameter stands for; a 4-bit one packs two into a byte."""
    quant_state = getattr(parameter, "quant_state", None)
    return quant_state.shape.numel() if quant_state is not None else parameter.numel()
