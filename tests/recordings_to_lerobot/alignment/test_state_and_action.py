import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS, ActionSpace, ExtraChannels, MouseMode
from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.alignment.labels import make_timeline
from recordings_to_lerobot.alignment.ledger import NO_ROW, EventLedger, account_for_events
from recordings_to_lerobot.alignment.options import LabelOptions, Repair
from recordings_to_lerobot.alignment.state_and_action import encode_actions
from recordings_to_lerobot.alignment.timeline import frames_timeline, ticks_to_ns
from recordings_to_lerobot.recordings.events import Events, read_events
from tests.recordings_to_lerobot import slow_oracle

W, SHIFT, LEFT_SHIFT, RIGHT_SHIFT = 0x57, 0x10, 0xA0, 0xA1
META = {"fps": 10, "canvas_w": 101, "canvas_h": 51, "qpc_freq": 1000}  # a tick is a millisecond
FRAMES = [1000, 1100, 1200, 1300]


class Encoded(NamedTuple):
    state: np.ndarray
    action: np.ndarray
    ledger: EventLedger
    events: Events

    def found(self, finding: str) -> list[int]:
        """Positions of the events with this finding."""
        return np.flatnonzero(self.ledger.findings[finding]).tolist()


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("events") / "events.jsonl"

    def run(
        events: list[dict],
        frame_ticks: list[int] = FRAMES,
        mouse: MouseMode = "absolute",
        keep_duplicates: bool = False,
        fps: int | None = None,
        meta: dict = META,
        key_codes: KeyCodes = KEY_CODES,
        extra: tuple[ExtraChannels, ...] = (),
        repair: tuple[Repair, ...] = (),
    ) -> Encoded:
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        parsed = read_events(path)
        options = LabelOptions(fps=fps, keep_duplicates=keep_duplicates, repair=list(repair))
        timeline = make_timeline(np.array(frame_ticks), meta["qpc_freq"], meta["fps"], options)
        event_ns = ticks_to_ns(parsed.tick, meta["qpc_freq"], meta.get("offset_ms", 0))
        size_px = (meta["canvas_w"], meta["canvas_h"])
        space = ActionSpace(mouse, key_codes, extra)
        state, action = encode_actions(parsed, event_ns, timeline, size_px, space, "keys" in repair)
        until_ns = int(timeline.end_ns[-1]) if "keys" in repair else None
        ledger = account_for_events(parsed, event_ns, timeline, size_px, space, until_ns)
        return Encoded(state, action, ledger, parsed)

    return run


def move(ts, x=50, y=25, **buttons):
    return {"ts": ts, "kind": "mousemove", "x": x, "y": y, **buttons}


def click(ts, **buttons):
    return {"ts": ts, "kind": "mouseclick", "x": 50, "y": 25, **buttons}


def key(kind, ts, vk=W):
    return {"ts": ts, "kind": kind, "vk": vk}


def delta(ts, dx, dy):
    return {"ts": ts, "kind": "mousedelta", "dx": dx, "dy": dy}


def wheel(ts, dx, dy):
    return {"ts": ts, "kind": "wheel", "dx": dx, "dy": dy}


def button(kind, ts, bit):
    return {"ts": ts, "kind": kind, "button": bit}


def column(labels, name):
    return labels[:, CHANNEL_INDEX[name]].tolist()


def test_vector_is_float32_with_one_column_per_channel(encode):
    encoded = encode([move(1000)])
    assert encoded.state.shape == encoded.action.shape == (4, len(CHANNELS))
    assert encoded.state.dtype == encoded.action.dtype == np.float32


def test_mouse_is_at_the_centre_before_any_mouse_event(encode):
    encoded = encode([move(1150, x=100, y=0)])
    assert column(encoded.state, "mouse.x") == [0, 0, 1, 1]
    assert column(encoded.state, "mouse.y") == [0, 0, -1, -1]


