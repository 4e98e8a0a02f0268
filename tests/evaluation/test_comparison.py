import numpy as np

from lerobot_qwenvla.evaluation.comparison import COPY_LAST, MEAN, POLICY, compare
from lerobot_qwenvla.evaluation.decisions import Decisions


def test_every_player_is_measured_by_what_it_executes_and_by_all_it_decides():
    # One episode of six steps; W goes down at the fourth. The policy decides rightly until its chunks' third step.
    pressed = np.array([0, 0, 0, 1, 1, 1], dtype=np.float32)
    frame = np.array([0, 2, 4])
    step = frame[:, None] + np.arange(4)
    true = np.stack([np.full(step.shape, 0.5), pressed[np.minimum(step, 5)]], axis=2).astype(np.float32)
    predicted = true.copy()
    predicted[:, 2:] = 0
    last = np.stack([np.full(3, 0.5), pressed[[0, 1, 3]]], axis=1).astype(np.float32)
    decisions = Decisions(np.zeros(3), frame, true, step > 5, last, {POLICY: predicted})
    result = compare(
        decisions, np.array([0.5, 0.0]), names=["mouse.x", "key.w"], n_action_steps=2, fps=10, normalize=lambda a: a
    )
    assert {player: measured["executed"]["mse"] for player, measured in result.items()} == {
        POLICY: 0, COPY_LAST: 1 / 12, MEAN: 3 / 12,
    }  # fmt: skip
    assert result[POLICY]["executed"]["transition_f1"] == 1
    assert result[COPY_LAST]["executed"]["transition_f1"] == 1  # pressing a step late still counts
    assert result[MEAN]["executed"]["transition_f1"] == 0
    assert result[POLICY]["chunk"]["steps"] == 10
    # Of the first two chunks' last two steps, the mouse is off four times, and W three times.
    assert result[POLICY]["chunk"]["mse"] == (4 * 0.25 + 3) / 20
