import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.recordings.events import ABSENT, KNOWN_KINDS, Events, read_events
from recordings_to_lerobot.recordings.validation import RecordingError

MOVE = b'{"ts": 1, "kind": "mousemove", "x": 1, "y": 2}\n'


def read(folder: Path, content: bytes, sort_events: bool = False) -> Events:
    path = folder / "events.jsonl"
    path.write_bytes(content)
    return read_events(path, sort_events)


def test_optional_buttons_of_moves_are_absent_and_of_clicks_left(tmp_path):
    events = read(tmp_path, MOVE + MOVE.replace(b"mousemove", b"mouseclick"))
    assert events.buttons.tolist() == [ABSENT, 1]


def test_unknown_kind_is_kept_whole(tmp_path):
    events = read(tmp_path, MOVE + b' {"ts": 2, "kind": "scroll", "dy": [1, null]}\n')
    assert [events.kinds[kind] for kind in events.kind] == ["mousemove", "scroll"]
    assert events.unknown == {2: '{"ts": 2, "kind": "scroll", "dy": [1, null]}'}


def test_captured_mouse_and_wheel_move_and_have_no_position(tmp_path):
    lines = b'{"ts": 1, "kind": "mousedelta", "dx": -3, "dy": 4.5}\n{"ts": 2, "kind": "wheel", "dx": 0, "dy": -1}\n'
    events = read(tmp_path, lines)
    assert [events.kinds[kind] for kind in events.kind] == ["mousedelta", "wheel"]
    assert (events.dx.tolist(), events.dy.tolist()) == ([-3, 0], [4.5, -1])
    assert all(map(math.isnan, [*events.x_px, *events.y_px]))


def test_buttons_that_go_down_and_up_are_told_by_their_bits(tmp_path):
    lines = b'{"ts": 1, "kind": "buttondown", "button": 8}\n{"ts": 2, "kind": "buttonup", "button": 16}\n'
    assert read(tmp_path, lines).buttons.tolist() == [8, 16]


def test_blank_lines_windows_line_ends_and_byte_order_mark_are_no_problem(tmp_path):
    events = read(tmp_path, b"\xef\xbb\xbf" + MOVE.strip() + b"\r\n\r\n" + MOVE.strip())
    assert events.tick.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"ts": 1, "ki', "broken JSON: EOF while parsing"),
        (b"[" * 50_000, "broken JSON: recursion limit"),
        (b"17", "17: an event is an object with a text `kind`"),
        (b'{"ts": 1}', "{'ts': 1}: an event is an object with a text `kind`"),
        (b'{"ts": 1, "kind": 3}', "{'ts': 1, 'kind': 3}: an event is an object with a text `kind`"),
        (b'{"kind": "scroll"}', "scroll lacks `ts`"),
        (b'{"ts": 1, "kind": "keydown"}', "keydown lacks `vk`"),
        (b'{"ts": 1, "kind": "keyup", "vk": 256}', "`vk` is 256: Input should be less than or equal to 255"),
        (b'{"ts": 1, "kind": "keyup", "vk": "W"}', "`vk` is 'W': Input should be a valid integer"),
        (b'{"ts": 1, "kind": "mousemove", "x": 1}', "mousemove lacks `y`"),
        (b'{"ts": 1, "kind": "mouseclick", "x": NaN, "y": 1}', "`x` is nan: Input should be a finite number"),
        (b'{"ts": 1, "kind": "mousemove", "x": 1, "y": 1e999}', "`y` is inf: Input should be a finite"),
        (b'{"ts": 1, "kind": "mousemove", "x": 1' + b"0" * 400 + b', "y": 1}', "`x` is 1000"),
        (b'{"ts": 1, "kind": "mousemove", "x": "1", "y": 1}', "`x` is '1': Input should be a valid number"),
        (
            b'{"ts": 1, "kind": "mousemove", "x": 1, "y": 1, "buttons": -1}',
            "`buttons` is -1: Input should be",
        ),
        (b'{"ts": 1, "kind": "mousedelta", "dx": 1}', "mousedelta lacks `dy`"),
        (b'{"ts": 1, "kind": "mousedelta", "dx": 1, "dy": 1e300}', "`dy` is 1e+300: Input should be less"),
        (b'{"ts": 1, "kind": "wheel", "dx": "up", "dy": 0}', "`dx` is 'up': Input should be a valid number"),
        (b'{"ts": 1, "kind": "buttondown", "button": 0}', "`button` is 0: Input should be greater"),
        (b'{"ts": 1, "kind": "buttonup", "button": "left"}', "`button` is 'left': Input should be a valid integer"),
        (b'{"ts": 1.0, "kind": "mousemove", "x": 1, "y": 1}', "`ts` is 1.0: Input should be a valid integer"),
        (
            b'{"ts": 9223372036854775808, "kind": "scroll"}',
            "`ts` is 9223372036854775808: Input should be less",
        ),
        (b'{"ts": 1, "kind": "\xff"}', r"byte b'\xff' is not UTF-8"),
    ],
)
def test_bad_line_is_named_with_its_number_and_value(tmp_path, line, complaint):
    with pytest.raises(RecordingError) as caught:
        read(tmp_path, MOVE + MOVE + line + b"\n" + MOVE)
    assert str(caught.value).startswith(f"{tmp_path}/events.jsonl:3: {complaint}")
    assert "re-export" in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 250


