"""The Miniworld tasks that can be recorded, trained on and evaluated."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A stock Miniworld world and what to do in it.

    Attributes:
        world: Import path of the stock class, `module:Class`. A string, so that this table needs no OpenGL.
        instruction: What the player is told.
        goal: Name of the world's attribute that holds the entity to go to.
    """

    world: str
    instruction: str
    goal: str


TASKS: dict[str, Task] = {
    "OneRoom": Task(world="miniworld.envs.oneroom:OneRoom", instruction="go to the red box", goal="box"),
}


def find_task(name: str) -> Task:
    """Task of this name.

    Raises:
        ValueError: No such task; the message lists those that exist.
    """
    if name not in TASKS:
        raise ValueError(f"Unknown Miniworld task {name!r}. Known tasks: {', '.join(sorted(TASKS))}.")
    return TASKS[name]
