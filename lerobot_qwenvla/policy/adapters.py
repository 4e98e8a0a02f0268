"""Where PEFT puts adapters into a policy, and where it must not."""

import re
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn

# The vision tower multiplies patches by the first's weight itself, and tabulates the second once: an adapter around
# either would learn nothing.
NOT_ADAPTABLE = ("backbone.vision.patch_embed.proj", "backbone.vision.pos_embed")


def default_adapters(**parts: nn.Module) -> dict[str, Any]:
    """PEFT settings for an adapter of every linear layer of these parts of a policy, and nothing trained in full."""
    layers = [
        re.escape(f"{part}.{name}")
        for part, whole in parts.items()
        for name, module in whole.named_modules()
        if isinstance(module, nn.Linear)
    ]
    # One expression: PEFT shortens a list to endings that are unique now, but may not be once the backbone is loaded.
    return {"target_modules": "|".join(layers), "modules_to_save": []}


def check_adapters(config: PeftConfig, *, has_features: bool) -> None:
    """Refuses what PEFT would accept but could not train.

    Raises:
        ValueError: The backbone is to be trained on precomputed features or as a whole, or a module of it is named that
            adapters can't change.
    """
    targets, full = config.target_modules, config.modules_to_save or []
    if has_features and any("backbone" in name or name == "all-linear" for name in (str(targets), *full)):
        raise ValueError(
            f"--peft.target_modules={targets} with --peft.full_training_modules={full} trains the backbone, but the "
            "dataset has precomputed features, not pictures; train on the dataset they were computed from"
        )
    if "backbone" in full:
        raise ValueError(
            f"--peft.full_training_modules={full} names the whole backbone; adapt its layers instead, with "
            r"--peft.target_modules='backbone\.text\..*\.(q|v)_proj'"
        )
    if not_adaptable := [name for name in NOT_ADAPTABLE if check_target_module_exists(config, name)]:
        raise ValueError(
            f"--peft.target_modules={targets} includes {' and '.join(not_adaptable)}, which can't have adapters; "
            "name linear layers"
        )