def test_events_that_go_back_are_refused(tmp_path):
    lines = b"".join(b'{"ts": %d, "kind": "scroll"}\n' % ts for ts in (5000, 9200, 5000))
    with pytest.raises(RecordingError) as caught:
        read(tmp_path, lines)
    assert str(caught.value) == (
        f"{tmp_path}/events.jsonl:3: ts goes back by 4200 ticks (to 5000); re-export, or pass --repair=[order]"
    )


def test_events_are_sorted_on_request_and_the_moved_ones_counted(tmp_path):
    lines = b"".join(b'{"ts": %d, "kind": "keydown", "vk": %d}\n' % (ts, i) for i, ts in enumerate((5, 9, 5, 9, 6)))
    events = read(tmp_path, lines, sort_events=True)
    assert events.tick.tolist() == [5, 5, 6, 9, 9]
    assert events.vk.tolist() == [0, 2, 4, 1, 3]
    assert events.reordered.tolist() == [False, True, True, False, False]
    assert events.line.tolist() == [1, 3, 5, 2, 4]


@pytest.mark.parametrize("lines", [b"", b"\n \n"])
def test_file_without_events_is_of_one_who_only_watched(tmp_path, lines):
    events = read(tmp_path, lines)
    assert len(events.tick) == len(events.x_px) == len(events.reordered) == 0


@pytest.mark.parametrize("x", ["1e300", "-1e10", "2147483648"])
def test_position_on_no_screen_is_refused(tmp_path, x):
    with pytest.raises(RecordingError, match=r"events\.jsonl:1: `x` is .*2147483648"):
        read(tmp_path, b'{"ts": 1, "kind": "mousemove", "x": %s, "y": 2}' % x.encode())


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "ts": st.integers(-(2**63), 2**63 - 1),
            "kind": st.sampled_from(["mousemove", "mouseclick"]),
            "x": st.floats(-(2**31), 2**31, exclude_max=True) | st.integers(-(2**31), 2**31 - 1),
            "y": st.floats(-1, 1),
        },
        optional={"buttons": st.integers(0, 255), "note": st.text()},
    )
    | st.fixed_dictionaries(
        {
            "ts": st.integers(0, 1000),
            "kind": st.sampled_from(["keydown", "keyup"]),
            "vk": st.integers(0, 255),
        }
    )
    | st.fixed_dictionaries(
        {
            "ts": st.integers(0, 1000),
            "kind": st.sampled_from(["mousedelta", "wheel"]),
            "dx": st.floats(-(2**31), 2**31) | st.integers(-9, 9),
            "dy": st.floats(-1, 1),
        }
    )
    | st.fixed_dictionaries(
        {
            "ts": st.integers(0, 1000),
            "kind": st.sampled_from(["buttondown", "buttonup"]),
            "button": st.sampled_from([1, 2, 4, 8, 16]),
        }
    )
    | st.fixed_dictionaries(
        {"ts": st.integers(0, 1000), "kind": st.text().filter(lambda kind: kind not in KNOWN_KINDS)},
        optional={"dx": st.text(), "more": st.lists(st.integers())},
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=100)
@given(EVENTS, st.booleans())
def test_events_are_read_as_written(tmp_path_factory, events, ensure_ascii):
    lines = "\n".join(json.dumps(event, ensure_ascii=ensure_ascii) for event in events)
    read_back = read(tmp_path_factory.mktemp("events"), lines.encode(), sort_events=True)
    ordered = sorted(events, key=lambda event: event["ts"])
    assert read_back.tick.tolist() == [event["ts"] for event in ordered]
    assert [read_back.kinds[kind] for kind in read_back.kind] == [event["kind"] for event in ordered]
    assert read_back.vk.tolist() == [event.get("vk", ABSENT) for event in ordered]
    for name, column in {"x": read_back.x_px, "dx": read_back.dx, "dy": read_back.dy}.items():
        for value, event in zip(column.tolist(), ordered, strict=True):
            is_read = name in event and event["kind"] in KNOWN_KINDS
            assert value == event[name] if is_read else math.isnan(value)
    clicks_are_left = [
        event.get("buttons", event.get("button", 1 if event["kind"] == "mouseclick" else ABSENT)) for event in ordered
    ]
    assert read_back.buttons.tolist() == clicks_are_left
    unknown = [event for event in events if event["kind"] not in KNOWN_KINDS]
    assert [json.loads(text) for _, text in sorted(read_back.unknown.items())] == unknown


def is_blank(content: bytes) -> bool:
    """Whether it is an episode in which nothing was done, which is no garbage."""
    return not content.decode("utf-8-sig", errors="replace").strip()


@settings(max_examples=100)
@given((st.binary(min_size=1, max_size=200) | st.text(min_size=1).map(str.encode)).filter(lambda it: not is_blank(it)))
def test_garbage_is_refused_by_line_and_never_crashes(tmp_path_factory, garbage):
    path = tmp_path_factory.mktemp("garbage")
    with pytest.raises(RecordingError, match=r"events\.jsonl(:\d+)?: .*;"):
        read(path, garbage)
