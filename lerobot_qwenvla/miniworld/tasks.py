"""The Miniworld tasks that can be recorded, trained on and evaluated, and in which variations."""

from dataclasses import dataclass

# What an episode is like. Only the first is ever recorded; the others ask what a policy learned from it.
RECORDED, NEW_WORDS, NEW_PAIRS, WRONG_OBJECT = "recorded", "new_words", "new_pairs", "wrong_object"
VARIATIONS = (RECORDED, NEW_WORDS, NEW_PAIRS, WRONG_OBJECT)


@dataclass(frozen=True)
class Task:
    """A Miniworld world and what to do in it.

    Attributes:
        world: Import path of its class, `module:Class`. A string, so that this table needs no OpenGL.
        words: What the player is told, one of them an episode; `{goal}` stands for the name of the goal.
        new_words: Other words for the same, which are never recorded.
        goal: Name of the world's attribute that holds the entity to go to.
        names_goal: Whether the world holds several objects, of which the instruction names one.
    """

    world: str
    words: tuple[str, ...]
    new_words: tuple[str, ...]
    goal: str = "goal"
    names_goal: bool = False


TASKS: dict[str, Task] = {
    "OneRoom": Task(
        world="miniworld.envs.oneroom:OneRoom",
        words=("go to the red box",),
        new_words=("walk up to the red box",),
        goal="box",
    ),
    "GoToObject": Task(
        world="lerobot_qwenvla.miniworld.go_to_object:GoToObject",
        words=("go to the {goal}", "walk up to the {goal}", "find the {goal}", "I need the {goal}, get there"),
        new_words=("approach the {goal}", "head over to the {goal}", "move towards the {goal} now"),
        names_goal=True,
    ),
}


def find_task(name: str, variation: str = RECORDED) -> Task:
    """Task of this name.

    Raises:
        ValueError: No such task or variation, or the task has no such variation; the message lists those that exist.
    """
    if name not in TASKS:
        raise ValueError(f"Unknown Miniworld task {name!r}. Known tasks: {', '.join(sorted(TASKS))}.")
    known = VARIATIONS if TASKS[name].names_goal else (RECORDED, NEW_WORDS)
    if variation not in known:
        raise ValueError(f"Unknown variation {variation!r} of {name}. Its variations: {', '.join(known)}.")
    return TASKS[name]