def test_action_has_the_last_position_before_the_next_frame(encode):
    encoded = encode([move(1110, x=0), move(1190, x=100), move(1200, x=25)])
    assert column(encoded.action, "mouse.x") == [0, 1, -0.5, -0.5]


def test_position_at_the_instant_of_a_frame_belongs_to_its_action_not_its_state(encode):
    encoded = encode([move(1100, x=100)])
    assert column(encoded.state, "mouse.x") == [0, 0, 1, 1]
    assert column(encoded.action, "mouse.x") == [0, 1, 1, 1]


def test_position_outside_the_canvas_is_clipped_and_counted(encode):
    encoded = encode([move(1100, x=-7, y=25), move(1200, x=50, y=51)])
    assert column(encoded.action, "mouse.x") == [0, -1, 0, 0]
    assert column(encoded.action, "mouse.y") == [0, 0, 1, 1]
    assert encoded.found("position_outside_canvas") == [0, 1]


def test_click_moves_the_mouse_too(encode):
    assert column(encode([{**click(1100), "x": 100}]).action, "mouse.x") == [0, 1, 1, 1]


def test_key_held_across_frames_stays_down(encode):
    encoded = encode([key("keydown", 1050), key("keyup", 1250)])
    assert column(encoded.state, "key.w") == [0, 1, 1, 0]
    assert column(encoded.action, "key.w") == [1, 1, 1, 0]


def test_key_tapped_within_a_frame_is_in_its_action_and_in_no_state(encode):
    encoded = encode([key("keydown", 1110), key("keyup", 1120)])
    assert column(encoded.state, "key.w") == [0, 0, 0, 0]
    assert column(encoded.action, "key.w") == [0, 1, 0, 0]


def test_key_down_and_up_at_the_same_tick_still_counts(encode):
    assert column(encode([key("keydown", 1110), key("keyup", 1110)]).action, "key.w") == [0, 1, 0, 0]


def test_key_released_at_the_instant_of_a_frame_was_down_in_that_frame(encode):
    encoded = encode([key("keydown", 1050), key("keyup", 1200)])
    assert column(encoded.state, "key.w") == [0, 1, 1, 0]
    assert column(encoded.action, "key.w") == [1, 1, 1, 0]


def test_auto_repeat_changes_nothing_and_is_counted(encode):
    events = [key("keydown", 1050), key("keydown", 1080), key("keydown", 1110), key("keyup", 1120)]
    encoded = encode(events)
    assert column(encoded.action, "key.w") == [1, 1, 0, 0]
    assert encoded.found("key_auto_repeat") == [1, 2]


def test_key_up_without_key_down_is_ignored_and_counted(encode):
    encoded = encode([key("keyup", 1050)])
    assert not encoded.action[:, 2:].any()
    assert encoded.found("unmatched_key_up") == [0]


def test_key_with_two_codes_is_down_until_both_are_up(encode):
    events = [
        key("keydown", 1010, LEFT_SHIFT),
        key("keydown", 1020, RIGHT_SHIFT),
        key("keyup", 1110, LEFT_SHIFT),
        key("keyup", 1210, RIGHT_SHIFT),
    ]
    assert column(encode(events).action, "key.shift") == [1, 1, 1, 0]


def test_key_outside_the_vocabulary_labels_nothing_and_is_counted(encode):
    encoded = encode([key("keydown", 1050, vk=0x7B)])
    assert not encoded.action[:, 2:].any()
    assert encoded.found("key_outside_vocabulary") == [0]


def test_click_is_a_left_press_in_its_frame_only(encode):
    encoded = encode([click(1150)])
    assert column(encoded.state, "button.left") == [0, 0, 0, 0]
    assert column(encoded.action, "button.left") == [0, 1, 0, 0]


def test_click_presses_the_buttons_it_names(encode):
    encoded = encode([click(1150, buttons=6)])
    assert column(encoded.action, "button.left") == [0, 0, 0, 0]
    assert column(encoded.action, "button.right") == [0, 1, 0, 0]
    assert column(encoded.action, "button.middle") == [0, 1, 0, 0]


