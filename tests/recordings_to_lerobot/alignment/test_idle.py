"""Idle stretches, and the promise that dropping their rows changes no label of those that stay."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS, ActionSpace
from recordings_to_lerobot.alignment.idle import Stretch, find_idle, idle_stretches, kept_rows, rows_with_events
from recordings_to_lerobot.alignment.labels import Labels
from recordings_to_lerobot.alignment.screen_change import STEPS_PER_LEVEL
from recordings_to_lerobot.alignment.state_and_action import encode_actions
from recordings_to_lerobot.alignment.timeline import NS_PER_MS, Timeline, frames_timeline
from recordings_to_lerobot.recordings.events import read_events

FPS = 10
CANVAS_PX = (64, 48)


def pictures(*levels: float) -> np.ndarray:
    """Pictures of four blocks, all alike but the last."""
    luma = np.full((len(levels), 4), 50 * STEPS_PER_LEVEL, dtype=np.uint16)
    luma[:, -1] = np.array(levels) * STEPS_PER_LEVEL
    return luma


def nothing(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((n_rows, len(CHANNELS)), dtype=np.float32), np.zeros(n_rows, dtype=bool)


def regular(n_rows: int, row_ms: int = 100) -> Timeline:
    return frames_timeline(np.arange(n_rows), np.arange(n_rows) * row_ms * NS_PER_MS, 1000 // row_ms)


def stretches_of_rows(action: np.ndarray, has_event: np.ndarray, luma: np.ndarray, min_rows: int) -> list[Stretch]:
    return idle_stretches(action, has_event, luma, regular(len(luma)), idle_s=min_rows / 10)


def test_a_still_episode_is_one_stretch():
    assert stretches_of_rows(*nothing(5), pictures(*[80] * 5), min_rows=5) == [Stretch(0, 5)]
    assert stretches_of_rows(*nothing(5), pictures(*[80] * 5), min_rows=6) == []


def test_events_held_keys_and_changes_end_a_stretch():
    action, has_event = nothing(20)
    has_event[4] = True
    action[9:11, CHANNEL_INDEX["key.w"]] = 1
    luma = pictures(*[80] * 15, *[100] * 5)
    expected = [Stretch(0, 4), Stretch(5, 9), Stretch(11, 15), Stretch(15, 20)]
    assert stretches_of_rows(action, has_event, luma, min_rows=3) == expected


def test_where_the_mouse_rests_is_not_held():
    action, has_event = nothing(4)
    action[:, CHANNEL_INDEX["mouse.x"]] = 0.7
    assert stretches_of_rows(action, has_event, pictures(*[80] * 4), min_rows=4) == [Stretch(0, 4)]


def test_what_creeps_is_seen_against_the_first_picture():
    creeping = pictures(*(80 + 0.5 * i for i in range(28)))
    assert stretches_of_rows(*nothing(28), creeping, min_rows=7) == [Stretch(i, i + 7) for i in range(0, 28, 7)]
    assert stretches_of_rows(*nothing(28), creeping, min_rows=8) == []


def test_kept_rows():
    stretches = [Stretch(2, 6), Stretch(6, 19)]
    assert kept_rows(regular(20, row_ms=200), stretches, "keep").all()
    assert np.flatnonzero(kept_rows(regular(20, row_ms=200), stretches, "trim")).tolist() == [0, 1, 2, 6, 19]
    assert np.flatnonzero(kept_rows(regular(20, row_ms=200), stretches, "thin")).tolist() == [0, 1, 2, 6, 11, 16, 19]


@pytest.fixture(scope="module")
def events_of(tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "events.jsonl"

    def read(events):
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return read_events(path)

    return read


EVENT = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["mousemove", "mouseclick"]), "x": st.integers(-5, 70), "y": st.integers(0, 47)},
        optional={"buttons": st.integers(0, 7)},
    ),
    st.fixed_dictionaries({"kind": st.sampled_from(["keydown", "keyup"]), "vk": st.sampled_from([87, 16, 160, 200])}),
    st.just({"kind": "focus"}),
)


@st.composite
def episodes(draw):
    """Rows a few ms long, bursts of events with pauses between them, and pictures that stand still for a while."""
    n_rows = draw(st.integers(2, 30))
    starts_ms = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=n_rows, max_size=n_rows)))
    steps_ms = draw(st.lists(st.sampled_from([0, 0, 1, 2, 15, 40]), min_size=1, max_size=25))
    events = [{"ts": int(ts), **draw(EVENT)} for ts in np.cumsum(steps_ms)]
    levels = draw(st.lists(st.sampled_from([0, 0, 0, 0, 1, 20]), min_size=n_rows, max_size=n_rows))
    return starts_ms * NS_PER_MS, events, pictures(*(50 + np.cumsum(levels)))


def stitched(timeline: Timeline, kept: np.ndarray) -> Timeline:
    """The kept rows alone, each lasting until the next."""
    start_ns = timeline.start_ns[kept]
    return Timeline(
        timeline.frame_index[kept], timeline.frame_ns[kept], start_ns, np.append(start_ns[1:], timeline.end_ns[-1])
    )


MOUSE_MODES = st.sampled_from(["absolute", "delta", "relative"])


@settings(max_examples=150)
@given(episodes(), MOUSE_MODES, st.sampled_from(["trim", "thin"]), st.integers(1, 4))
def test_dropping_idle_rows_changes_no_label(events_of, episode, mouse, mode, min_ms):
    start_ns, raw_events, luma = episode
    events = events_of(raw_events)
    event_ns = events.tick * NS_PER_MS
    timeline = frames_timeline(np.arange(len(start_ns)), start_ns, FPS)
    state, action = encode_actions(events, event_ns, timeline, CANVAS_PX, ActionSpace(mouse))
    stretches = idle_stretches(action, rows_with_events(events, event_ns, timeline), luma, timeline, min_ms / 1000)
    kept = kept_rows(timeline, stretches, mode)
    new_state, new_action = encode_actions(events, event_ns, stitched(timeline, kept), CANVAS_PX, ActionSpace(mouse))
    np.testing.assert_array_equal(new_action, action[kept])
    np.testing.assert_array_equal(new_state, state[kept])


@settings(max_examples=100)
@given(episodes(), st.integers(1, 5))
def test_stretches_hold_what_they_promise(events_of, episode, min_ms):
    start_ns, raw_events, luma = episode
    events = events_of(raw_events)
    event_ns = events.tick * NS_PER_MS
    timeline = frames_timeline(np.arange(len(start_ns)), start_ns, FPS)
    _, action = encode_actions(events, event_ns, timeline, CANVAS_PX, ActionSpace())
    has_event = rows_with_events(events, event_ns, timeline)
    stretches = idle_stretches(action, has_event, luma, timeline, min_ms / 1000)
    levels = luma[:, -1].astype(int) / STEPS_PER_LEVEL

    def is_idle(start: int, row: int) -> bool:
        times_ms = [e["ts"] for e in raw_events if e["kind"] != "focus"]
        during = any(timeline.start_ns[row] <= ms * NS_PER_MS < timeline.end_ns[row] for ms in times_ms)
        return not during and not action[row, 2:].any() and abs(levels[row] - levels[start]) <= 3

    stop = 0
    for stretch in stretches:
        assert stretch.start_row >= stop
        stop = stretch.stop_row
        assert timeline.end_ns[stop - 1] - timeline.start_ns[stretch.start_row] >= min_ms * NS_PER_MS
        assert all(is_idle(stretch.start_row, row) for row in range(stretch.start_row, stop))
        assert stop == len(timeline) or not is_idle(stretch.start_row, stop), "it could be longer"


def test_the_shortest_stretch_is_given_in_seconds(events_of):
    events = events_of([{"ts": 0, "kind": "mousemove", "x": 1, "y": 1}])
    timeline = frames_timeline(np.arange(30), (1 + np.arange(30)) * 100 * NS_PER_MS, FPS)
    state, action = encode_actions(events, events.tick, timeline, CANVAS_PX, ActionSpace())
    labels = Labels(timeline, state, action, CHANNELS, events.tick, FPS)
    assert find_idle(labels, events, pictures(*[80] * 30), idle_s=3.0) == [Stretch(0, 30)]
    assert find_idle(labels, events, pictures(*[80] * 30), idle_s=3.1) == []


def test_seconds_count_and_not_rows():
    # Ten rows a second, then one that lasts four, then ten a second again.
    starts_ms = np.array([*range(0, 1000, 100), *range(5000, 6000, 100)])
    timeline = frames_timeline(np.arange(20), starts_ms * NS_PER_MS, FPS)
    quiet, still = nothing(20), pictures(*[80] * 20)
    assert idle_stretches(*quiet, still, timeline, idle_s=6.0) == [Stretch(0, 20)]
    assert idle_stretches(*quiet, still, timeline, idle_s=6.1) == []
    assert np.flatnonzero(kept_rows(timeline, [Stretch(0, 20)], "thin")).tolist() == [0, 10]
