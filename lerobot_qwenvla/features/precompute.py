"""`qwenvla-cache-features`: encodes every frame of a dataset once, and writes a dataset that `lerobot-train` trains on.

Takes the arguments of `lerobot-train` (also `--config_path=run.yaml`), so that the features are those that run would
compute, and `--features_root`, where the feature dataset goes. Train on it with `--dataset.root=FEATURES_ROOT`.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from draccus.utils import DraccusException
from lerobot.configs import parser
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.dataset_tools import modify_features
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.feature_utils import dataset_to_policy_features
from lerobot.utils.utils import init_logging
from torch.utils.data import DataLoader
from tqdm import tqdm

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.features.store import FEATURES_DIR, column_of_camera
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.observation import instructions_of


@dataclass
class CacheFeaturesConfig(TrainPipelineConfig):
    """Arguments of lerobot-train, and:"""

    # Folder to write the feature dataset to; must not exist.
    features_root: Path | None = None


def cache_features(
    dataset: LeRobotDataset, config: QwenVLAConfig, root: Path, *, batch_size: int = 32, num_workers: int = 0
) -> LeRobotDataset:
    """Writes a feature dataset of `dataset` to `root`, complete or not at all.

    Where frames are encoded together (`joint`), `dataset` must give the frames of a decision, see `camera_timestamps`.

    Raises:
        ValueError: `dataset` has no camera, `root` exists, a setting is out of its range, or a feature is too large for
            half precision.
    """
    cameras = dataset.meta.camera_keys
    if not cameras:
        raise ValueError(f"{dataset.root}: the dataset has no camera to compute features of")
    root = Path(root)
    if root.exists():
        raise ValueError(f"{root} exists; remove it or choose another --features_root")
    config.validate_settings()
    backbone = FrozenBackbone(config)
    backbone.load()
    shapes = dataset_to_policy_features(dataset.meta.features)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as unfinished:
        unfinished = Path(unfinished) / "dataset"
        columns = {}
        for camera in cameras:
            info = {"image_shape": list(shapes[camera].shape), **config.feature_settings()}
            columns[column_of_camera(camera)] = (
                np.arange(dataset.num_frames),
                {"dtype": "int64", "shape": (1,), "names": None, "info": info},
            )
        modify_features(
            dataset,
            add_features=columns,
            remove_features=cameras,
            output_dir=unfinished,
            repo_id=dataset.repo_id,
        )
        (unfinished / FEATURES_DIR).mkdir()
        loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers)
        _write_features(
            loader, backbone, config.device, {camera: unfinished / FEATURES_DIR / f"{camera}.npy" for camera in cameras}
        )
        unfinished.rename(root)
    return LeRobotDataset(dataset.repo_id, root=root)


def camera_timestamps(meta: LeRobotDatasetMetadata, config: QwenVLAConfig) -> dict[str, list[float]] | None:
    """LeRobot's `delta_timestamps` of the frames that are encoded together; None where each is by itself."""
    if config.frame_encoding == "per_frame":
        return None
    return {camera: [step / meta.fps for step in config.frame_offsets] for camera in meta.camera_keys}


def _write_features(loader: DataLoader, backbone: FrozenBackbone, device: str, paths: dict[str, Path]) -> None:
    tables: dict[str, np.memmap] = {}
    row = 0
    for batch in tqdm(loader, desc="Encoding frames", unit="batch"):
        for camera, path in paths.items():
            pictures = batch[camera].to(device)
            if pictures.ndim == 5:  # (N, F, C, H, W), encoded together
                features = backbone.encode(pictures, instructions_of(batch))  # (N, F, T, D)
            else:
                features = backbone.encode(pictures[:, None], instructions_of(batch))[:, 0]  # (N, T, D)
            half = features.half().cpu().numpy()
            if not np.isfinite(half).all():
                raise ValueError(
                    f"{camera}: a feature of {features.abs().max():.3g} does not fit half precision; "
                    "train on the pictures instead"
                )
            if camera not in tables:
                shape = (len(loader.dataset), *half.shape[1:])
                tables[camera] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            tables[camera][row : row + len(half)] = half
        row += len(half)
    for table in tables.values():
        table.flush()


@parser.wrap()
def _run(config: CacheFeaturesConfig) -> None:
    if not isinstance(config.policy, QwenVLAConfig):
        raise ValueError("pass --policy.type=qwenvla and the policy's other settings, or --config_path=run.yaml")
    if config.features_root is None:
        raise ValueError("pass --features_root, the folder to write the feature dataset to")
    source = {"root": config.dataset.root, "revision": config.dataset.revision}
    dataset = LeRobotDataset(
        config.dataset.repo_id,
        **source,
        delta_timestamps=camera_timestamps(LeRobotDatasetMetadata(config.dataset.repo_id, **source), config.policy),
        video_backend=config.dataset.video_backend,
    )
    cache_features(
        dataset,
        config.policy,
        config.features_root,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
    )
    print(f"Train on it with --dataset.repo_id={dataset.repo_id} --dataset.root={config.features_root}")


def main() -> None:
    init_logging()
    try:
        _run()
    except (ValueError, DraccusException) as error:
        sys.exit(f"qwenvla-cache-features: {error}")


if __name__ == "__main__":
    main()
