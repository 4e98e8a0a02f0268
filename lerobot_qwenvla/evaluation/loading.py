"""A checkpoint and the recorded episodes it is looked at on, as the commands of this folder are given them."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import draccus
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TRAIN_CONFIG_NAME, TrainPipelineConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import INFO_PATH
from lerobot.policies import PreTrainedPolicy
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import ACTION

from lerobot_qwenvla.evaluation.selection import select_episodes
from lerobot_qwenvla.policy.checkpoint import config_of_path, read_config
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig


@dataclass
class SubjectConfig:
    """The policy, the dataset, and:"""

    # By default the episodes are those of a split called test or val, if the dataset has one, else all; choose others
    # with --split, --dataset.episodes, or --dataset.eval_split as in lerobot-train.
    dataset: DatasetConfig
    policy: PreTrainedConfig | None = None
    # Split of the dataset to look at.
    split: str | None = None

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        path: Of the checkpoint.
        policy: A qwenvla policy, or one with adapters around it.
        dataset: The episodes, with the delta timestamps of the policy.
        episodes, which: Their numbers, and a few words on which they are.
    """

    path: str
    policy: PreTrainedPolicy
    preprocessor: PolicyProcessorPipeline[dict[str, Any], dict[str, Any]]
    postprocessor: PolicyProcessorPipeline
    dataset: LeRobotDataset
    episodes: list[int]
    which: str


def load(config: SubjectConfig, **settings: Any) -> Subject:
    """Loads what the command line names; `settings` of the policy take the place of the checkpoint's.

    Raises:
        ValueError: Policy, dataset or options don't fit each other.
    """
    policy_config, path = config_of_path()
    for name, value in settings.items():
        setattr(policy_config, name, value)
    meta = _metadata(config.dataset)
    episodes, which = select_episodes(meta, config.dataset, config.split)
    return _load(policy_config, path, config.dataset, meta, episodes, which)


def load_checkpoint(checkpoint: Path, source: DatasetConfig, episodes: list[int]) -> Subject:
    """Loads a checkpoint and these episodes.

    Raises:
        ValueError: Policy and dataset don't fit each other.
    """
    policy_config = read_config(str(checkpoint))
    policy_config.compile_model = False
    return _load(policy_config, str(checkpoint), source, _metadata(source), episodes, f"episodes {episodes}")


def read_training(checkpoint: Path) -> TrainPipelineConfig:
    """The training config of a checkpoint, without what qwenvla-train adds to LeRobot's.

    Raises:
        ValueError: It is not there, or not as LeRobot writes it.
    """
    path = checkpoint / TRAIN_CONFIG_NAME
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(TrainPipelineConfig)}
        return draccus.decode(TrainPipelineConfig, {name: each for name, each in settings.items() if name in known})
    except FileNotFoundError as error:
        raise ValueError(f"{path}: missing; pass the pretrained_model folder of a training run's checkpoint") from error
    except (json.JSONDecodeError, DraccusException) as error:
        raise ValueError(f"{path}: {error}") from error


def _load(
    policy_config: QwenVLAConfig,
    path: str,
    source: DatasetConfig,
    meta: LeRobotDatasetMetadata,
    episodes: list[int],
    which: str,
) -> Subject:
    _check_actions(policy_config, meta)
    policy = make_policy(policy_config, ds_meta=meta)
    preprocessor, postprocessor = make_pre_post_processors(
        policy_config, path, preprocessor_overrides={"device_processor": {"device": policy_config.device}}
    )
    dataset = LeRobotDataset(
        source.repo_id,
        root=meta.root,
        episodes=episodes,
        delta_timestamps=resolve_delta_timestamps(policy_config, meta),
        video_backend=source.video_backend,
    )
    return Subject(path, policy, preprocessor, postprocessor, dataset, episodes, which)


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
