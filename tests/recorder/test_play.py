import numpy as np
import pytest

from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS
from lerobot_qwenvla.recorder.play import RANDOM, SCRIPTED, evaluate_player, play_episode


@pytest.mark.parametrize("player", [SCRIPTED, RANDOM], ids=lambda player: player.name)
def test_an_episode_depends_on_its_seed_alone(env, player):
    first, again, other = (list(play_episode(env, player, seed)) for seed in (3, 3, 4))
    for step, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(step.screen, same.screen)
        np.testing.assert_array_equal(step.interval.action, same.interval.action)
        assert (step.interval.tick, step.interval.events) == (same.interval.tick, same.interval.events)
    assert first[0].interval.tick != other[0].interval.tick


def test_events_fall_into_their_own_frame_even_if_it_is_the_last(env):
    intervals = [step.interval for step in play_episode(env, SCRIPTED, 3)]
    next_ticks = [interval.tick for interval in intervals[1:]] + [float("inf")]
    for interval, next_tick in zip(intervals, next_ticks, strict=True):
        end = min(next_tick, interval.tick + FRAME_PERIOD_TICKS)
        assert all(interval.tick < event.tick < end for event in interval.events)


def test_a_frame_shows_the_world_before_its_action(env):
    steps = list(play_episode(env, SCRIPTED, 3))
    observation, _ = env.reset(seed=3)
    for step in steps:
        np.testing.assert_array_equal(step.screen, observation["pixels"]["screen"])
        observation, *_ = env.step(step.interval.action)


def test_the_episode_ends_with_its_success(env):
    success = [step.success for step in play_episode(env, SCRIPTED, 3)]
    assert success[-1]
    assert not any(success[:-1])


def test_chance_reaches_the_goal_more_rarely_than_the_scripted_player():
    random, scripted = (
        evaluate_player(name, "OneRoom", range(8), canvas_w=32, canvas_h=32) for name in ("random", "scripted")
    )
    assert len(random) == len(scripted) == 8
    assert sum(random) < sum(scripted)


def test_unknown_player_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'nobody'.*random, scripted"):
        evaluate_player("nobody", "OneRoom", [0], canvas_w=32, canvas_h=32)
