"""`qwenvla-evaluate`: how near a policy's actions are to recorded ones, beside what copying and averaging reach.

Takes `--policy.path=CHECKPOINT` and the `--dataset` arguments of `lerobot-train`; prints tables, and writes
`metrics.json`, `episode.png` and `reliability.png` to `--output`.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig, parser
from lerobot.configs.default import DatasetConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import INFO_PATH
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.processor import NormalizerProcessorStep, TransitionKey
from lerobot.utils.constants import ACTION
from rich.console import Console

from lerobot_qwenvla.evaluation.comparison import POLICY, SHUFFLED, compare
from lerobot_qwenvla.evaluation.decisions import Decisions, decide, derangement
from lerobot_qwenvla.evaluation.figures import episode_figure, reliability_figure
from lerobot_qwenvla.evaluation.metrics import binary_channels
from lerobot_qwenvla.evaluation.selection import select_episodes
from lerobot_qwenvla.evaluation.tables import channel_table, comparison_table
from lerobot_qwenvla.features.columns import feature_columns
from lerobot_qwenvla.policy.checkpoint import config_of_path
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig


@dataclass
class EvaluateConfig:
    """The policy, the dataset, and:"""

    # By default the episodes are those of a split called test or val, if the dataset has one, else all; choose others
    # with --split, --dataset.episodes, or --dataset.eval_split as in lerobot-train.
    dataset: DatasetConfig
    policy: PreTrainedConfig | None = None
    # Split of the dataset to evaluate on.
    split: str | None = None
    # Folder to write metrics.json and pictures to.
    output: Path = Path("outputs/evaluate")
    # Decisions made at once, and processes that decode pictures for them.
    batch_size: int = 16
    num_workers: int = 0
    # Of the noise, and of who gets whose instruction.
    seed: int = 0

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]


def evaluate(config: EvaluateConfig, console: Console) -> None:
    """Evaluates, prints, and writes.

    Raises:
        ValueError: Policy, dataset or options don't fit each other.
    """
    policy_config, path = config_of_path()
    if config.batch_size < 1:
        raise ValueError(f"--batch_size must be at least 1, got {config.batch_size}")
    meta = _metadata(config.dataset)
    episodes, which = select_episodes(meta, config.dataset, config.split)
    _check_actions(policy_config, meta)
    policy = make_policy(policy_config, ds_meta=meta)
    preprocessor, postprocessor = make_pre_post_processors(
        policy_config, path, preprocessor_overrides={"device_processor": {"device": policy_config.device}}
    )
    dataset = LeRobotDataset(
        config.dataset.repo_id,
        root=meta.root,
        episodes=episodes,
        delta_timestamps=resolve_delta_timestamps(policy_config, meta),
        video_backend=config.dataset.video_backend,
    )
    told, notes = _instructions(meta, episodes, config.seed)
    decisions = decide(
        policy, preprocessor, postprocessor, dataset, told,
        seed=config.seed, batch_size=config.batch_size, num_workers=config.num_workers,
    )  # fmt: skip
    [normalizer] = [step for step in preprocessor.steps if isinstance(step, NormalizerProcessorStep)]
    names = policy_config.action_names or [f"action.{i}" for i in range(decisions.true.shape[2])]
    comparison = compare(
        decisions,
        _mean_action(normalizer),
        names=names,
        n_action_steps=policy_config.n_action_steps,
        fps=meta.fps,
        normalize=lambda actions: (
            normalizer({TransitionKey.ACTION: torch.tensor(actions)})[TransitionKey.ACTION].cpu().numpy()
        ),
    )
    facts = {
        "checkpoint": path,
        "dataset": {"repo_id": meta.repo_id, "root": str(meta.root), "selection": which, "episodes": episodes},
        "decisions": len(decisions.true),
        "n_action_steps": policy_config.n_action_steps,
        "chunk_size": policy_config.chunk_size,
        "fps": meta.fps,
        "seed": config.seed,
        "notes": notes,
    }
    title = f"{len(episodes)} episodes ({which}), {len(decisions.true)} decisions"
    console.print(comparison_table(comparison, title, policy_config.n_action_steps, policy_config.chunk_size))
    if keys := channel_table(comparison[POLICY]["executed"]["channels"]):
        console.print(keys)
    for note in notes:
        console.print(note, soft_wrap=True)
    config.output.mkdir(parents=True, exist_ok=True)
    _write_figures(config.output, decisions, comparison, names, policy_config.n_action_steps, meta.fps)
    # Last and at once: a folder with metrics has everything.
    unfinished = config.output / ".metrics.json.unfinished"
    unfinished.write_text(json.dumps({**facts, "players": comparison}, indent=2, allow_nan=False), encoding="utf-8")
    unfinished.replace(config.output / "metrics.json")
    console.print(f"Written to {config.output}", soft_wrap=True)


def _metadata(source: DatasetConfig) -> LeRobotDatasetMetadata:
    if source.root is not None and not (Path(source.root) / INFO_PATH).is_file():  # LeRobot would ask the Hub
        raise ValueError(f"--dataset.root={source.root}: no dataset there, {INFO_PATH} is missing; pass its folder")
    return LeRobotDatasetMetadata(source.repo_id, root=source.root, revision=source.revision)


def _check_actions(config: QwenVLAConfig, meta: LeRobotDatasetMetadata) -> None:
    """Raises ValueError where the dataset's actions are others than the policy's; make_policy would take up theirs."""
    action = meta.features.get(ACTION)
    if action is None:
        raise ValueError(f"{meta.root}: the dataset has no {ACTION!r} to compare with, only {sorted(meta.features)}")
    trained, shape = tuple(config.action_feature.shape), tuple(action["shape"])
    if shape != trained:
        raise ValueError(
            f"the policy was trained on {trained[0]} action channels, the dataset has {shape}; "
            "pass a dataset that was converted like the one it was trained on"
        )


def _instructions(
    meta: LeRobotDatasetMetadata, episodes: list[int], seed: int
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """How the policy is told what to do, see `decide`, and what to say where it can't be told something else."""
    own = {POLICY: {}}
    instructions = sorted({task for episode in episodes for task in meta.episodes[episode]["tasks"]})
    if len(instructions) < 2:
        return own, [f"All episodes have one instruction ({', '.join(instructions)!r}): none to tell instead of it."]
    if feature_columns(meta.features):
        return own, ["Precomputed features have read their instructions: for other ones evaluate on the pictures."]
    return {**own, SHUFFLED: derangement(instructions, seed)}, []


