import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.importers.ducktrack import InputReader, read_lines, read_metadata, video_times
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.importers.foreign_recordings import MS, write_ducktrack
from tests.recordings_to_lerobot.importers.replay import replay

START_NS = 150_160_500_000_000


def read(folder):
    """Events of a recording whose screen is twice as large as its video."""
    metadata, _ = read_metadata(folder / "metadata.json")
    reader = InputReader((metadata.screen_width, metadata.screen_height), (64, 48))
    return list(reader.events(read_lines(folder / "events.jsonl")))


def described(events):
    return [(event.kind, *(value for value in event[3:-1] if value is not None)) for event in events]


def test_positions_are_scaled_to_the_video(tmp_path):
    write_ducktrack(tmp_path, [(10, {"action": "move", "x": 11.5, "y": 20})])
    assert described(read(tmp_path)) == [("mousemove", 5.75, 10)]
    assert read(tmp_path)[0].ns == START_NS + 10 * MS


def test_clicks_wheel_and_keys(tmp_path):
    place = {"x": 0, "y": 0}
    lines = [
        {"action": "click", **place, "button": "left", "pressed": True},
        {"action": "click", **place, "button": "left", "pressed": False},
        {"action": "scroll", **place, "dx": 0, "dy": -2},
        {"action": "press", "name": "A"},
        {"action": "release", "name": "a"},
        {"action": "press", "name": "shift_r"},
        {"action": "press", "name": None},
        {"action": "pause"},
    ]
    write_ducktrack(tmp_path, [(10 + i, line) for i, line in enumerate(lines)])
    assert [event for event in described(read(tmp_path)) if event[0] != "mousemove"] == [
        ("buttondown", 1),
        ("buttonup", 1),
        ("wheel", 0, -2),
        ("keydown", 65),
        ("keyup", 65),
        ("keydown", 0xA1),
        ("press",),
        ("pause",),
    ]


def test_video_begins_when_obs_has_started_and_stands_still_in_pauses(tmp_path):
    write_ducktrack(tmp_path, [], pauses_ms=((120, 1120),))
    metadata, _ = read_metadata(tmp_path / "metadata.json")
    pts_ns = np.arange(5) * 50 * MS
    times_ns, repairs = video_times(pts_ns, metadata.obs_record_state_timings)
    assert ((times_ns - START_NS) // MS).tolist() == [0, 50, 100, 1150, 1200]
    assert repairs == {"pauses": 1}


@pytest.mark.parametrize(
    "content", ["", "{}", "{", "[]", '{"screen_width": 10, "screen_height": 10, "obs_record_state_timings": {}}']
)
def test_metadata_without_what_is_needed_is_refused(tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(RecordingError, match=r"metadata\.json: .*re-export"):
        read_metadata(tmp_path / "metadata.json")


@pytest.mark.parametrize(
    "line", [{}, {"time_stamp": 1}, {"time_stamp": 1, "action": "move", "x": 3}, {"time_stamp": "x", "action": "move"}]
)
def test_bad_line_is_named(tmp_path, line):
    (tmp_path / "events.jsonl").write_text("\n" + json.dumps(line))
    with pytest.raises(RecordingError, match=r"events\.jsonl:2: .*re-export"):
        list(read_lines(tmp_path / "events.jsonl"))


places = st.fixed_dictionaries({"x": st.integers(0, 128), "y": st.integers(0, 96)})
lines = st.lists(
    st.tuples(
        st.integers(0, 250),
        st.one_of(
            places.map(lambda place: {"action": "move", **place}),
            st.builds(
                lambda place, button, pressed: {"action": "click", **place, "button": button, "pressed": pressed},
                places,
                st.sampled_from(["left", "middle"]),
                st.booleans(),
            ),
            st.builds(lambda place, dy: {"action": "scroll", **place, "dx": 0, "dy": dy}, places, st.integers(-3, 3)),
            st.builds(
                lambda action, name: {"action": action, "name": name},
                st.sampled_from(["press", "release"]),
                st.sampled_from(["w", "ctrl_l", ";"]),
            ),
        ),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(lines=lines, until_ms=st.integers(0, 260))
def test_events_come_to_what_the_lines_say(tmp_path_factory, lines, until_ms):
    folder = tmp_path_factory.mktemp("duck")
    lines = sorted(lines, key=lambda line: line[0])
    text = [json.dumps({"time_stamp": 150160.5 + ms / 1000, **line}) for ms, line in lines]
    (folder / "events.jsonl").write_text("\n".join([*text, ""]) or "\n")
    if not lines:
        return
    keys, buttons, position, wheel = set(), set(), None, 0
    for ms, line in lines:
        if ms >= until_ms:
            continue
        if "x" in line:
            position = (line["x"] / 2, line["y"] / 2)
        if line["action"] == "click":
            bit = {"left": 1, "middle": 4}[line["button"]]
            buttons = buttons | {bit} if line["pressed"] else buttons - {bit}
        elif line["action"] == "scroll":
            wheel += line["dy"]
        elif "name" in line:
            code = {"w": 0x57, "ctrl_l": 0xA2, ";": 0xBA}[line["name"]]
            keys = keys | {code} if line["action"] == "press" else keys - {code}
    events = InputReader((128, 96), (64, 48)).events(read_lines(folder / "events.jsonl"))
    # Sums of binary fractions are a little off.
    result = replay(events, START_NS + until_ms * MS - 1000)
    expected = {"keys": keys, "buttons": buttons, "position": position, "moved": [0, 0], "wheel": [0, wheel]}
    assert result == expected
