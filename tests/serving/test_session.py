"""Which observations are worth a decision, and what is left of a chunk."""

import numpy as np
import pytest
import torch

from lerobot_qwenvla.serving.session import Sent, Session, Sighting
from lerobot_qwenvla.serving.wire.messages import Observation

FPS = 10


def sighting(timestep: int, shade: int = 0, *, must_go: bool = False, at_s: float | None = None) -> Sighting:
    picture = np.full((16, 16, 3), shade, np.uint8)
    at_s = timestep / FPS if at_s is None else at_s
    seen = Observation(timestep, at_s, must_go, "go", {"screen": picture}, np.zeros(1, np.float32))
    return Sighting(seen, "go", None, {}, 0.0)


def sent(timestep: int, count: int = 10) -> Sent:
    return Sent(timestep, torch.arange(count)[:, None])


@pytest.fixture
def session():
    return Session("peer", 0.0)


@pytest.fixture
def busy(session):
    """Has decided about a black picture at step 0, and its client performs the actions 1 to 10."""
    session.take(sighting(0), 0.02)
    session.answered(session.pending.observation, sent(0))
    return session


def test_the_first_observation_is_decided_about(session):
    session.take(sighting(0), 0.02)
    assert session.pending


def test_a_similar_observation_is_skipped(busy):
    busy.take(sighting(1, shade=2), 0.02)
    assert busy.pending is None and busy.skipped == 1


def test_a_change_is_decided_about(busy):
    busy.take(sighting(1, shade=200), 0.02)
    assert busy.pending.observation.timestep == 1


def test_a_filter_that_is_off_skips_nothing(busy):
    busy.take(sighting(1), 0)
    assert busy.pending and busy.skipped == 0


def test_an_empty_queue_is_decided_about_without_the_flag(busy):
    busy.take(sighting(9), 0.02)
    assert busy.pending is None
    busy.take(sighting(10), 0.02)
    assert busy.pending


def test_a_client_that_stands_still_has_no_actions(busy):
    """Though the server has sent ten: the answer got lost."""
    busy.take(sighting(3), 0.02)
    assert busy.pending is None
    busy.take(sighting(3), 0.02)
    assert busy.pending


def test_the_flag_of_the_client_counts(busy):
    busy.take(sighting(1, must_go=True), 0.02)
    assert busy.pending


def test_what_waits_for_the_same_actions_is_answered_too(session):
    session.take(sighting(0), 0.02)
    observation = session.pending.observation
    session.take(sighting(0, shade=200), 0.02)  # while it is being decided
    session.answered(observation, sent(0))
    assert session.pending is None


def test_the_newest_observation_is_decided_about(busy):
    busy.take(sighting(1, shade=100), 0.02)
    busy.take(sighting(2, shade=200), 0.02)
    assert busy.pending.observation.timestep == 2


def test_delays_are_actions_performed_meanwhile(busy):
    busy.take(sighting(4, shade=200), 0.02)
    observation = busy.pending.observation
    busy.take(sighting(7, shade=201), 0.02)
    busy.answered(observation, sent(4))
    assert max(busy.delays) == 3


@pytest.mark.parametrize(("performed", "left"), [(5, 10), (6, 9), (14, 1)])
def test_what_is_left_of_a_chunk_follows_what_was_performed(performed, left):
    assert sent(5).left_after(performed).flatten().tolist() == list(range(10 - left, 10))


@pytest.mark.parametrize("performed", [4, 15, 100])
def test_nothing_is_left_of_another_chunk(performed):
    assert sent(5).left_after(performed) is None


def test_clocks_agree_while_actions_are_performed(session):
    for step in range(8):
        session.take(sighting(step), 0.02)
    assert session.clock_error(-4, FPS) == pytest.approx(0)


def test_a_stall_makes_frames_older_than_their_steps(session):
    for step in range(5):
        session.take(sighting(step), 0.02)
    session.take(sighting(4, at_s=2.4), 0.02)
    assert session.clock_error(-4, FPS) == pytest.approx(2.0)
    assert session.clock_error(-10, FPS) is None
