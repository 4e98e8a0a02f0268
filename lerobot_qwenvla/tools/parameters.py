"""How many parameters a policy has, how many of them are trained, and the bytes they take as they are stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy


@dataclass(frozen=True)
class Component:
    """A part of a policy; without parameters where it is not loaded."""

    name: str
    parameters: int
    trained: int
    stored_bytes: int


def components(policy: "QwenVLAPolicy") -> list[Component]:
    """The parts of a policy, from the picture to the action."""
    backbone = policy.backbone
    table = backbone.text.embed_tokens if backbone.text is not None else None
    parts = {
        "vision tower": _modules(backbone.vision),
        "text layers": _modules(backbone.text) - _modules(table),
        "embedding table": _modules(table),
        "context projector": _modules(policy.context),
        "action expert": _modules(policy.expert),
    }
    return [_component(name, modules) for name, modules in parts.items()]


def parameter_report(policy: "QwenVLAPolicy") -> str:
    """Table of parameters and bytes per component."""
    parts = components(policy)
    sums = [sum(getattr(part, name) for part in parts) for name in ("parameters", "trained", "stored_bytes")]
    rows = [("component", "parameters", "trained", "MB")]
    for part in (*parts, Component("total", *sums)):
        numbers = f"{part.parameters:,}", f"{part.trained:,}", f"{part.stored_bytes / 1e6:,.1f}"
        rows.append((part.name, *(numbers if part.parameters else ("not loaded", "", ""))))
    return "\n".join(f"{a:<18}{b:>16}{c:>14}{d:>12}" for a, b, c, d in rows)


def is_nf4(layer: nn.Module) -> bool:
    """Whether a layer really holds 4-bit NF4 weights, whose scales are quantised too."""
    state = getattr(getattr(layer, "weight", None), "quant_state", None)
    return state is not None and state.quant_type == "nf4" and state.nested


def stored_tensors(module: nn.Module) -> Iterator[Tensor]:
    """All that a module keeps: parameters, buffers, and the scales bitsandbytes keeps beside quantised weights."""
    for part in module.modules():
        yield from _own_tensors(part)


def _component(name: str, modules: set[nn.Module]) -> Component:
    parameters = {p for module in modules for p in module.parameters(recurse=False)}
    stored = {tensor.untyped_storage() for module in modules for tensor in _own_tensors(module)}
    return Component(
        name,
        parameters=sum(_original_size(p) for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        stored_bytes=sum(storage.nbytes() for storage in stored),
    )


def _modules(module: nn.Module | None) -> set[nn.Module]:
    return set(module.modules()) if module is not None else set()


def _own_tensors(module: nn.Module) -> Iterator[Tensor]:
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


def _original_size(parameter: nn.Parameter) -> int:
    """A 4-bit weight packs two parameters into a byte; bitsandbytes keeps its original shape beside it."""
    quant_state = getattr(parameter, "quant_state", None)
    return quant_state.shape.numel() if quant_state is not None else parameter.numel()
