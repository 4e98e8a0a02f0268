"""`qwenvla-precompute-features`: encodes every frame of a dataset once, and writes a dataset `lerobot-train` trains on.

Takes the arguments of `lerobot-train` (also `--config_path=run.yaml`), so that the features are those that run would
compute, and `--features_root`, where the feature dataset goes. Train on it with `--dataset.root=FEATURES_ROOT`. The
same command goes on where an interrupted one stopped.
"""

import errno
import logging
import math
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from draccus.utils import DraccusException
from lerobot.configs import parser
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.dataset_tools import modify_features
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.feature_utils import dataset_to_policy_features
from lerobot.utils.utils import init_logging
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm
from yaml import YAMLError

from lerobot_qwenvla.backbone import BackboneSettings, FrozenBackbone
from lerobot_qwenvla.backbone.prompt import DEFAULT_INSTRUCTION, HIDDEN_INSTRUCTION
from lerobot_qwenvla.features.columns import column_of_camera, feature_identity
from lerobot_qwenvla.features.store import FEATURES_DIR, UNCOND, WORDS_FILE
from lerobot_qwenvla.features.table import QUANTIZATIONS, RowLayout, TableWriter
from lerobot_qwenvla.features.unfinished import dataset_identity, unfinished

logger = logging.getLogger(__name__)

# A full disk, a quota that is used up, a file larger than allowed.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class PrecomputeFeaturesConfig(TrainPipelineConfig):
    """Arguments of lerobot-train, and:"""

    # Folder to write the feature dataset to; must not exist.
    features_root: Path | None = None
    # "none" keeps features in the type the backbone computes in; "8bit" takes half of bfloat16's bytes and is off by
    # about 0.6 % of the features' size.
    features_quantization: str = "none"
    # Also keeps features of each frame read without instruction, which --policy.instruction_dropout and guidance need;
    # twice the work and the disk.
    features_uncond: bool = False


