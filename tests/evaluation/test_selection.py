from types import SimpleNamespace

import numpy as np
import pytest
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.factory import make_train_eval_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_qwenvla.evaluation.selection import select_episodes


def select(splits: dict[str, str], split: str | None = None, **options) -> tuple[list[int], str]:
    meta = SimpleNamespace(info=SimpleNamespace(splits=splits), total_episodes=5, episodes={"tasks": [["a"]] * 5})
    return select_episodes(meta, DatasetConfig("tests/some", **options), split)


@pytest.mark.parametrize(
    ("splits", "options", "episodes"),
    [
        ({"train": "0:5"}, {}, [0, 1, 2, 3, 4]),
        ({"train": "0:2", "val": "2:3", "test": "3:5"}, {}, [3, 4]),
        ({"train": "0:4", "val": "4:5"}, {}, [4]),
        ({"train": "0:4", "test": "4:5"}, {"split": "train"}, [0, 1, 2, 3]),
        ({"train": "0:4", "test": "4:5"}, {"episodes": [3, 1]}, [1, 3]),
        ({"train": "0:4", "test": "4:5"}, {"eval_split": 0.3}, [3, 4]),
    ],
)
def test_held_out_episodes_unless_others_are_asked_for(splits, options, episodes):
    assert select(splits, **options)[0] == episodes


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"train": "0:4", "test": "4:5"}, {"split": "tset"}, "--split=tset: the dataset has train, test"),
        ({"train": "0:5", "test": "5:5"}, {}, "split test: no episode to evaluate on"),
        ({}, {"episodes": []}, "--dataset.episodes: no episode to evaluate on"),
        ({}, {"episodes": [2, 5]}, "no episode 5, the dataset has 0 to 4"),
        ({"test": "0:5"}, {"split": "test", "episodes": [0]}, "pass one of --split and --dataset.episodes, not both"),
    ],
)
def test_what_can_not_be_selected_is_refused(splits, options, message):
    with pytest.raises(ValueError, match=message):
        select(splits, **options)


def test_eval_split_is_what_lerobot_does_not_train_on(tmp_path):
    vector = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    dataset = LeRobotDataset.create("tests/tasks", fps=10, features={"action": vector}, root=tmp_path / "data")
    for task in "abaabaab":
        dataset.add_frame({"action": np.zeros(2, dtype=np.float32), "task": task})
        dataset.save_episode()
    dataset.finalize()
    config = DatasetConfig("tests/tasks", root=str(tmp_path / "data"), eval_split=0.4)
    policy = SimpleNamespace(observation_delta_indices=None, action_delta_indices=None, reward_delta_indices=None)
    _, held_out = make_train_eval_datasets(TrainPipelineConfig(dataset=config, policy=policy))
    assert select_episodes(held_out.meta, config, None)[0] == sorted(held_out.episodes)
