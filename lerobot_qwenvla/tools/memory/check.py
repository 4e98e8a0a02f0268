"""`qwenvla-memory-check`: does training and deciding with a policy's settings fit a card, and what would make it fit?

Takes the arguments of `lerobot-train` (also `--config_path=run.yaml`) and those of `MemoryCheckConfig`. Neither weights
nor a GPU are needed, unless with `--measure=true`, which loads the weights and tries on `--policy.device`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from draccus.utils import DraccusException
from lerobot.configs import FeatureType, PolicyFeature, parser
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from lerobot.utils.feature_utils import dataset_to_policy_features
from rich.console import Console

from lerobot_qwenvla.features.store import camera_of_column
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.tools.memory.changes import fitting_changes
from lerobot_qwenvla.tools.memory.computed import Training, decision_peak_bytes
from lerobot_qwenvla.tools.memory.hollow import hollow_policy
from lerobot_qwenvla.tools.memory.measured import measure
from lerobot_qwenvla.tools.memory.report import (
    GB,
    RESERVE,
    change_table,
    component_table,
    measured_table,
    needed_bytes,
    verdict_table,
)
from lerobot_qwenvla.tools.parameters import components
from recordings_to_lerobot.action_schema import CHANNELS

BATCH_SIZES = (1, 2, 4, 8, 16)
# In the configs of this project it stands for a dataset that is yet to come.
NO_DATASET_YET = "USER/NAME"


@dataclass
class MemoryCheckConfig(TrainPipelineConfig):
    """Arguments of lerobot-train, and:"""

    # Where no dataset is given: cameras, height and width of their pictures, and channels of state and action.
    dataset: DatasetConfig | None = None
    cameras: int = 1
    camera_px: tuple[int, int] = (384, 384)
    channels: int = len(CHANNELS)
    # Memory of the card, in GB of 10⁹ bytes.
    card_gb: float = 24.0
    # Loads the weights, verifies how they are stored, and takes a real training step and a real decision.
    measure: bool = False


def check(config: MemoryCheckConfig, console: Console) -> None:
    """Prints what training and deciding take, and whether they fit the card.

    Raises:
        ValueError: A setting is out of its range, the dataset or the backbone is missing, or weights are not stored as
            computed.
    """
    if not isinstance(config.policy, QwenVLAConfig):
        raise ValueError("pass --policy.type=qwenvla and the policy's other settings, or --config_path=run.yaml")
    for name in ("card_gb", "cameras", "channels", "batch_size"):
        if (value := getattr(config, name)) <= 0:
            raise ValueError(f"--{name} must be above 0, got {value:g}")
    if config.peft is not None:
        raise ValueError("--peft trains adapters of the backbone, which are not counted; leave it out")
    dataset = _dataset(config.dataset)
    precomputed = _set_features(config, dataset)
    wanted = Training(config.policy, config.batch_size, precomputed)

    parts = components(hollow_policy(config.policy, precomputed=precomputed))
    console.print(component_table(parts))
    decision_peak = decision_peak_bytes(config.policy)
    peaks = {
        size: Training(config.policy, size, precomputed).peak_bytes()
        for size in sorted({*BATCH_SIZES, config.batch_size})
    }
    by_name = {"a decision": decision_peak} | {f"training, batch of {size}": peak for size, peak in peaks.items()}
    console.print(verdict_table(by_name, config.card_gb * GB))
    console.print(f"Needs: the peak, {RESERVE}. GB are 10⁹ bytes.")
    sizes = sorted(peaks)[-2:]
    per_sample = (peaks[sizes[1]] - peaks[sizes[0]]) / (sizes[1] - sizes[0])
    console.print(f"A further sample in a batch takes {per_sample / 1e6:.0f} MB of activations.")

    def fits(peak_bytes: int) -> bool:
        return needed_bytes(peak_bytes) <= config.card_gb * GB

    if not fits(peaks[config.batch_size]):
        if changes := fitting_changes(wanted, fits):
            console.print(change_table(changes))
        else:
            console.print(f"No single change makes --batch_size={config.batch_size} fit; combine several.")
    if config.measure:
        measured = measure(wanted, dataset)
        weights = sum(part.stored_bytes for part in parts)
        computed = {"weights": weights, "a decision": decision_peak}
        computed[f"training, batch of {config.batch_size}"] = peaks[config.batch_size]
        console.print(measured_table(measured, computed, config.policy.device))
        console.print(
            f"Verified: the loaded weights take the bytes computed; {measured.four_bit_layers} layers are 4-bit (NF4, "
            "nested scales)."
        )
    else:
        console.print("Computed; --measure=true loads the weights, verifies how they are stored, and measures.")


def _dataset(source: DatasetConfig | None) -> LeRobotDatasetMetadata | None:
    if source is None or (source.repo_id == NO_DATASET_YET and source.root is None):
        return None
    if source.root is not None and not Path(source.root).is_dir():
        raise ValueError(f"--dataset.root={source.root}: no such folder; pass a dataset's folder, or no dataset")
    try:
        return LeRobotDatasetMetadata(source.repo_id, root=source.root, revision=source.revision)
    except OSError as error:
        raise ValueError(f"--dataset.repo_id={source.repo_id}: {str(error).splitlines()[0]}") from error


def _set_features(config: MemoryCheckConfig, dataset: LeRobotDatasetMetadata | None) -> bool:
    """Gives the policy its inputs and outputs; returns whether the dataset has precomputed features."""
    policy = config.policy
    if dataset is None:
        vector = (config.channels,)
        picture = PolicyFeature(FeatureType.VISUAL, (3, *config.camera_px))
        policy.input_features = {f"{OBS_IMAGES}.{n}": picture for n in range(config.cameras)}
        policy.input_features[OBS_STATE] = PolicyFeature(FeatureType.STATE, vector)
        policy.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, vector)}
        return False
    features = dataset_to_policy_features(dataset.features)
    policy.output_features = {name: f for name, f in features.items() if f.type is FeatureType.ACTION}
    policy.input_features = {name: f for name, f in features.items() if name not in policy.output_features}
    policy.set_dataset_feature_metadata(dataset.features)
    return any(camera_of_column(column) for column in dataset.features)


@parser.wrap()
def _run(config: MemoryCheckConfig) -> None:
    check(config, Console())


def main() -> None:
    try:
        _run()
    except (ValueError, DraccusException) as error:
        sys.exit(f"qwenvla-memory-check: {error}")


if __name__ == "__main__":
    main()
