"""The Miniworld tasks that can be recorded, trained on and evaluated, and in which variations."""

from dataclasses import dataclass
from typing import Any

# What an episode is like. Only the first is ever recorded; the others ask what a policy learned from it.
RECORDED, NEW_WORDS, NEW_PAIRS, WRONG_OBJECT = "recorded", "new_words", "new_pairs", "wrong_object"
SECOND_OBJECT, THIRD_OBJECT = "second_object", "third_object"
VARIATIONS = (RECORDED, NEW_WORDS, NEW_PAIRS, WRONG_OBJECT, SECOND_OBJECT, THIRD_OBJECT)
# Arguments of the worlds of a variation; all others differ only in what the player is told.
WORLD_OPTIONS: dict[str, dict[str, Any]] = {
    NEW_PAIRS: {"new_pairs": True},
    SECOND_OBJECT: {"goal_index": 1},
    THIRD_OBJECT: {"goal_index": 2},
}


@dataclass(frozen=True)
class Task:
    """A Miniworld world and what to do in it.

    Attributes:
        world: Import path of its class, `module:Class`. A string, so that this table needs no OpenGL.
        words: What the player is told, one of them an episode; `{goal}` stands for the name of the goal.
        new_words: Other words for the same, which are never recorded.
        goal: Name of the world's attribute that holds the entity to reach or to take; none where any will do.
        variations: What an episode can be like.
    """

    world: str
    words: tuple[str, ...]
    new_words: tuple[str, ...]
    goal: str | None = "box"
    variations: tuple[str, ...] = (RECORDED, NEW_WORDS)

    @property
    def names_goal(self) -> bool:
        """Whether the instruction says which of several goals it is; the world has their `names`, its own first."""
        return "{goal}" in self.words[0]


TASKS: dict[str, Task] = {
    "OneRoom": Task(
        world="miniworld.envs.oneroom:OneRoom",
        words=("go to the red box", "walk to the red box", "find the red box", "get to the red box in this room"),
        new_words=("walk up to the red box", "the red box is where you should be", "move over to the red box"),
    ),
    "Hallway": Task(
        world="miniworld.envs.hallway:Hallway",
        words=(
            "go to the red box at the end of the hallway",
            "walk down the hallway to the red box",
            "follow the corridor until you reach the red box",
        ),
        new_words=("head along the hall up to the red box", "the red box stands where this hallway ends, go there"),
    ),
    "TMaze": Task(
        world="miniworld.envs.tmaze:TMaze",
        words=(
            "go to the red box in one of the two arms",
            "walk to the junction and find the red box",
            "the red box is to the left or to the right, go to it",
        ),
        new_words=(
            "search both side corridors for the red box",
            "at the T, look left and right, then go to the red box",
        ),
    ),
    "YMaze": Task(
        world="miniworld.envs.ymaze:YMaze",
        words=(
            "go to the red box in one of the two branches",
            "walk to the fork and find the red box",
            "the red box is down one of the branches, go to it",
        ),
        new_words=("search both ways of the fork for the red box", "where the path splits, look for the red box"),
    ),
    "FourRooms": Task(
        world="miniworld.envs.fourrooms:FourRooms",
        words=(
            "find the red box in one of the four rooms",
            "search the rooms for the red box",
            "go through the rooms until you reach the red box",
        ),
        new_words=("one of these rooms has a red box, get to it", "look in every room for the red box"),
    ),
    "WallGap": Task(
        world="miniworld.envs.wallgap:WallGap",
        words=(
            "go through the gap in the wall to the red box",
            "find the red box behind the wall",
            "walk through the gap and reach the red box",
        ),
        new_words=(
            "the red box is on the other side of the wall, get there",
            "pass the opening, then go to the red box",
        ),
    ),
    "PickupObjects": Task(
        world="miniworld.envs.pickupobjects:PickupObjects",
        words=("pick up all objects", "collect everything", "take every object in the yard"),
        new_words=("gather all the things that lie here", "leave nothing behind, pick everything up"),
        goal=None,
    ),
    "PutNext": Task(
        world="miniworld.envs.putnext:PutNext",
        words=(
            "put the red box next to the yellow box",
            "carry the red box to the yellow box",
            "take the red box and set it down beside the yellow box",
        ),
        new_words=(
            "bring the red box over to the yellow one",
            "the red box belongs beside the yellow box, move it there",
        ),
        goal="red_box",
    ),
    "Sign": Task(
        world="lerobot_qwenvla.miniworld.tasks.sign:Sign",
        words=(
            "read the sign and go to the {goal} of that colour",
            "go to the {goal} in the colour that the sign says",
            "touch the {goal} whose colour is written on the wall",
        ),
        new_words=("the wall names a colour, reach the {goal} that has it", "do what the sign says, with a {goal}"),
        goal="goal",
        variations=(RECORDED, NEW_WORDS, WRONG_OBJECT),
    ),
    "GoToObject": Task(
        world="lerobot_qwenvla.miniworld.tasks.go_to_object:GoToObject",
        words=("go to the {goal}", "walk up to the {goal}", "find the {goal}", "I need the {goal}, get there"),
        new_words=("approach the {goal}", "head over to the {goal}", "move towards the {goal} now"),
        goal="goal",
        variations=VARIATIONS,
    ),
}


def find_task(name: str, variation: str = RECORDED) -> Task:
    """Task of this name.

    Raises:
        ValueError: No such task or variation, or the task has no such variation; the message lists those that exist.
    """
    if name not in TASKS:
        raise ValueError(f"Unknown Miniworld task {name!r}. Known tasks: {', '.join(sorted(TASKS))}.")
    known = TASKS[name].variations
    if variation not in known:
        raise ValueError(f"Unknown variation {variation!r} of {name}. Its variations: {', '.join(known)}.")
    return TASKS[name]


def task_names(listed: str, variation: str = RECORDED) -> list[str]:
    """Names in a list with commas, `OneRoom,Hallway`, in its order.

    Raises:
        ValueError: One of them is unknown, has no such variation, or comes twice.
    """
    names = [name.strip() for name in listed.split(",")]
    for name in names:
        find_task(name, variation)
        if names.count(name) > 1:
            raise ValueError(f"The task {name} comes twice in {listed!r}; name each once.")
    return names
