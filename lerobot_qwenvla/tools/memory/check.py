"""`qwenvla-memory-check`: does training and deciding with a policy's settings fit a card, and what would make it fit?

Takes the arguments of `lerobot-train` (also `--config_path=run.yaml`) and those of `MemoryCheckConfig`. Neither weights
nor a GPU are needed, unless with `--measure=true`, which loads the weights and tries on `--policy.device`.
"""

import sys
from collections.abc import Iterable
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
from rich.table import Table

from lerobot_qwenvla.features.columns import feature_columns
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.tools.memory.changes import fitting_changes
from lerobot_qwenvla.tools.memory.hollow import hollow_policy
from lerobot_qwenvla.tools.memory.peaks import Training, decision_peak_bytes, measure
from lerobot_qwenvla.tools.parameters import Component, components
from recordings_to_lerobot.actions.channels import CHANNELS

BATCH_SIZES = (1, 2, 4, 8, 16)
# In the configs of this project it stands for a dataset that is yet to come.
NO_DATASET_YET = "USER/NAME"

GB = 1e9
# What a card holds besides tensors: the CUDA context with its kernels and cuBLAS's workspaces, and the gaps between
# tensors. Both are estimates, on the high side.
CONTEXT_BYTES = 700_000_000
FRAGMENTATION = 0.1
# Training keeps a gradient of every trained parameter and AdamW's two moments, all float32.
TRAINING_BYTES = 3 * 4


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
    console.print(_component_table(parts))
    console.print("Training: gradients, and the two moments of AdamW.")
    decision_peak = decision_peak_bytes(config.policy)
    sizes = sorted({*BATCH_SIZES, config.batch_size})
    peaks = {size: Training(config.policy, size, precomputed).peak_bytes() for size in sizes}
    by_name = {"a decision": decision_peak} | {f"training, batch of {size}": peak for size, peak in peaks.items()}

    def fits(peak_bytes: int) -> bool:
        return needed_bytes(peak_bytes) <= config.card_gb * GB

    rows = [
        (what, _gb(peak), _gb(needed_bytes(peak)), "fits" if fits(peak) else "too large")
        for what, peak in by_name.items()
    ]
    console.print(_table(f"On a card of {config.card_gb:g} GB", ("", "peak GB", "needs GB", ""), rows))
    reserve = f"{CONTEXT_BYTES / GB:g} GB for CUDA and {FRAGMENTATION:.0%} of the peak for gaps between tensors"
    console.print(f"Needs: the peak, {reserve}. GB are 10⁹ bytes.")
    per_sample = (peaks[sizes[-1]] - peaks[sizes[-2]]) / (sizes[-1] - sizes[-2])
    console.print(f"A further sample in a batch takes {per_sample / 1e6:.0f} MB of activations.")

    if not fits(peaks[config.batch_size]):
        if changes := fitting_changes(wanted, fits):
            rows = [(change.what, _gb(needed_bytes(change.peak_bytes)), change.cost) for change in changes]
            table = _table("What makes it fit", ("any one of", "needs GB", "costs"), rows)
            table.columns[0].no_wrap = True  # to be copied
            table.columns[2].justify = "left"
            console.print(table)
        else:
            console.print(f"No single change makes --batch_size={config.batch_size} fit; combine several.")
    if not config.measure:
        console.print("Computed; --measure=true loads the weights, verifies how they are stored, and measures.")
        return
    measured = measure(wanted, dataset)
    rows = [
        ("a decision", _gb(decision_peak), _gb(measured.decision_peak_bytes)),
        (f"training, batch of {config.batch_size}", _gb(peaks[config.batch_size]), _gb(measured.training_peak_bytes)),
    ]
    console.print(_table(f"Measured on {config.policy.device}", ("", "computed GB", "measured GB"), rows))
    console.print(
        f"Verified: the loaded weights take the bytes computed; {measured.four_bit_layers} layers are 4-bit (NF4, "
        "nested scales)."
    )


def needed_bytes(peak_bytes: int) -> float:
    """Memory of a card on which code of that peak runs."""
    return peak_bytes * (1 + FRAGMENTATION) + CONTEXT_BYTES


def _component_table(parts: list[Component]) -> Table:
    """Parameters and bytes of every part of a policy."""
    sums = (sum(getattr(part, name) for part in parts) for name in ("parameters", "trained", "stored_bytes"))
    rows = [
        (part.name, f"{part.parameters:,}", f"{part.trained:,}", f"{part.stored_bytes / 1e6:,.1f}",
         f"{part.trained * TRAINING_BYTES / 1e6:,.1f}")
        for part in (*parts, Component("total", *sums))
    ]  # fmt: skip
    return _table("Weights", ("part", "parameters", "trained", "stored MB", "training MB"), rows)


def _table(title: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    first, *others = headings
    table = Table(first, title=title, title_justify="left")
    for heading in others:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / GB:.2f}"


def _dataset(source: DatasetConfig | None) -> LeRobotDatasetMetadata | None:
    if source is None or (source.repo_id == NO_DATASET_YET and source.root is None):
        return None
    if source.root is not None and not Path(source.root).is_dir():
        raise ValueError(f"--dataset.root={source.root}: no such folder; pass a dataset's folder, or no dataset")
    return LeRobotDatasetMetadata(source.repo_id, root=source.root, revision=source.revision)


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
    return bool(feature_columns(dataset.features))


@parser.wrap()
def _run(config: MemoryCheckConfig) -> None:
    check(config, Console())


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-memory-check: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
