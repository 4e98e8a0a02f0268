from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_pre_post_processors

from lerobot_qwenvla.evaluation.comparison import COPY_LAST, players
from lerobot_qwenvla.evaluation.decisions import Decisions, decide, derangement


@given(st.lists(st.text(), min_size=2, unique=True), st.integers(0, 9))
def test_derangement_gives_everyone_the_instruction_of_another(instructions, seed):
    instead = derangement(instructions, seed)
    assert sorted(instead) == sorted(instead.values()) == sorted(instructions)
    assert all(own != other for own, other in instead.items())


def decisions_of(true: np.ndarray, every: int, chunk: int) -> Decisions:
    """At every so many frames of one episode of actions (L, 1), predictions being the number of the decision."""
    frame = np.arange(0, len(true), every)
    step = frame[:, None] + np.arange(chunk)
    is_pad = step >= len(true)
    numbers = np.broadcast_to(np.arange(len(frame), dtype=np.float32)[:, None, None], (*step.shape, 1))
    recorded = true[np.minimum(step, len(true) - 1)]
    last = true[np.maximum(frame - 1, 0)]
    return Decisions(np.full(len(frame), 7), frame, recorded, is_pad, last, {"policy": numbers})


def test_executed_actions_follow_one_another_as_when_playing():
    true = np.arange(5, dtype=np.float32)[:, None]
    decisions = decisions_of(true, every=2, chunk=4)
    executed = decisions.executed(decisions.predicted["policy"], n_action_steps=2)
    assert executed.predicted[0, :, 0].tolist() == [0, 0, 1, 1, 2]
    assert executed.true[0, :, 0].tolist() == [0, 1, 2, 3, 4]
    assert not executed.is_pad.any()


def test_a_shorter_episode_is_padded():
    short, long = (decisions_of(np.ones((length, 1), dtype=np.float32), every=2, chunk=2) for length in (3, 5))
    both = Decisions(
        np.concatenate([short.episode, long.episode + 1]),
        *(np.concatenate([getattr(d, name) for d in (short, long)]) for name in ("frame", "true", "is_pad", "last")),
        predicted={},
    )
    assert both.executed(both.true, n_action_steps=2).is_pad.tolist() == [[False] * 3 + [True] * 2, [False] * 5]


@given(st.integers(1, 9), st.integers(1, 4), st.floats(-1, 1, width=32))
def test_copying_the_last_action_is_perfect_where_nothing_changes(length, every, value):
    decisions = decisions_of(np.full((length, 1), value, dtype=np.float32), every, chunk=4)
    chunks = decisions.executed(players(decisions, np.zeros(1))[COPY_LAST], every)
    np.testing.assert_array_equal(chunks.predicted, chunks.true)


@pytest.fixture(scope="module")
def decided(make_trainee, pixel_dataset, feature_dataset) -> Callable[..., Decisions]:
    """What a fresh policy decides on episodes of the fixture datasets."""

    def run(dataset: LeRobotDataset = pixel_dataset, episodes=(0, 2), told=None, **options) -> Decisions:
        policy = make_trainee(dataset)
        processors = make_pre_post_processors(policy.config, dataset_stats=dataset.meta.stats)
        timed = LeRobotDataset(
            dataset.repo_id,
            root=dataset.root,
            episodes=list(episodes),
            delta_timestamps=resolve_delta_timestamps(policy.config, dataset.meta),
            video_backend="pyav",
        )
        return decide(policy, *processors, timed, told or {"policy": {}}, **{"seed": 0, "batch_size": 4, **options})

    return run


def test_it_decides_where_a_playing_policy_looks_again(decided, pixel_dataset):
    decisions = decided()
    assert decisions.episode.tolist() == [0] * 5 + [2] * 5
    assert decisions.frame.tolist() == [0, 2, 4, 6, 8] * 2
    recorded = torch.stack(pixel_dataset.hf_dataset["action"][:]).numpy()
    np.testing.assert_array_equal(decisions.true[7], recorded[18 + 4 : 18 + 10][[0, 1, 2, 3, 4, 4]])
    assert decisions.is_pad[7].tolist() == [False] * 5 + [True]
    states = torch.stack(pixel_dataset.hf_dataset["observation.state"][:]).numpy()
    np.testing.assert_array_equal(decisions.last, states[[0, 2, 4, 6, 8, 18, 20, 22, 24, 26]])


def test_decisions_depend_on_the_seed_and_on_neither_batches_nor_features(decided, feature_dataset):
    decisions = decided().predicted["policy"]
    assert np.isfinite(decisions).all()
    np.testing.assert_array_equal(decided().predicted["policy"], decisions)
    np.testing.assert_allclose(decided(batch_size=3).predicted["policy"], decisions, atol=1e-4)
    np.testing.assert_allclose(decided(feature_dataset).predicted["policy"], decisions, atol=1e-4)
    assert abs(decided(seed=1).predicted["policy"] - decisions).max() > 0.1


def test_another_instruction_changes_what_is_decided_and_nothing_else(decided):
    instead = {"go to box 0": "go to box 2", "go to box 2": "go to box 0"}
    decisions = decided(told={"policy": {}, "same": {}, "shuffled": instead})
    own, same, shuffled = decisions.predicted.values()
    np.testing.assert_array_equal(own, same)
    assert (own != shuffled).any(axis=(1, 2)).all()
