import json
import random
import tempfile
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.devices.clock import QPC_FREQ, ticks_of_ms
from lerobot_qwenvla.devices.input_log import InputLog
from lerobot_qwenvla.recorder import human
from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS
from lerobot_qwenvla.recorder.game_window import Wish

CANVAS_PX = (64, 48)
ENV = SimpleNamespace(canvas_px=CANVAS_PX, screen=None, task_description="go")


class FakeClock:
    """Time passes only where someone says so."""

    def __init__(self):
        self.tick = 7 * QPC_FREQ

    def __call__(self):
        return self.tick

    def sleep(self, seconds):
        self.tick += round(seconds * QPC_FREQ)

    def pass_ms(self, ms):
        self.tick += ticks_of_ms(ms)


class FakeWindow:
    """A person who fumbles at random at a machine that stalls at random."""

    def __init__(self, clock, seed):
        self.log = InputLog(CANVAS_PX, clock)
        self.wish = None
        self._clock = clock
        self._random = random.Random(seed)
        self._inputs = [
            lambda: self.log.move_mouse((self._random.randrange(64), self._random.randrange(48))),
            lambda: self.log.press_button(self._random.choice(["left", "right"])),
            lambda: self.log.release_button(self._random.choice(["left", "right"])),
            lambda: self.log.press_key(self._random.choice(["W", "A", "LSHIFT", "RSHIFT", "Z"])),
            lambda: self.log.release_key(self._random.choice(["W", "A", "LSHIFT", "RSHIFT", "Z"])),
            self.log.release_all_keys,
        ]
        self._has_begun = False

    def show(self, screen):
        self._clock.pass_ms(self._random.choice([0, 5, 30, 30, 99, 101, 250]))

    def say(self, text):
        pass

    def dispatch(self):
        if not self._has_begun:
            self.log.press_key("SPACE")
            self.log.release_key("SPACE")
            self._has_begun = True
        while self._random.random() < 0.2:
            # Now and then within one tick, and now and then over the end of an interval.
            self._clock.pass_ms(self._random.choice([0, 0, 0.0001, 1, 1, 20, 120]))
            self._random.choice(self._inputs)()


def play(seed, n_intervals):
    clock = FakeClock()
    with patch.object(human, "now", clock), patch.object(human.time, "sleep", clock.sleep):
        intervals = human.HumanPlayer(FakeWindow(clock, seed)).player.intervals(ENV, 0)
        return list(islice(intervals, n_intervals))


def write(folder, intervals):
    """An episode that ended after these intervals."""
    events = [event.as_json() for interval in intervals for event in interval.events]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    np.array([interval.tick for interval in intervals], dtype="<i8").tofile(folder / "frame_ts.bin")
    meta = {"fps": 10, "canvas_w": CANVAS_PX[0], "canvas_h": CANVAS_PX[1], "qpc_freq": QPC_FREQ}
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "video.mp4").write_bytes(b"not looked at")


@given(seed=st.integers(0, 10**6), n_intervals=st.integers(1, 25))
def test_executed_is_what_the_converter_reads_whichever_frame_is_the_last(converted_actions, seed, n_intervals):
    intervals = play(seed, n_intervals)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), intervals)
        np.testing.assert_array_equal(converted_actions(Path(folder)), [interval.action for interval in intervals])


@given(st.integers(0, 10**6))
def test_no_interval_is_shorter_than_a_period_and_none_has_events_after_one(seed):
    intervals = play(seed, 25)
    assert np.diff([interval.tick for interval in intervals]).min() >= FRAME_PERIOD_TICKS
    for interval in intervals:
        assert all(event.tick < interval.tick + FRAME_PERIOD_TICKS for event in interval.events)


def test_frames_come_every_100_ms_if_the_machine_keeps_up():
    clock = FakeClock()
    window = FakeWindow(clock, seed=0)
    window.show = lambda screen: clock.pass_ms(60)
    window._random.random = lambda: 1.0
    with patch.object(human, "now", clock), patch.object(human.time, "sleep", clock.sleep):
        intervals = list(islice(human.HumanPlayer(window).player.intervals(ENV, 0), 10))
    assert set(np.diff([interval.tick for interval in intervals])) == {FRAME_PERIOD_TICKS}


@pytest.mark.parametrize(
    ("wish", "error"), [(Wish.RESTART, human.EpisodeDiscardedError), (Wish.END, human.SessionEndedError)]
)
def test_a_wish_ends_the_episode_at_once_and_is_fulfilled_once(wish, error):
    clock = FakeClock()
    window = FakeWindow(clock, seed=0)
    with patch.object(human, "now", clock), patch.object(human.time, "sleep", clock.sleep):
        intervals = human.HumanPlayer(window).player.intervals(ENV, 0)
        next(intervals)
        window.wish = wish
        with pytest.raises(error):
            next(intervals)
    assert window.wish is None
