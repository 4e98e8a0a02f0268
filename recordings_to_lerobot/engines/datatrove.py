"""Steps for datatrove, as LeRobot's guide for large datasets has them: tasks convert shards, and one merges them.

Importing this module needs `pip install lerobot_policy_qwenvla[datatrove]`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from recordings_to_lerobot.commands import merge
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.plan import NothingLeftError
from recordings_to_lerobot.conversion.run import convert_shard, write_quarantine
from recordings_to_lerobot.importers.formats import find_recordings
from recordings_to_lerobot.recordings.validation import RecordingError


class ConvertShards(PipelineStep):
    """Each task converts its part of the recordings; a task that was killed goes on where it was."""

    name = "Convert recordings"
    type = "RECORDINGS"

    def __init__(self, config: ConvertConfig, shards: Path):
        """`config` is that of the whole; the datasets of the tasks go into the folder `shards`.

        Raises:
            RecordingError: The config has no layout, without which shards may not fit together, or has splits.
        """
        super().__init__()
        if config.layout is None:
            raise RecordingError("layout: missing; let a dry run over a sample write it, so that the shards agree")
        if config.splits:
            raise RecordingError("splits: shards cannot have any, as each must lie in one piece of the whole dataset")
        self.config, self.shards = config, shards

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Converts the recordings of this rank, which lie next to each other, so that merging keeps their order."""
        folders = find_recordings(self.config.input, self.config.format)
        start, stop = (len(folders) * part // world_size for part in (rank, rank + 1))
        # datatrove has a process for each task already.
        config = replace(self.config, root=self.shards / f"{rank:05d}", workers=0)
        if start == stop:
            return
        try:
            convert_shard(config, folders[start:stop])
        except NothingLeftError as error:
            write_quarantine(config.root, error.plan, config)


class MergeShards(PipelineStep):
    """One task merges what `ConvertShards` has made."""

    name = "Merge shards"
    type = "RECORDINGS"

    def __init__(self, config: ConvertConfig, shards: Path):
        """As `ConvertShards`; `config.root` is where the dataset appears.

        Raises:
            RecordingError: The config has no root.
        """
        super().__init__()
        if config.root is None:
            raise RecordingError("root: missing; give the folder of the merged dataset")
        self.config, self.shards = config, shards

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Merges, in the first task only."""
        if rank == 0:
            roots = sorted(self.shards.glob("[0-9]*"))
            merge.run(merge.MergeConfig(datasets=roots, repo_id=self.config.repo_id, root=self.config.root))
