"""Who plays which task."""

from collections.abc import Callable
from typing import Protocol

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.players.go_to import GoToPlanner
from lerobot_qwenvla.miniworld.players.hands import Hands
from lerobot_qwenvla.miniworld.players.navigation import Navigator
from lerobot_qwenvla.miniworld.players.pick_up import CollectPlanner, PutNextPlanner
from lerobot_qwenvla.miniworld.players.search import ReadSignPlanner, SearchPlanner
from lerobot_qwenvla.miniworld.players.sight import Sight, name_of


class Planner(Protocol):
    """Decides, look by look, what mouse and keyboard shall do."""

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""


def _go_to(env: MiniworldEnv) -> Planner:
    return GoToPlanner(_hands(env), name_of(env.goal))


def _search(env: MiniworldEnv) -> Planner:
    return SearchPlanner(_navigator(env), name_of(env.goal))


def _leave_and_search(env: MiniworldEnv) -> Planner:
    """In worlds whose goal is never where the player begins."""
    return SearchPlanner(_navigator(env), name_of(env.goal), leaves=True)


def _collect(env: MiniworldEnv) -> Planner:
    return CollectPlanner(_navigator(env))


def _put_next(env: MiniworldEnv) -> Planner:
    return PutNextPlanner(_navigator(env), "red box", "yellow box", _touch_m(env))


def _read_sign(env: MiniworldEnv) -> Planner:
    return ReadSignPlanner(_navigator(env), env.world.names[env.goal], env.world.agent.radius + _touch_m(env))


def _hands(env: MiniworldEnv) -> Hands:
    params = env.world.params
    return Hands(env.canvas_px, params.sample(None, "forward_step"), params.sample(None, "turn_step"))


def _navigator(env: MiniworldEnv) -> Navigator:
    return Navigator(_hands(env))


def _touch_m(env: MiniworldEnv) -> float:
    """Between the edges of two entities that are near each other, as `near` of the stock worlds has it."""
    return 1.1 * env.world.max_forward_step


_PLANNERS: dict[str, Callable[[MiniworldEnv], Planner]] = {
    "OneRoom": _go_to,
    "Hallway": _go_to,
    "TMaze": _leave_and_search,
    "YMaze": _leave_and_search,
    "FourRooms": _search,
    "WallGap": _leave_and_search,
    "PickupObjects": _collect,
    "PutNext": _put_next,
    "Sign": _read_sign,
    "GoToObject": _go_to,
}


def make_planner(env: MiniworldEnv) -> Planner:
    """A planner for the task of an environment, before its first look at the episode that was just reset."""
    return _PLANNERS[env.task](env)