def precompute_features(
    dataset: LeRobotDataset,
    settings: BackboneSettings,
    frame_offsets: list[int],
    root: Path,
    *,
    device: torch.device | str,
    quantization: str = "none",
    uncond: bool = False,
    batch_size: int = 32,
    num_workers: int = 0,
) -> LeRobotDataset:
    """Writes a feature dataset of `dataset` to `root`; what an interrupted run has computed is not computed again.

    Args:
        dataset: Whole, with the `frame_timestamps` of these settings.
        settings: Of the backbone.
        frame_offsets: Steps from the current frame to those a decision looks at, which `joint` encodes together.
        root: Must not exist.
        device: Where the backbone computes.
        quantization: How features are kept, see `RowLayout`.
        uncond: Also features of each frame read without instruction.
        batch_size: Frames encoded at once.
        num_workers: Processes that decode pictures.

    Raises:
        ValueError: `dataset` has no camera, `root` exists or is being computed, the disk is too small, what is
            unfinished there is of other settings or of another dataset, or a feature is not finite.
    """
    root, frames, cameras = Path(root), dataset.meta.total_frames, dataset.meta.camera_keys
    if not cameras:
        raise ValueError(f"{dataset.root}: the dataset has no camera to compute features of")
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"--features_quantization must be one of {', '.join(QUANTIZATIONS)}, got {quantization!r}")
    assert len(dataset) == frames, "rows are numbered over all episodes"
    timestamps = frame_timestamps(dataset.meta, settings, frame_offsets)
    assert dataset.delta_timestamps == timestamps, "the dataset must give the frames that are encoded together"
    backbone = FrozenBackbone(settings)
    columns = _columns(dataset, backbone, frame_offsets, quantization)
    for column in columns.values():
        column["info"]["uncond"] = uncond
    layouts = {
        (camera, suffix): RowLayout.from_info(columns[column_of_camera(camera)]["info"])
        for camera in cameras
        for suffix in ["", UNCOND][: 1 + uncond]
    }

    def begin(folder: Path) -> None:
        """All of the dataset but features: in the place of each camera a column that points to them."""
        numbered = {name: (np.arange(frames), column) for name, column in columns.items()}
        modify_features(dataset, numbered, remove_features=cameras, output_dir=folder, repo_id=dataset.repo_id)

    recipe = {"dataset": dataset_identity(dataset.meta), **{name: column["info"] for name, column in columns.items()}}
    with unfinished(root, recipe, begin) as draft:
        folder = draft / FEATURES_DIR
        tables = {table: TableWriter(folder / "".join(table), layout) for table, layout in layouts.items()}
        done = min(len(table) for table in tables.values())
        if done < frames:
            done -= done % batch_size  # the same batches as before, so that not a bit depends on the interruption
        for table in tables.values():
            table.truncate(done)
        _check_space(draft, list(layouts.values()), done, frames)
        backbone.load(device)
        _write_words(folder / WORDS_FILE, backbone, dataset.meta.tasks.index, device)
        loader = DataLoader(Subset(dataset, range(done, frames)), batch_size=batch_size, num_workers=num_workers)
        batches = -(-frames // batch_size)
        for batch in tqdm(loader, "Encoding frames", initial=batches - len(loader), total=batches, unit="batch"):
            for (camera, suffix), table in tables.items():
                table.append(_encode(backbone, camera, batch, device, is_told=suffix != UNCOND))
    return LeRobotDataset(dataset.repo_id, root=root)


@torch.no_grad()
def _write_words(path: Path, backbone: FrozenBackbone, tasks: Iterable[str], device: torch.device | str) -> None:
    """Features of the words of every distinct instruction."""
    instructions = dict.fromkeys([*(task or DEFAULT_INSTRUCTION for task in tasks), HIDDEN_INSTRUCTION])
    save_file({text: backbone.words([text], device)[0].cpu() for text in instructions}, path)


def frame_timestamps(
    meta: LeRobotDatasetMetadata, settings: BackboneSettings, frame_offsets: list[int]
) -> dict[str, list[float]] | None:
    """LeRobot's `delta_timestamps` of the frames that are encoded together; None where each is by itself."""
    if settings.frame_encoding == "per_frame":
        return None
    return {camera: [step / meta.fps for step in frame_offsets] for camera in meta.camera_keys}


def _columns(
    dataset: LeRobotDataset, backbone: FrozenBackbone, frame_offsets: list[int], quantization: str
) -> dict[str, dict[str, Any]]:
    """LeRobot's descriptions of the columns that take the cameras' places."""
    settings, pictures = backbone.settings, dataset_to_policy_features(dataset.meta.features)
    together = (len(frame_offsets),) if settings.frame_encoding == "joint" else ()
    columns = {}
    for camera in dataset.meta.camera_keys:
        shape = pictures[camera].shape
        features_shape = (*together, math.prod(backbone.token_grid(shape)), backbone.width)
        layout = RowLayout(features_shape, settings.torch_dtype, quantization)
        info = {"image_shape": list(shape), **layout.info(), **feature_identity(settings, frame_offsets)}
        columns[column_of_camera(camera)] = {"dtype": "int64", "shape": (1,), "names": None, "info": info}
    return columns


@torch.no_grad()
def _encode(
    backbone: FrozenBackbone, camera: str, batch: dict[str, Any], device: torch.device | str, *, is_told: bool
) -> Tensor:
    """Features of N frames, or of the F frames of N decisions.  # (N, T, D) or (N, F, T, D)"""
    pictures = batch[camera].to(device)
    is_joint = pictures.ndim == 5
    instructions = [(task or DEFAULT_INSTRUCTION) if is_told else HIDDEN_INSTRUCTION for task in batch["task"]]
    # One by one: read together, their last bits would depend on which had been read before an interruption.
    for instruction in dict.fromkeys(instructions):
        backbone.prefixes([instruction])
    features = backbone.encode(pictures if is_joint else pictures[:, None], instructions)  # (N, F, T, D)
    if not features.isfinite().all():
        first, last = batch["index"][[0, -1]].tolist()
        raise ValueError(
            f"{camera}: among the features of frames {first} to {last} are infinite ones or NaN; "
            "try another --policy.dtype or --policy.quantization"
        )
    return features if is_joint else features[:, 0]


def _check_space(folder: Path, layouts: list[RowLayout], done: int, frames: int) -> None:
    """Says what will be written.

    Raises:
        ValueError: It does not fit the disk.
    """
    row_bytes = sum(layout.row_bytes for layout in layouts)
    needed, free = (frames - done) * row_bytes, shutil.disk_usage(folder).free
    amount = f"{needed / 1e9:.1f} GB ({frames - done} frames of {row_bytes / 1e3:.0f} kB)"
    if needed > free:
        smaller = "" if layouts[0].quantization == "8bit" else "--features_quantization=8bit, "
        raise ValueError(
            f"features need {amount}, the disk of {folder} has {free / 1e9:.1f} GB free; make room, or pass another "
            f"--features_root, {smaller}or a smaller --policy.image_size"
        )
    if done:
        logger.info("Going on after %d of %d frames", done, frames)
    logger.info("Writing features of %s; %.1f GB are free", amount, free / 1e9)


@parser.wrap()
def _run(config: PrecomputeFeaturesConfig) -> None:
    policy = config.policy
    if policy is None or policy.type != "qwenvla":
        raise ValueError("pass --policy.type=qwenvla and the policy's other settings, or --config_path=run.yaml")
    if config.features_root is None:
        raise ValueError("pass --features_root, the folder to write the feature dataset to")
    settings, source = policy.backbone_settings, {"root": config.dataset.root, "revision": config.dataset.revision}
    meta = LeRobotDatasetMetadata(config.dataset.repo_id, **source)
    dataset = LeRobotDataset(
        config.dataset.repo_id,
        **source,
        delta_timestamps=frame_timestamps(meta, settings, policy.frame_offsets),
        video_backend=config.dataset.video_backend,
    )
    precompute_features(
        dataset,
        settings,
        policy.frame_offsets,
        config.features_root,
        device=policy.device,
        quantization=config.features_quantization,
        uncond=config.features_uncond,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
    )
    print(f"Train on it with --dataset.repo_id={dataset.repo_id} --dataset.root={config.features_root}")


def main() -> None:
    init_logging()
    try:
        _run()
    except (ValueError, OSError, DraccusException, YAMLError) as error:
        remedy = "; make room, and the same command goes on" if getattr(error, "errno", None) in DISK_FULL else ""
        sys.exit(f"qwenvla-precompute-features: {' '.join(str(error).split())}{remedy}")
    except torch.OutOfMemoryError:
        sys.exit("qwenvla-precompute-features: the GPU's memory is too small; pass a smaller --batch_size to go on")
    except KeyboardInterrupt:
        sys.exit("\nqwenvla-precompute-features: interrupted; the same command goes on where it stopped")


if __name__ == "__main__":
    main()
