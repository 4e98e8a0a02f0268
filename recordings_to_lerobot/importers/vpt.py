"""VPT (OpenAI's Minecraft contractors): `NAME.mp4` and `NAME.jsonl`, a line for each step of 50 ms and its frame.

What a step says happened while its frame was on the screen; the cursor, shown in menus only, is where it was when
the frame was taken.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from recordings_to_lerobot.importers.key_names import java_key_code
from recordings_to_lerobot.importers.neutral import NS_PER_MS, InputEvent
from recordings_to_lerobot.recordings.validation import RecordingError, explain

STEP_NS = 50 * NS_PER_MS
FPS = 20
# The coordinates of menus belong to a window of so many lines, whatever the size of the video.
_LINES = 720
_N_SLOTS = 9

# Numbers of buttons as bits.
_BUTTON_BITS = {0: 1, 1: 2, 2: 4}
_ATTACK = 0
_PICK_ITEM = 2

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Mouse(BaseModel):
    x: Coordinate
    y: Coordinate
    dx: Coordinate
    dy: Coordinate
    buttons: list[int]
    newButtons: list[int]  # noqa: N815, the name in the file


class _Keyboard(BaseModel):
    keys: list[str]
    newKeys: list[str] = []  # noqa: N815


class Step(BaseModel):
    """A line of the file; what else it holds, as the player's place and inventory, is not read."""

    mouse: _Mouse
    keyboard: _Keyboard
    isGuiOpen: bool = False  # noqa: N815
    hotbar: Annotated[int, Field(ge=0, lt=_N_SLOTS)]


def read_steps(path: Path) -> Iterator[Step]:
    """Yields the steps of a file.

    Raises:
        RecordingError: A line is broken or lacks a field.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                # Steps and frames belong together by their number.
                raise RecordingError(f"{path}:{number}: empty; re-export the recording")
            try:
                yield Step.model_validate_json(line)
            except ValidationError as error:
                raise RecordingError(f"{path}:{number}: {explain(error)}; re-export the recording") from None


class InputReader:
    """Turns steps into events; `n_steps` and `repairs` are complete when all are read."""

    def __init__(self, video_lines: int):
        self._scale = video_lines / _LINES
        self.n_steps = 0
        self.repairs: Counter[str] = Counter()

    def events(self, steps: Iterable[Step]) -> Iterator[InputEvent]:
        """Yields the events of the steps in order of time.

        What a step reports as held goes down at its start, and what it no longer reports came up just before, so
        that the frame of a step has exactly what is reported of it.
        """
        held_codes: set[int] = set()
        held_buttons: set[int] = set()
        slot = 0
        is_attack_stuck = False
        for index, step in enumerate(steps):
            self.n_steps += 1
            ns, before_ns, line = index * STEP_NS, index * STEP_NS - 1, index + 1
            mouse = step.mouse
            if index == 0:
                # In some recordings the attack button seems held from the start, until it is first pressed.
                is_attack_stuck = mouse.newButtons == [_ATTACK]
            elif _ATTACK in mouse.newButtons:
                is_attack_stuck = False
            # What is new but no longer held was tapped within the step.
            buttons = {button for button in (*mouse.buttons, *mouse.newButtons) if button in _BUTTON_BITS}
            if is_attack_stuck and _ATTACK in buttons:
                buttons.remove(_ATTACK)
                self.repairs["stuck_attack_steps"] += 1
            names = {*step.keyboard.keys, *step.keyboard.newKeys}
            codes = {code for name in names if (code := java_key_code(name)) is not None}

            for code in sorted(held_codes - codes):
                yield InputEvent(before_ns, "keyup", line, vk=code)
            for button in sorted(held_buttons - buttons):
                yield InputEvent(before_ns, "buttonup", line, button=_BUTTON_BITS[button])
            if step.isGuiOpen:
                yield InputEvent(before_ns, "mousemove", line, x=mouse.x * self._scale, y=mouse.y * self._scale)
            for code in sorted(codes - held_codes):
                yield InputEvent(ns, "keydown", line, vk=code)
            for button in sorted(buttons - held_buttons):
                yield InputEvent(ns, "buttondown", line, button=_BUTTON_BITS[button])
            if mouse.dx or mouse.dy:
                yield InputEvent(ns, "mousedelta", line, dx=mouse.dx, dy=mouse.dy)
            turn = _turn(slot, step.hotbar)
            # The slot also changes by its own key, which may be reported a step earlier, and by picking an item.
            is_by_key = ord("1") + step.hotbar in held_codes | codes
            if turn and index and not is_by_key and _PICK_ITEM not in held_buttons | buttons:
                yield InputEvent(ns, "wheel", line, dx=0, dy=turn)
                self.repairs["wheel_from_hotbar"] += 1
            for name in step.keyboard.newKeys:
                if java_key_code(name) is None:
                    yield InputEvent(ns, name, line)
            held_codes, held_buttons, slot = codes, buttons, step.hotbar


def _turn(before: int, after: int) -> int:
    """Notches from a slot to another, the shorter way; positive away from the user, which goes to lower slots."""
    steps = (before - after) % _N_SLOTS
    return steps if steps <= _N_SLOTS // 2 else steps - _N_SLOTS
