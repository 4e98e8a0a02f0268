"""`qwenvla-validate`: the loss of each checkpoint of a run on the episodes held out of it, and which one is best.

The loss is the one that lerobot-train logs as `eval_loss`: the policy has the same noise and times each time. Here, it
is told by part, too, and for averaged weights.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import draccus
import torch
from draccus.utils import DraccusException
from lerobot.datasets.factory import make_train_eval_datasets
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.constants import CHECKPOINTS_DIR, PRETRAINED_MODEL_DIR
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from tqdm import tqdm

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.training.accumulation import AccumulatingAccelerator
from lerobot_qwenvla.training.averaging import AVERAGED_MODEL_DIR, checkpoints
from lerobot_qwenvla.training.options import QwenVLATrainConfig
from lerobot_qwenvla.training.rows import batchwise

BEST = "best"


@dataclass
class ValidateConfig:
    # What the training run was given as --output_dir.
    output_dir: Path
    # Where to compute; if None, where the run did.
    device: str | None = None


def validate(config: ValidateConfig) -> dict[str, dict[str, float]]:
    """Losses of each folder of weights, e.g. "005000/pretrained_model"; also written to validation.json of the run.

    Links checkpoints/best to the folder whose loss is lowest.

    Raises:
        ValueError: The run has no checkpoint, or held no episode out.
    """
    root = config.output_dir / CHECKPOINTS_DIR
    weights = [
        checkpoint / name
        for checkpoint in checkpoints(config.output_dir)
        for name in (PRETRAINED_MODEL_DIR, AVERAGED_MODEL_DIR)
        if (checkpoint / name).is_dir()
    ]
    if not weights:
        raise ValueError(f"{root} has no checkpoint: --output_dir must be that of a training run")
    run = QwenVLATrainConfig.from_pretrained(weights[-1])
    run.policy.device = config.device or run.policy.device
    _, held_out = make_train_eval_datasets(run)
    if held_out is None:
        raise ValueError("the run held no episode out: train with --dataset.eval_split=0.1, say")
    run.policy.pretrained_path = weights[-1]
    policy = make_policy(run.policy, ds_meta=held_out.meta)
    preprocessor, _ = make_pre_post_processors(
        run.policy,
        pretrained_path=str(weights[-1]),
        preprocessor_overrides={"device_processor": {"device": run.policy.device}},
    )
    batches = batchwise(DataLoader(held_out, run.batch_size, num_workers=run.num_workers))
    losses = {}
    for folder in tqdm(weights, "Validating", unit="checkpoint"):
        policy.load_state_dict(load_file(folder / "model.safetensors"))
        shown = (preprocessor(with_float_pictures(batch, held_out.meta.camera_keys)) for batch in batches)
        losses[str(folder.relative_to(root))] = mean_losses(policy, shown)
    (config.output_dir / "validation.json").write_text(json.dumps(losses, indent=2), encoding="utf-8")
    (root / BEST).unlink(missing_ok=True)
    (root / BEST).symlink_to(best(losses), target_is_directory=True)
    return losses


def mean_losses(policy: QwenVLAPolicy, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Loss and its parts, each the mean over the batches, in the precision of training."""
    accelerator = AccumulatingAccelerator(1, policy.config.dtype, cpu=policy.config.device == "cpu")
    policy.eval()
    with torch.no_grad(), accelerator.autocast():
        losses = [{"loss": loss.item(), **parts} for loss, parts in map(policy, batches)]
    return {name: fmean(each[name] for each in losses) for name in losses[0]}


def with_float_pictures(batch: dict[str, Any], cameras: list[str]) -> dict[str, Any]:
    """As lerobot-train gives pictures to a policy: bytes (B, F, C, H, W) → numbers in [0, 1]."""
    pictures = {camera: batch[camera] for camera in cameras if camera in batch}
    return batch | {camera: p.float() / 255 for camera, p in pictures.items() if p.dtype == torch.uint8}


def best(losses: dict[str, dict[str, float]]) -> str:
    """The weights with the lowest loss; of equal ones the first."""
    return min(losses, key=lambda name: losses[name]["loss"])


def _table(losses: dict[str, dict[str, float]]) -> Table:
    names = list(next(iter(losses.values())))
    table = Table("weights", *names)
    for weights, values in losses.items():
        table.add_row(weights + (" ← best" if weights == best(losses) else ""), *(f"{values[n]:.4f}" for n in names))
    return table


def main() -> None:
    try:
        Console().print(_table(validate(draccus.parse(ValidateConfig))))
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-validate: {error}")


if __name__ == "__main__":
    main()