def test_buttons_of_a_move_are_held_until_a_move_that_carries_them_again(encode):
    encoded = encode([move(1050, buttons=1), move(1150), move(1250, buttons=0)])
    assert column(encoded.state, "button.left") == [0, 1, 1, 0]
    assert column(encoded.action, "button.left") == [1, 1, 1, 0]


def test_events_before_the_first_frame_set_the_initial_state(encode):
    encoded = encode([key("keydown", 900), move(950, x=100, buttons=2)])
    assert encoded.state[0, CHANNEL_INDEX["key.w"]] == 1
    assert encoded.state[0, CHANNEL_INDEX["mouse.x"]] == 1
    assert encoded.state[0, CHANNEL_INDEX["button.right"]] == 1
    assert encoded.found("before_first_row") == [0, 1]


def test_events_after_the_last_interval_label_nothing(encode):
    encoded = encode([key("keydown", 1400), move(1500, x=0)])
    assert not encoded.action.any()
    assert encoded.found("after_last_row") == [0, 1]
    assert encoded.ledger.row.tolist() == [NO_ROW, NO_ROW]


def test_unknown_kind_labels_nothing_and_is_counted(encode):
    encoded = encode([{"ts": 1100, "kind": "scroll", "dy": 3}])
    assert not encoded.action.any()
    assert encoded.found("unknown_kind") == [0]


def test_offset_moves_events_against_the_frames(encode):
    encoded = encode([key("keydown", 1110), key("keyup", 1120)], meta={**META, "offset_ms": 95.5})
    assert column(encoded.action, "key.w") == [0, 0, 1, 0]


def test_delta_is_the_movement_during_the_row_and_in_the_state_that_of_the_row_before(encode):
    encoded = encode([move(1150, x=100), move(1250, x=80), move(1260, x=90)], mouse="delta")
    np.testing.assert_array_equal(encoded.action[:, 0], np.float32([0, 0.5, -0.1, 0]))
    np.testing.assert_array_equal(encoded.state[:, 0], np.float32([0, 0, 0.5, -0.1]))


def test_captured_mouse_adds_up_its_counts_and_the_state_has_those_of_the_row_before(encode):
    events = [move(1110, x=100), delta(1150, 3, -1), delta(1199, 4, 0), delta(1200, -2, 0)]
    encoded = encode(events, mouse="relative")
    assert encoded.action[:, :2].tolist() == [[0, 0], [7, -1], [-2, 0], [0, 0]]
    assert encoded.state[:, :2].tolist() == [[0, 0], [0, 0], [7, -1], [-2, 0]]
    assert encoded.found("no_channel") == [0]


def test_wheel_and_side_buttons_have_channels_only_where_asked(encode):
    events = [wheel(1150, 0, 2), wheel(1160, 1, -1), button("buttondown", 1170, 8), click(1180, buttons=16)]
    encoded = encode(events, extra=("side_buttons", "wheel"))
    assert encoded.action.shape[1] == len(CHANNELS) + 4
    assert encoded.action[:, -4:].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert encoded.state[:, -4:].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1], [1, 0, 0, 0]]
    assert encoded.found("no_channel") == []
    without = encode(events)
    assert without.action.shape[1] == len(CHANNELS) and not without.action[:, 2:].any()
    assert without.found("no_channel") == [0, 1, 2]


def test_single_button_goes_down_and_up_and_leaves_the_others(encode):
    events = [move(1050, buttons=2), button("buttondown", 1110, 1), button("buttonup", 1210, 1)]
    encoded = encode(events)
    assert column(encoded.action, "button.left") == [0, 1, 1, 0]
    assert column(encoded.action, "button.right") == [1, 1, 1, 1]


def test_button_event_that_changes_nothing_is_counted(encode):
    events = [move(1050, buttons=1), button("buttondown", 1110, 1), button("buttonup", 1120, 2)]
    assert encode(events).found("button_unchanged") == [1, 2]


