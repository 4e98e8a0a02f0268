"""The offset is found again in simulated play, and nothing is claimed where nothing can be known."""

import json
from pathlib import Path

import numpy as np
import pytest

from recordings_to_lerobot.alignment.timeline import NS_PER_MS
from recordings_to_lerobot.inspection.clock_offset import SHIFT_MS, OffsetEvidence, estimate_offset, gather_evidence
from recordings_to_lerobot.inspection.picture_motion import picture_motion
from recordings_to_lerobot.recordings.events import Events, read_events
from recordings_to_lerobot.video.block_luma import GRID

CANVAS_PX = (400, 400)
LEFT, RIGHT = 0x25, 0x27
TEXTURE_BLOCKS = 512


class Play:
    """Someone plays for a while; `frame_ms` (K,), `luma` (K, B) and events that are exactly in time."""

    def __init__(self, folder: Path, seed: int, seconds: float, fps: int = 10):
        self.rng = np.random.default_rng(seed)
        self.folder = folder
        n_frames = int(seconds * fps)
        self.frame_ms = 500 + np.arange(n_frames) * 1000 / fps + self.rng.normal(scale=2, size=n_frames)
        texture = self.rng.normal(size=(GRID, TEXTURE_BLOCKS))
        for axis in range(2):
            texture = sum(np.roll(texture, i, axis=axis) for i in range(4)) / 2
        self.texture = 128 + 30 * texture

    def look_around(self) -> list[dict]:
        """The view follows the mouse, which moves in bursts."""
        times = np.arange(0, self.frame_ms[-1], 10.0)
        moves = np.repeat(self.rng.random(len(times) // 25 + 1) < 0.4, 25)[: len(times)]
        speed = np.repeat(self.rng.normal(scale=4, size=len(times) // 25 + 1), 25)[: len(times)]
        x = 200 + np.cumsum(moves * speed)
        self.luma = self._scrolled(0.2 * x[np.searchsorted(times, self.frame_ms) - 1])
        return [
            {"ts": int(t), "kind": "mousemove", "x": a, "y": 9} for t, a, m in zip(times, x, moves, strict=True) if m
        ]

    def walk(self) -> list[dict]:
        """The view scrolls while an arrow key is held."""
        events, path = [], [(0.0, 0.0)]
        time, place = 0.0, 0.0
        while time < self.frame_ms[-1]:
            pause, hold = self.rng.uniform(100, 900, size=2)
            key = int(self.rng.choice([LEFT, RIGHT]))
            events += [{"ts": int(time + pause), "kind": "keydown", "vk": key}]
            events += [{"ts": int(time + pause + hold), "kind": "keyup", "vk": key}]
            path.append((time + pause, place))
            time += pause + hold
            place += 0.02 * hold * (1 if key == RIGHT else -1)
            path.append((time, place))
        self.luma = self._scrolled(np.interp(self.frame_ms, *zip(*path, strict=True)))
        return events

    def _scrolled(self, place: np.ndarray) -> np.ndarray:
        columns = np.arange(GRID) + place[:, None]  # (K, GRID), in blocks
        low = np.floor(columns).astype(int)
        share = columns - low
        left, right = (self.texture[:, index % TEXTURE_BLOCKS] for index in (low, low + 1))  # (GRID, K, GRID)
        pictures = (left * (1 - share) + right * share).transpose(1, 0, 2)
        noisy = pictures + self.rng.normal(scale=0.3, size=pictures.shape)
        return (256 * noisy).clip(0, 65535).astype(np.uint16).reshape(len(place), -1)

    def read(self, events: list[dict]) -> Events:
        path = self.folder / "events.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return read_events(path)

    def evidence(self, events: list[dict], late_ms: float = 0) -> OffsetEvidence:
        read = self.read(events)
        event_ns = ((read.tick + late_ms) * NS_PER_MS).astype(np.int64)
        frame_ns = (self.frame_ms * NS_PER_MS).astype(np.int64)
        return gather_evidence(read, event_ns, frame_ns, picture_motion(self.luma), CANVAS_PX)


@pytest.mark.parametrize("late_ms", [-300, 0, 170])
@pytest.mark.parametrize("game", [Play.look_around, Play.walk])
def test_a_known_offset_is_found(tmp_path, game, late_ms):
    play = Play(tmp_path, seed=1, seconds=25)
    estimate = estimate_offset([play.evidence(game(play), late_ms)])
    assert estimate.confidence == "high"
    assert estimate.offset_ms == pytest.approx(-late_ms, abs=40)
    assert estimate.low_ms - 10 <= estimate.offset_ms <= estimate.high_ms + 10
    assert estimate.correlation.shape == SHIFT_MS.shape
    assert estimate.correlation.min() >= 0 and estimate.correlation.max() <= 1


def test_a_game_that_answers_late_looks_like_events_that_come_early(tmp_path):
    play = Play(tmp_path, seed=2, seconds=25, fps=30)
    events = play.walk()
    play.frame_ms = play.frame_ms + 100  # what was drawn is captured later
    assert estimate_offset([play.evidence(events)]).offset_ms == pytest.approx(100, abs=25)


def test_short_episodes_tell_something_only_together(tmp_path):
    evidence = []
    for seed in range(8):
        play = Play(tmp_path, seed=seed, seconds=4)
        evidence.append(play.evidence(play.look_around(), late_ms=90))
    assert {estimate_offset([one]).confidence for one in evidence} == {"none"}
    together = estimate_offset(evidence)
    assert together.confidence == "high"
    assert together.offset_ms == pytest.approx(-90, abs=40)


def test_events_of_another_episode_tell_nothing(tmp_path):
    confidences = []
    for seed in range(6):
        other = Play(tmp_path, seed=100 + seed, seconds=30)
        events = other.look_around()
        play = Play(tmp_path, seed=seed, seconds=30)
        play.look_around()
        confidences.append(estimate_offset([play.evidence(events)]).confidence)
    assert confidences.count("none") >= 5 and "high" not in confidences


def test_no_events_of_use_and_no_motion_tell_nothing(tmp_path):
    play = Play(tmp_path, seed=3, seconds=20)
    events = play.look_around()
    assert estimate_offset([play.evidence([{"ts": 0, "kind": "focus"}])]) is None
    assert estimate_offset([play.evidence([{"ts": 5000, "kind": "keydown", "vk": 65}])]).confidence == "none"
    play.luma[:] = play.luma[0]
    assert estimate_offset([play.evidence(events)]) is None


def test_too_little_to_say_anything(tmp_path):
    play = Play(tmp_path, seed=4, seconds=1)
    assert estimate_offset([play.evidence(play.look_around())]) is None
    assert estimate_offset([]) is None