def _mean_action(normalizer: NormalizerProcessorStep) -> np.ndarray:
    """Of the training dataset, whose statistics the checkpoint has.  # (A,)"""
    mean = (normalizer.stats or {}).get(ACTION, {}).get("mean")
    if mean is None:
        raise ValueError("the checkpoint's statistics lack the mean action; train it on a dataset that has one")
    return np.asarray(mean)


def _write_figures(
    folder: Path, decisions: Decisions, comparison: dict, names: list[str], n_action_steps: int, fps: float
) -> None:
    executed = decisions.executed(decisions.predicted[POLICY], n_action_steps)
    is_real = ~executed.is_pad[0]
    figures = {
        "episode.png": episode_figure(
            executed.predicted[0][is_real],
            executed.true[0][is_real],
            names=names,
            is_binary=binary_channels(names, decisions.true[~decisions.is_pad]),
            fps=fps,
            title=f"Episode {decisions.episode.min()}, looking again every {n_action_steps / fps:g} s",
        ),
        "reliability.png": reliability_figure(comparison[POLICY]["executed"]["channels"]),
    }
    for name, figure in figures.items():
        (folder / name).unlink(missing_ok=True)  # of an earlier run
        if figure:
            figure.savefig(folder / name, dpi=160)


@parser.wrap()
def _run(config: EvaluateConfig) -> None:
    evaluate(config, Console())


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-evaluate: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("\nqwenvla-evaluate: interrupted; nothing was written")


if __name__ == "__main__":
    main()
