"""`recordings-to-lerobot merge`"""

from dataclasses import dataclass, field
from pathlib import Path

from recordings_to_lerobot.conversion.staging import Workplace
from recordings_to_lerobot.recordings.validation import RecordingError


@dataclass(kw_only=True)
class MergeConfig:
    """Join datasets that were converted apart, by the same options, to one that can be verified and explained."""

    # Folders of the datasets, as [datasets/A, datasets/B]; their episodes keep this order
    datasets: list[Path]
    # Name of the merged dataset, USER/NAME
    repo_id: str
    # Folder of the merged dataset
    root: Path
    # Where the recordings of each dataset lie below the folder of all, as [a, b], if each was converted from a
    # folder of its own; `verify --input` then takes the folder of all
    folders: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.datasets = [path.expanduser() for path in self.datasets]
        self.root = self.root.expanduser()


def run(config: MergeConfig) -> int:
    """Merges and says what came of it; the dataset appears at once, when it is complete.

    Raises:
        RecordingError: The datasets do not fit together, or there is something at the root.
    """
    folders = [folder.strip("/") for folder in config.folders] or [""] * len(config.datasets)
    if not config.datasets:
        raise RecordingError(
            "--datasets=[]: nothing to merge; give the folders of datasets, as [datasets/A, datasets/B]"
        )
    if len(folders) != len(config.datasets):
        raise RecordingError(f"--folders: {len(folders)} for {len(config.datasets)} datasets; give one for each")
    if config.root.exists():
        raise RecordingError(f"{config.root}: exists; give a new folder as --root")
    from recordings_to_lerobot.dataset.merging import merge_datasets

    place = Workplace(config.root.absolute())
    with place.occupy():
        n_episodes = merge_datasets(config.datasets, folders, config.repo_id, place.draft)
        place.publish_draft()
    print(f"{config.root}: {n_episodes:,} episodes of {len(config.datasets)} datasets")
    return 0