def test_vocabulary_of_ones_own_replaces_the_channels_of_keys(encode):
    codes = {"jump": (0x20, 0x58), "w": (W,)}
    encoded = encode([key("keydown", 1110, 0x58), key("keydown", 1150, 0x41)], key_codes=codes)
    assert encoded.action[:, 5:].tolist() == [[0, 0], [1, 0], [1, 0], [1, 0]]
    assert encoded.found("key_outside_vocabulary") == [1]


def test_key_that_never_comes_up_stays_down_and_is_named(encode):
    encoded = encode([key("keydown", 1050), key("keyup", 1060), key("keydown", 1150)])
    assert column(encoded.action, "key.w") == [1, 1, 1, 1]
    assert encoded.found("key_never_released") == [2]


LONG = [1000 + 100 * k for k in range(400)]


def test_key_that_is_stuck_to_the_end_comes_up_where_it_is_last_heard_of(encode):
    events = [key("keydown", 1150), key("keydown", 1250), button("buttondown", 1350, 1), key("keydown", 39_000, SHIFT)]
    encoded = encode(events, LONG, repair=("keys",))
    assert column(encoded.action, "key.w") == [0, 1, 1, *[0] * 397]
    assert column(encoded.action, "button.left") == [0, 0, 0, 1, *[0] * 396]
    assert encoded.action[-1, CHANNEL_INDEX["key.shift"]] == 1, "it is held when the recording ends"
    assert encoded.found("released_as_stuck") == [1, 2]
    assert all(column(encode(events, LONG).action, "key.w")[1:])


@pytest.mark.parametrize("fps", [None, 10])
def test_gap_in_which_nothing_was_seen_belongs_to_no_row(encode, fps):
    frames = [1000, 1100, 4000, 4100]
    events = [delta(1150, 1, 0), delta(2500, 10, 0), key("keydown", 3000), delta(4050, 2, 0)]
    encoded = encode(events, frames, "relative", fps=fps, repair=("gaps",))
    assert encoded.found("in_gap") == [1, 2]
    assert encoded.action[-2, CHANNEL_INDEX["key.w"]] == 1, "it is held when the recorder goes on"
    assert encoded.action[:, 0].sum() == 3
    assert len(encoded.action) == (4 if fps is None else 2 + 10 + 2)


def test_button_that_is_never_released_is_named(encode):
    assert encode([move(1050, buttons=1), move(1150)]).found("button_never_released") == [0]
    assert encode([move(1050, buttons=1), move(1150, buttons=0)]).found("button_never_released") == []


def test_event_between_rows_lies_in_none(encode):
    # As where idle rows were dropped.
    timeline = frames_timeline(np.arange(3), np.array([1000, 1100, 1200]) * 10**6, 10).take(np.array([0, 2]))
    events = encode([{"ts": ts, "kind": "focus"} for ts in (1050, 1150, 1250)]).events
    ledger = account_for_events(events, events.tick * 10**6, timeline, (101, 51), ActionSpace())
    assert ledger.row.tolist() == [0, NO_ROW, 1]


TIMES = st.integers(900, 1700)
EVENTS = st.lists(
    st.one_of(
        st.builds(move, TIMES, x=st.integers(-20, 120), y=st.integers(-20, 70)),
        st.builds(move, TIMES, x=st.floats(0, 100), buttons=st.integers(0, 31)),
        st.builds(click, TIMES),
        st.builds(click, TIMES, buttons=st.integers(0, 31)),
        st.builds(delta, TIMES, st.integers(-99, 99), st.integers(-99, 99)),
        st.builds(wheel, TIMES, st.integers(-3, 3), st.integers(-3, 3)),
        st.builds(button, st.sampled_from(["buttondown", "buttonup"]), TIMES, st.integers(1, 31)),
        st.builds(
            key,
            st.sampled_from(["keydown", "keyup"]),
            TIMES,
            st.sampled_from([W, SHIFT, LEFT_SHIFT, RIGHT_SHIFT, 0x7B]),
        ),
        st.builds(lambda ts: {"ts": ts, "kind": "focus"}, TIMES),
    ),
    min_size=1,
    max_size=25,
).map(lambda events: sorted(events, key=lambda event: event["ts"]))
GRIDS = st.sampled_from([None, None, 4, 10, 30, 60])
MOUSE_MODES = st.sampled_from(["absolute", "delta", "relative"])
EXTRA = st.sampled_from([(), ("wheel",), ("side_buttons",), ("side_buttons", "wheel")])
FRAME_TICKS = st.lists(st.integers(1000, 1500), min_size=1, max_size=8).map(sorted)


