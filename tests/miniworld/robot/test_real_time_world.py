import pytest

from lerobot_qwenvla.devices.executor import STALL_TICKS, Executor, RealTimeExecutor
from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.robot.real_time_world import RealTimeWorld
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX
from recordings_to_lerobot.actions.encoding import action_vector

PERIOD_S = 0.1
# In this world the box is straight ahead.
SEED_OF_BOX_AHEAD = 36
FORWARD = action_vector(keys={"w"})


class Played:
    """A world, and a clock that its ticks move on."""

    def __init__(self, env, seed=0):
        self.env, self._s = env, 0.0
        self.executor = RealTimeExecutor(Executor(), PERIOD_S, lambda: self._s)
        self.world = RealTimeWorld(env, self.executor, seed)

    def tick(self):
        result = self.world.tick()
        self._s += PERIOD_S
        return result


@pytest.fixture
def short_env():
    env = MiniworldEnv(canvas_w=32, canvas_h=32, episode_length=6)
    yield env
    env.close()


def test_episodes_end_and_begin_though_nobody_acts(short_env):
    played = Played(short_env, seed=7)
    results = [played.tick() for _ in range(12)]
    assert [(r.seed, r.success, r.ticks) for r in results if r] == [(7, False, 6), (8, False, 6)]


def test_a_key_moves_the_player_until_the_actions_stop(env):
    played = Played(env)
    played.executor.send(FORWARD)
    moved = []
    for _ in range(STALL_TICKS + 3):
        before = env.pose
        played.tick()
        moved.append(env.pose != before)
    assert moved == [True] * STALL_TICKS + [False] * 3
    assert not played.world.state[CHANNEL_INDEX["key.w"]]


def test_success_is_told_and_nothing_is_held_in_the_next_episode(env):
    played = Played(env, SEED_OF_BOX_AHEAD)
    result = None
    while result is None:
        played.executor.send(FORWARD)
        result = played.tick()
    assert (result.seed, result.success, result.task) == (SEED_OF_BOX_AHEAD, True, "walk to the red box")
    assert result.stalled_ticks == 0
    assert not played.world.state.any()


def test_stalled_ticks_are_counted_by_episode(short_env):
    played = Played(short_env)
    for k in range(6):
        if k in (0, 3):
            played.executor.send(FORWARD)
        result = played.tick()
    assert result.stalled_ticks == 4
