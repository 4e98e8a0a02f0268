"""Which episodes of a dataset a policy is evaluated on."""

import math

from lerobot.configs.default import DatasetConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

# Splits that are not trained on, the first of which is evaluated on where none is asked for.
HELD_OUT = ("test", "val", "validation")


def select_episodes(meta: LeRobotDatasetMetadata, config: DatasetConfig, split: str | None) -> tuple[list[int], str]:
    """The episodes asked for, in order, and a few words on which they are.

    Raises:
        ValueError: More than one way to choose is used, there is no such split or episode, or there is none in it.
    """
    asked = {"--split": split, "--dataset.episodes": config.episodes, "--dataset.eval_split": config.eval_split or None}
    used = [option for option, value in asked.items() if value is not None]
    if len(used) > 1:
        raise ValueError(f"pass one of {' and '.join(used)}, not both: each says which episodes to evaluate on")
    splits = meta.info.splits
    if split is not None and split not in splits:
        raise ValueError(f"--split={split}: the dataset has {', '.join(splits) or 'no splits'}; pass one of these")
    if not used:
        split = next((name for name in HELD_OUT if name in splits), None)
    if split is not None:
        episodes, words = _episodes_of(splits[split]), f"split {split}"
    elif config.episodes is not None:
        episodes, words = sorted(config.episodes), "--dataset.episodes"
    elif config.eval_split:
        episodes, words = _held_out(meta, config.eval_split), f"held out by --dataset.eval_split={config.eval_split}"
    else:
        episodes, words = list(range(meta.total_episodes)), "the whole dataset"
    if not episodes:
        raise ValueError(f"{words}: no episode to evaluate on; choose others with --split or --dataset.episodes")
    if max(episodes) >= meta.total_episodes:
        raise ValueError(f"{words}: no episode {max(episodes)}, the dataset has 0 to {meta.total_episodes - 1}")
    return episodes, words


def _episodes_of(place: str) -> list[int]:
    """`80:100` → 80, …, 99"""
    start, stop = map(int, place.split(":"))
    return list(range(start, stop))


def _held_out(meta: LeRobotDatasetMetadata, share: float) -> list[int]:
    """What lerobot-train with this `eval_split` doesn't train on: the last episodes of each instruction."""
    episodes_of: dict[str, list[int]] = {}
    for episode, tasks in enumerate(meta.episodes["tasks"]):
        episodes_of.setdefault(tasks[0] if tasks else "", []).append(episode)
    return sorted(e for each in episodes_of.values() for e in each[len(each) - math.ceil(len(each) * share) :])
