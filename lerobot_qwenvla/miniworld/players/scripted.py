"""Who plays which task."""

from collections.abc import Callable
from typing import Protocol

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.players.go_to import GoToPlanner
from lerobot_qwenvla.miniworld.players.hands import Hands
from lerobot_qwenvla.miniworld.players.search import SearchPlanner
from lerobot_qwenvla.miniworld.players.sight import Sight, name_of


class Planner(Protocol):
    """Decides, look by look, what mouse and keyboard shall do."""

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""


def _go_to(env: MiniworldEnv) -> Planner:
    return GoToPlanner(_hands(env), name_of(env.goal))


def _search(env: MiniworldEnv) -> Planner:
    return SearchPlanner(_hands(env), name_of(env.goal))


def _leave_and_search(env: MiniworldEnv) -> Planner:
    """In worlds whose goal is never where the player begins."""
    return SearchPlanner(_hands(env), name_of(env.goal), leaves=True)


def _hands(env: MiniworldEnv) -> Hands:
    return Hands(env.canvas_px, env.world.params.sample(None, "turn_step"))


_PLANNERS: dict[str, Callable[[MiniworldEnv], Planner]] = {
    "OneRoom": _go_to,
    "Hallway": _go_to,
    "TMaze": _leave_and_search,
    "YMaze": _leave_and_search,
    "FourRooms": _search,
    "WallGap": _leave_and_search,
    "GoToObject": _go_to,
}


def make_planner(env: MiniworldEnv) -> Planner:
    """A planner for the task of an environment, before its first look at the episode that was just reset."""
    return _PLANNERS[env.task](env)
