"""Presses and the way of the mouse, against the slow oracle of the converter."""

import json

import numpy as np
import pytest

from recordings_to_lerobot.alignment.track import MousePath, pressed_within, presses
from recordings_to_lerobot.recordings.events import read_events
from tests.recordings_to_lerobot import slow_oracle
from tests.recordings_to_lerobot.raw_recordings import FREQ, messy_ticks_and_events

META = {"fps": 10, "canvas_w": 64, "canvas_h": 64, "qpc_freq": FREQ}
W, UNKNOWN = 87, 200


@pytest.fixture
def read(tmp_path):
    def read(events):
        (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        events = read_events(tmp_path / "events.jsonl")
        return events, events.tick

    return read


def test_presses_begin_and_end(read):
    found = presses(
        *read(
            [
                {"ts": 1, "kind": "keyup", "vk": W},  # of a press before the recording
                {"ts": 10, "kind": "keydown", "vk": W},
                {"ts": 12, "kind": "keydown", "vk": W},
                {"ts": 20, "kind": "keyup", "vk": W},
                {"ts": 21, "kind": "keyup", "vk": W},
                {"ts": 30, "kind": "keydown", "vk": W},
                {"ts": 31, "kind": "mousemove", "x": 1, "y": 1, "buttons": 3},
                {"ts": 32, "kind": "mousemove", "x": 1, "y": 1},
                {"ts": 33, "kind": "mousemove", "x": 1, "y": 1, "buttons": 2},
                {"ts": 34, "kind": "mouseclick", "x": 1, "y": 1},
            ]
        )
    )
    never = np.iinfo(np.int64).max
    assert {name: intervals.tolist() for name, intervals in found.items()} == {
        ("key", W): [[10, 20], [30, never]],
        ("button", 1): [[31, 33], [34, 35]],
        ("button", 2): [[31, never]],
    }


@pytest.mark.parametrize("seed", range(12))
def test_pressed_when_the_labels_say_so(read, seed):
    ticks, raw_events = messy_ticks_and_events(seed)
    rows = slow_oracle.rows(ticks, META)
    _, actions = slow_oracle.labels(rows, raw_events, META)
    known = [intervals for name, intervals in presses(*read(raw_events)).items() if name != ("key", UNKNOWN)]
    starts = [int(start * FREQ / 1000) for *_, start, _ in rows] + [int(rows[-1][3] * FREQ / 1000)]
    pressed = pressed_within(np.concatenate([np.empty((0, 2), dtype=np.int64), *known]), np.array(starts))
    np.testing.assert_array_equal(pressed > 0, [action[2:].any() for action in actions])


def test_the_way_of_the_mouse(read):
    positions = [(0, 0), (63, 0), (63, 31.5)]
    events, event_ns = read([{"ts": 10 * i, "kind": "mousemove", "x": x, "y": y} for i, (x, y) in enumerate(positions)])
    mouse = MousePath.of(events, event_ns, (64, 64))
    at = mouse.index_before(np.array([-5, 0, 1, 15, 20, 99]))
    np.testing.assert_allclose(mouse.position[at], [[0.5, 0.5], [0.5, 0.5], [0, 0], [1, 0], [1, 0], [1, 0.5]])
    # The step from the centre, where it only is by convention, is no travel.
    np.testing.assert_allclose(mouse.travelled[at], [0, 0, 0, 1, 1, 1.5])