@settings(max_examples=100)
@given(EVENTS, FRAME_TICKS, MOUSE_MODES, st.booleans(), GRIDS, st.data())
def test_labels_equal_the_slow_oracle(encode, events, frame_ticks, mouse, keep_duplicates, fps, data):
    # A period that is no whole number of ticks, and a shift that puts events exactly onto frames.
    meta = {
        **META,
        "fps": data.draw(st.sampled_from([4, 8, 10, 29.97, 30, 59.94] if fps else [4, 8, 10])),
        "offset_ms": data.draw(st.integers(-50, 50)),
    }
    extra = data.draw(EXTRA)
    encoded = encode(events, frame_ticks, mouse, keep_duplicates, fps, meta, extra=extra)
    rows = slow_oracle.rows(frame_ticks, meta, keep_duplicates, fps=fps)
    states, actions = slow_oracle.labels(rows, events, meta, mouse, extra)
    np.testing.assert_array_equal(encoded.state, states)
    np.testing.assert_array_equal(encoded.action, actions)


@settings(max_examples=50)
@given(EVENTS, FRAME_TICKS, GRIDS)
def test_deltas_add_up_to_the_way_from_first_to_last_position(encode, events, frame_ticks, fps):
    events = [event for event in events if isinstance(event.get("x", 0), int)] or [move(1000)]
    encoded = encode(events, frame_ticks, "delta", fps=fps)
    rows = slow_oracle.rows(frame_ticks, META, fps=fps)
    first = slow_oracle.position([event for event in events if event["ts"] < rows[0][2]], META)
    last = slow_oracle.position([event for event in events if event["ts"] < rows[-1][3]], META)
    # Half a pixel at most stems from the centre of the canvas, where the mouse starts.
    moved_px = np.round(encoded.action[:, :2].astype(np.float64) * [100, 50] * 2) / 2
    assert moved_px.sum(axis=0).tolist() == [last[0] - first[0], last[1] - first[1]]


@settings(max_examples=100)
@given(EVENTS, FRAME_TICKS, GRIDS)
def test_every_event_is_in_the_row_that_owns_its_moment(encode, events, frame_ticks, fps):
    ledger = encode(events, frame_ticks, fps=fps).ledger
    rows = slow_oracle.rows(frame_ticks, META, fps=fps)
    for event, row in zip(events, ledger.row.tolist(), strict=True):
        # Rows of duplicates that were kept may be empty; the last one that begins in time owns the moment.
        owners = [i for i, (_, _, start, end) in enumerate(rows) if start <= event["ts"] < end]
        assert row == (owners[0] if owners else NO_ROW)


@settings(max_examples=100)
@given(EVENTS, FRAME_TICKS, MOUSE_MODES, EXTRA, st.data())
def test_an_unused_event_changes_no_label(encode, events, frame_ticks, mouse, extra, data):
    encoded = encode(events, frame_ticks, mouse, extra=extra)
    unused = [i for i in np.flatnonzero(~encoded.ledger.is_used) if not encoded.ledger.findings["before_first_row"][i]]
    if len(unused) in (0, len(events)):
        return
    left_out = data.draw(st.sampled_from(unused))
    others = encode([event for i, event in enumerate(events) if i != left_out], frame_ticks, mouse, extra=extra)
    np.testing.assert_array_equal(encoded.action, others.action)
    np.testing.assert_array_equal(encoded.state, others.state)
