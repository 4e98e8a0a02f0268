"""What there is to do in Miniworld: the table of tasks, and worlds of our own."""

from lerobot_qwenvla.miniworld.tasks.table import (
    NEW_PAIRS,
    NEW_WORDS,
    RECORDED,
    SECOND_OBJECT,
    TASKS,
    THIRD_OBJECT,
    VARIATIONS,
    WORLD_OPTIONS,
    WRONG_OBJECT,
    Task,
    find_task,
    task_names,
)

__all__ = [
    "NEW_PAIRS",
    "NEW_WORDS",
    "RECORDED",
    "SECOND_OBJECT",
    "TASKS",
    "THIRD_OBJECT",
    "VARIATIONS",
    "WORLD_OPTIONS",
    "WRONG_OBJECT",
    "Task",
    "find_task",
    "task_names",
]
