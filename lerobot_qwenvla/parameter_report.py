"""How many parameters a policy has, how many of them are trained, and the memory they take."""

from torch import nn


def parameter_report(policy: nn.Module) -> str:
    """Table of parameters and bytes per component.

    A 4-bit weight packs two parameters into a byte; bitsandbytes keeps its original shape beside it.
    """
    rows = [("component", "parameters", "trained", "MB")]
    components = {name: list(module.parameters()) for name, module in policy.named_children()}
    components["total"] = list(policy.parameters())
    for name, parameters in components.items():
        sizes = [_original_size(p) for p in parameters]
        trained = sum(size for size, p in zip(sizes, parameters, strict=True) if p.requires_grad)
        megabytes = sum(p.numel() * p.element_size() for p in parameters) / 1e6
        if parameters:
            rows.append((name, f"{sum(sizes):,}", f"{trained:,}", f"{megabytes:,.1f}"))
        else:
            rows.append((name, "not loaded", "", ""))
    return "\n".join(f"{a:<12}{b:>16}{c:>14}{d:>12}" for a, b, c, d in rows)


def _original_size(parameter: nn.Parameter) -> int:
    quant_state = getattr(parameter, "quant_state", None)
    return quant_state.shape.numel() if quant_state is not None else parameter.numel()
