"""The policy decides about several clients as about each alone, and looks at the frames that it was trained on."""

import itertools

import numpy as np
import pytest
import torch
from lerobot.policies.rtc import RTCConfig

from lerobot_qwenvla.policy.algorithm.flow_matching import draw
from lerobot_qwenvla.serving.engine import Engine, Question
from lerobot_qwenvla.serving.wire.messages import Observation
from tests.serving.conftest import NAMES

SCREEN = "observation.images.screen"
SESSIONS = itertools.count()


@pytest.fixture
def observe(make_values):
    def make(timestep: int, seed: int | None = None, task: str = "go") -> Observation:
        values = make_values(timestep if seed is None else seed)
        state = np.array([values[name] for name in NAMES], np.float32)
        return Observation(timestep, timestep / 10, False, task, {SCREEN: values["screen"]}, state)

    return make


def decide(engine: Engine, *observations: Observation, **arguments) -> np.ndarray:
    """About the last of them, in an episode of its own.  # (chunk, A)"""
    session = next(SESSIONS)
    for observation in observations:
        sighting = engine.see(session, observation)
    [decision] = engine.decide([Question(sighting, **arguments)])
    engine.forget(session)
    return decision.actions


def test_a_decision_is_the_policys(engine, observe):
    """With the frames at t-4, t-2 and t, LeRobot's processors, and noise of the timestep alone."""
    observations = [observe(step) for step in range(7)]
    actions = decide(engine, *observations)
    frames = torch.stack([torch.from_numpy(observations[step].images[SCREEN].copy()) for step in (2, 4, 6)])
    batch = engine.preprocessor(
        {
            SCREEN: frames.permute(0, 3, 1, 2)[None].float() / 255,
            "observation.state": torch.from_numpy(observations[6].state)[None],
            "task": ["go"],
        }
    )
    noise = draw([[0, 6]], 1, engine.policy.model.chunk_shape, torch.device("cpu")).noise
    chunk = engine.policy.predict_action_chunk(batch, noise=noise)
    by_action = torch.stack([engine.postprocessor(action) for action in chunk[0]])
    np.testing.assert_allclose(actions, by_action.numpy(), atol=1e-5)


def test_frames_are_found_by_timestep_not_by_count(engine, observe):
    sparse = decide(engine, observe(2), observe(4), observe(6))
    dense = decide(engine, *[observe(step) for step in range(7)])
    np.testing.assert_allclose(sparse, dense, atol=1e-5)


def test_of_equal_timesteps_the_last_counts(engine, observe):
    twice = decide(engine, observe(2), observe(4, seed=9), observe(4), observe(6))
    np.testing.assert_allclose(twice, decide(engine, observe(2), observe(4), observe(6)), atol=1e-5)


def test_what_comes_while_a_decision_waits_does_not_change_it(engine, observe):
    session = next(SESSIONS)
    for step in range(7):
        waiting = engine.see(session, observe(step))
    for step in range(7, 20):
        engine.see(session, observe(step))
    [decision] = engine.decide([Question(waiting)])
    alone = decide(engine, *[observe(step) for step in range(7)])
    np.testing.assert_allclose(decision.actions, alone, atol=1e-5)


@pytest.mark.parametrize(
    "policy", [{}, {"frame_encoding": "joint"}, {"guidance_scale": 2.0, "instruction_dropout": 0.1}]
)
def test_batching_changes_no_answer(make_engine, observe, policy):
    engine = make_engine(policy)
    rows = [(5, 1, "go"), (9, 2, "go to the red box"), (0, 3, "stop"), (5, 1, "stop")]
    observations = [observe(*row) for row in rows]
    questions = [Question(engine.see(next(SESSIONS), observation)) for observation in observations]
    together = engine.decide(questions)
    for observation, decision in zip(observations, together, strict=True):
        np.testing.assert_allclose(decision.actions, decide(engine, observation), atol=1e-5)
    assert not np.allclose(together[0].actions, together[3].actions, atol=1e-3)


def test_an_instruction_counts_from_the_next_decision(engine, observe):
    session = next(SESSIONS)
    for step in range(5):
        before = engine.see(session, observe(step))
    after = engine.see(session, observe(4, task="stop"))
    told, changed = engine.decide([Question(before), Question(after)])
    assert not np.allclose(told.actions, changed.actions, atol=1e-3)
    alone = decide(engine, *[observe(step, task="stop") for step in range(5)])
    np.testing.assert_allclose(changed.actions, alone, atol=1e-5)


def test_other_seeds_are_other_actions(engine, make_engine, observe):
    other = make_engine(seed=1)
    assert not np.allclose(decide(engine, observe(3)), decide(other, observe(3)), atol=1e-3)


def test_one_row_that_fails_does_not_hurt_another(engine, observe, monkeypatch):
    sample = engine.policy.model.sample

    def fail_on_two(features, state, *arguments, **keywords):
        if len(state) > 1:
            raise torch.OutOfMemoryError("too large a batch")
        return sample(features, state, *arguments, **keywords)

    monkeypatch.setattr(engine.policy.model, "sample", fail_on_two)
    questions = [Question(engine.see(next(SESSIONS), observe(step))) for step in (3, 5)]
    for step, decision in zip((3, 5), engine.decide(questions), strict=True):
        np.testing.assert_allclose(decision.actions, decide(engine, observe(step)), atol=1e-5)


def test_a_decision_that_is_not_finite_is_an_error(engine, observe, monkeypatch):
    sample = engine.policy.model.sample
    monkeypatch.setattr(
        engine.policy.model, "sample", lambda *a, **k: sample(*a, **k) * torch.tensor([[[1.0]], [[torch.nan]]])
    )
    good, bad = engine.decide([Question(engine.see(next(SESSIONS), observe(step))) for step in (3, 5)])
    assert np.isfinite(good.actions).all() and isinstance(bad, ValueError)


def test_sessions_that_ended_leave_nothing(make_engine, observe):
    engine = make_engine()
    engine.warm_up()
    for session in range(20):
        engine.see(session, observe(0))
        engine.forget(session)
    assert not engine.memory._frames


def test_a_chunk_continues_the_running_one(make_engine, observe):
    plain = make_engine()
    steered = make_engine(rtc=RTCConfig(execution_horizon=4))
    running = torch.full((5, len(NAMES)), 0.3)
    question = {"running": running, "delay": 2}
    assert np.allclose(decide(steered, observe(3)), decide(plain, observe(3)), atol=1e-5)
    target = plain.postprocessor(running[None])[0, :2].numpy()
    before = np.abs(decide(plain, observe(3), **question)[:2] - target)[:, :-1].mean()
    after = np.abs(decide(steered, observe(3), **question)[:2] - target)[:, :-1].mean()
    assert after < 0.2 * before


def test_continuing_in_a_batch_changes_no_answer(make_engine, observe):
    engine = make_engine(rtc=RTCConfig(execution_horizon=4))
    running = [
        torch.full((5, len(NAMES)), 0.3),
        torch.full((2, len(NAMES)), -0.3),
        None,
        torch.full((9, len(NAMES)), 0.1),
    ]
    asked = [
        (observe(step, seed=step), {"running": left, "delay": 1})
        for step, left in zip((3, 4, 5, 6), running, strict=True)
    ]
    together = engine.decide([Question(engine.see(next(SESSIONS), seen), **more) for seen, more in asked])
    for (seen, more), decision in zip(asked, together, strict=True):
        np.testing.assert_allclose(decision.actions, decide(engine, seen, **more), atol=1e-4)
