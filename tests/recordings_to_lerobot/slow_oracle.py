"""The alignment rules once more: event by event, in exact fractions, sharing no code with the converter.

Everything is recomputed from the start for every row, which is slow and leaves little room for mistakes.
"""

from fractions import Fraction

import numpy as np

BUTTONS = {"left": 1, "right": 2, "middle": 4}
SIDE_BUTTONS = {"back": 8, "forward": 16}
# Rates that a float only comes near to.
RATES = {29.97: Fraction(2997, 100), 59.94: Fraction(5994, 100), 60000 / 1001: Fraction(60000, 1001)}
ALL_BUTTONS = [*BUTTONS.items(), *SIDE_BUTTONS.items()]
KEYS = {
    **{name: [ord(name.upper())] for name in "wasdqerf"},
    "space": [32],
    "shift": [16, 160, 161],
    "ctrl": [17, 162, 163],
    "tab": [9],
    "enter": [13],
    "escape": [27],
    "up": [38],
    "down": [40],
    "left": [37],
    "right": [39],
    **{name: [ord(name)] for name in "1234"},
}


def rows(frame_ticks, meta, keep_duplicates=False, resample=False, fps=None):
    """List of (frame index, capture time, start, end) of each row, times in ms."""
    source_period_ms = 1000 / RATES.get(meta["fps"], Fraction(meta["fps"]))
    kept = []
    for index, tick in enumerate(frame_ticks):
        if keep_duplicates or index == 0 or tick != frame_ticks[index - 1]:
            kept.append((index, Fraction(tick * 1000, meta["qpc_freq"])))
    if not resample and not fps:
        ends = [time for _, time in kept[1:]] + [kept[-1][1] + source_period_ms]
        return [(index, time, time, end) for (index, time), end in zip(kept, ends, strict=True)]
    result = []
    period_ms = Fraction(1000) / (fps or meta["fps"])
    tick_ms, slack_ms = kept[0][1], source_period_ms / 10
    while tick_ms + slack_ms < kept[-1][1] + source_period_ms:
        index, time = [frame for frame in kept if frame[1] <= tick_ms + slack_ms][-1]
        result.append((index, time, tick_ms, tick_ms + period_ms))
        tick_ms += period_ms
    return result


def labels(all_rows, events, meta, mouse="absolute", extra=()):
    """State and action of each row as two lists of float32 vectors; a captured mouse in counts."""
    offset_ms = Fraction(meta.get("offset_ms", 0))
    timed = [(Fraction(event["ts"] * 1000, meta["qpc_freq"]) + offset_ms, event) for event in events]
    states, actions = [], []
    for _, _, start, end in all_rows:
        before = [event for time, event in timed if time < start]
        inside = [event for time, event in timed if start <= time < end]
        x0, y0 = position(before, meta)
        x1, y1 = position(before + inside, meta)
        held = pressed_after(before)
        down = set(held)
        for count, event in enumerate(inside, start=1):
            down |= pressed_after(before + inside[:count])
            if event["kind"] == "mouseclick":
                down |= {f"button.{n}" for n, bit in ALL_BUTTONS if event.get("buttons", 1) & bit}
        names = [*(f"button.{name}" for name in BUTTONS), *(f"key.{name}" for name in KEYS)]
        if "side_buttons" in extra:
            names += [f"button.{name}" for name in SIDE_BUTTONS]
        width, height = meta["canvas_w"], meta["canvas_h"]
        if mouse == "absolute":
            state_mouse = [normalized(x0, width), normalized(y0, height)]
            action_mouse = [normalized(x1, width), normalized(y1, height)]
        else:
            state_mouse = list(actions[-1][:2]) if actions else [0, 0]
            action_mouse = [(x1 - x0) / (width - 1), (y1 - y0) / (height - 1)]
            if mouse == "relative":
                action_mouse = motion(inside, "mousedelta")
        state_wheel = action_wheel = []
        if "wheel" in extra:
            state_wheel = list(actions[-1][-2:]) if actions else [0, 0]
            action_wheel = motion(inside, "wheel")
        states.append(np.array([*state_mouse, *(name in held for name in names), *state_wheel], dtype=np.float32))
        actions.append(np.array([*action_mouse, *(name in down for name in names), *action_wheel], dtype=np.float32))
    return states, actions


def position(events, meta):
    for event in reversed(events):
        if event["kind"] in ("mousemove", "mouseclick"):
            return event["x"], event["y"]
    return (meta["canvas_w"] - 1) / 2, (meta["canvas_h"] - 1) / 2


def motion(events, kind):
    chosen = [event for event in events if event["kind"] == kind]
    return [float(sum(Fraction(event[axis]) for event in chosen)) for axis in ("dx", "dy")]


def normalized(px, size):
    return min(1.0, max(-1.0, 2 * px / (size - 1) - 1))


def pressed_after(events):
    """Names of the buttons and keys that are held after a sequence of events."""
    bits, codes = 0, set()
    for event in events:
        if event["kind"] == "mousemove" and "buttons" in event:
            bits = event["buttons"]
        elif event["kind"] == "buttondown":
            bits |= event["button"]
        elif event["kind"] == "buttonup":
            bits -= bits & event["button"]
        elif event["kind"] == "keydown":
            codes.add(event["vk"])
        elif event["kind"] == "keyup":
            codes.discard(event["vk"])
    held = {f"button.{name}" for name, bit in ALL_BUTTONS if bits & bit}
    return held | {f"key.{name}" for name, all_codes in KEYS.items() if codes & set(all_codes)}
