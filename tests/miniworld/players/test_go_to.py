import numpy as np
import pytest

from lerobot_qwenvla.miniworld.controls import turn_of_mouse_x
from lerobot_qwenvla.miniworld.players.go_to import KEEP_AWAY_M, SEARCH_TURN_DEG, GoToPlanner
from lerobot_qwenvla.miniworld.players.hands import Hands
from lerobot_qwenvla.miniworld.players.sight import Sight, Thing
from lerobot_qwenvla.recorder.play import SCRIPTED, Player, evaluate_player, play_episode
from recordings_to_lerobot.actions.encoding import normalize_px

CANVAS_PX = (384, 384)


def see(goal_m=None, position_m=(0.0, 0.0), heading_deg=0.0, others_m=()):
    places_m = {"red box": [] if goal_m is None else [goal_m], "blue ball": others_m}
    things = [Thing(name, np.array(place_m), 0.5) for name, places in places_m.items() for place_m in places]
    return Sight(np.array(position_m), np.radians(heading_deg), tuple(things))


def make_planner():
    return GoToPlanner(Hands(CANVAS_PX), "red box")


def turn_deg(intention):
    return turn_of_mouse_x(normalize_px(intention.cursor_px[0], CANVAS_PX[0]))


def after(prepare):
    """The scripted player in a world that is changed before it looks."""

    def intervals(env, seed):
        prepare(env)
        env.screen[:] = env.world.render_obs()
        return SCRIPTED.intervals(env, seed)

    return Player("scripted", intervals)


def test_it_turns_steadily_to_the_right_until_it_sees_the_goal():
    planner = make_planner()
    for _ in range(20):
        intention = planner.intend(see())
        assert turn_deg(intention) == pytest.approx(-SEARCH_TURN_DEG, abs=0.1)
        assert not intention.keys


def test_it_steers_towards_the_goal_and_walks_once_it_is_ahead():
    planner = make_planner()
    aside = planner.intend(see(goal_m=(2.0, -1.0)))
    assert turn_deg(aside) == pytest.approx(0.5 * np.degrees(np.arctan2(1.0, 2.0)), abs=0.1)
    assert not aside.keys
    ahead = planner.intend(see(goal_m=(2.0, 0.0)))
    assert turn_deg(ahead) == 0.0
    assert ahead.keys == {"w"}


@pytest.mark.parametrize("side", [1, -1])
def test_it_walks_past_the_nearer_side_of_what_stands_before_the_goal(side):
    planner = make_planner()
    # z points to the right: the thing is a little to one side of the straight way, so the other side is nearer.
    intention = planner.intend(see(goal_m=(6.0, 0.0), others_m=[(3.0, 0.3 * side)]))
    around_deg = np.degrees(np.arcsin(KEEP_AWAY_M / np.hypot(3.0, 0.3)) - np.arctan2(0.3, 3.0))
    assert turn_deg(intention) == pytest.approx(side * 0.5 * around_deg, abs=0.2)


def test_what_stands_behind_the_goal_or_aside_is_not_in_the_way():
    planner = make_planner()
    assert turn_deg(planner.intend(see(goal_m=(3.0, 0.0), others_m=[(6.0, 0.0), (2.0, 2.0)]))) == 0.0


def test_it_remembers_what_is_in_the_way_when_it_is_out_of_sight():
    planner = make_planner()
    planner.intend(see(goal_m=(6.0, 0.0), others_m=[(3.0, 0.3)]))
    assert turn_deg(planner.intend(see(goal_m=(6.0, 0.0)))) > 5.0


def test_it_goes_on_to_where_it_saw_the_goal():
    planner = make_planner()
    planner.intend(see(goal_m=(2.0, 0.0)))
    assert planner.intend(see(position_m=(0.15, 0.0))).keys == {"w"}


def test_it_turns_back_to_the_side_where_it_lost_the_goal():
    planner = make_planner()
    planner.intend(see(goal_m=(2.0, 0.0)))
    assert turn_deg(planner.intend(see(heading_deg=-50.0))) > 0
    assert turn_deg(planner.intend(see(heading_deg=50.0))) < 0


def test_a_goal_that_is_not_where_it_was_is_searched_for_again():
    planner = make_planner()
    planner.intend(see(goal_m=(2.0, -0.1)))
    intention = planner.intend(see(position_m=(1.9, 0.0)))
    assert not intention.keys
    assert turn_deg(intention) == pytest.approx(SEARCH_TURN_DEG, abs=0.1)


def test_where_an_unseen_goal_is_changes_nothing(env):
    def first_actions(goal_m):
        """Of an episode in which the goal is moved to a place behind the player's back."""

        def prepare(env):
            env.world.agent.pos, env.world.agent.dir = np.array([5.0, 0.0, 5.0]), 0.0
            env.goal.pos = np.array([goal_m[0], 0.0, goal_m[1]])

        steps = play_episode(env, after(prepare), seed=0)
        return np.stack([next(steps).interval.action for _ in range(8)])

    np.testing.assert_array_equal(first_actions((1.0, 5.0)), first_actions((3.0, 1.5)))


def test_it_gets_around_what_stands_in_its_way(env):
    class Unnoticed(type(env.goal)):
        is_static = True

    def prepare(env):
        env.world.agent.pos, env.world.agent.dir = np.array([2.0, 0.0, 5.0]), 0.0
        env.goal.pos = np.array([8.0, 0.0, 5.0])
        obstacle = Unnoticed("blue")
        obstacle.pos, obstacle.dir = np.array([4.5, 0.0, 5.2]), 0.0
        obstacle.randomize(env.world.params, None)
        env.world.entities.append(obstacle)
        env.world._render_static()

    steps = list(play_episode(env, after(prepare), seed=0))
    assert steps[-1].success
    assert any(step.interval.action[6:9].any() for step in steps), "it never stepped aside"


def test_it_reaches_the_goal_from_anywhere():
    success = evaluate_player("scripted", "OneRoom", range(1000, 1020), canvas_w=48, canvas_h=48)
    assert np.mean(success) >= 0.95
