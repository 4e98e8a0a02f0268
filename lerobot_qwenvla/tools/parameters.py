"""How many parameters a policy has, how many of them are trained, and the bytes they take as they are stored."""

from dataclasses import dataclass

from torch import nn

from lerobot_qwenvla.backbone.quantization import original_size, own_tensors
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy


@dataclass(frozen=True)
class Component:
    """A part of a policy; without parameters where it is not loaded."""

    name: str
    parameters: int
    trained: int
    stored_bytes: int


def components(policy: QwenVLAPolicy) -> list[Component]:
    """The parts of a policy, from the picture to the action."""
    backbone = policy.backbone
    table = backbone.text.embed_tokens if backbone.text is not None else None
    parts = {
        "vision tower": _modules(backbone.vision),
        "text layers": _modules(backbone.text) - _modules(table),
        "embedding table": _modules(table),
        "context projector": _modules(policy.model.context),
        "action expert": _modules(policy.model.expert),
    }
    return [_component(name, modules) for name, modules in parts.items()]


def _component(name: str, modules: set[nn.Module]) -> Component:
    parameters = {p for module in modules for p in module.parameters(recurse=False)}
    stored = {tensor.untyped_storage() for module in modules for tensor in own_tensors(module)}
    return Component(
        name,
        parameters=sum(original_size(p) for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        stored_bytes=sum(storage.nbytes() for storage in stored),
    )


def _modules(module: nn.Module | None) -> set[nn.Module]:
    return set(module.modules()) if module is not None else set()
