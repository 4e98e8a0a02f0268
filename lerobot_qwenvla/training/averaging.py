"""Exponential moving average (EMA) of the weights: average ← decay · average + (1 − decay) · weight, at every update.

The average begins as the weights after the first update. It is part of the optimizer's state, and so of LeRobot's
checkpoints and of resuming from them.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.optim import load_optimizer_state_dict
from lerobot.utils.constants import CHECKPOINTS_DIR, PRETRAINED_MODEL_DIR, TRAINING_STATE_DIR
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lerobot_qwenvla.backbone import UnloadedBackbone
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

AVERAGE = "average"
# As LeRobot's main branch names it.
AVERAGED_MODEL_DIR = f"{PRETRAINED_MODEL_DIR}_ema"


@contextmanager
def averaging(decay: float) -> Iterator[None]:
    """Within it, all optimizers of this process average what they train."""
    update = get_ema_multi_avg_fn(decay)

    def average(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        states = {p: optimizer.state[p] for group in optimizer.param_groups for p in group["params"]}
        averaged = [p for p, state in states.items() if AVERAGE in state]
        if averaged:
            update([states[p][AVERAGE] for p in averaged], averaged, None)
        for p, state in states.items():
            if state and AVERAGE not in state:  # none: it was not updated
                state[AVERAGE] = p.detach().clone()

    handle = register_optimizer_step_post_hook(average)
    try:
        yield
    finally:
        handle.remove()


def checkpoints(output_dir: Path) -> list[Path]:
    """Of a training run, oldest first."""
    return sorted(path for path in (output_dir / CHECKPOINTS_DIR).glob("[0-9]*") if path.is_dir())


@torch.no_grad()
def write_averaged(checkpoint: Path) -> Path:
    """Writes the averaged weights of a checkpoint beside its last ones, as a policy like any other.

    Raises:
        ValueError: The optimizer kept no averages, or those of other parameters.
    """
    last, averaged = checkpoint / PRETRAINED_MODEL_DIR, checkpoint / AVERAGED_MODEL_DIR
    config = PreTrainedConfig.from_pretrained(last)
    policy = QwenVLAPolicy.from_pretrained(last, config=config, backbone=UnloadedBackbone(config.backbone_settings))
    parameters = [p for group in policy.get_optim_params() for p in group["params"]]
    states = load_optimizer_state_dict(checkpoint / TRAINING_STATE_DIR)["state"]
    averages = {int(i): state[AVERAGE] for i, state in states.items() if AVERAGE in state}
    shapes = {i: p.shape for i, p in enumerate(parameters)}
    if not averages or any(shapes.get(i) != average.shape for i, average in averages.items()):
        raise ValueError(f"{checkpoint} has no averages of this policy's weights: train with --ema.enable=true")
    for i, average in averages.items():
        parameters[i].copy_(average)
    shutil.copytree(last, averaged, dirs_exist_ok=True)  # processors and configs are the same
    policy.save_pretrained(averaged)
    return averaged
