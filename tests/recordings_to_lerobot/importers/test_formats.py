"""Recordings of every recorder side by side: found, read, converted to one dataset, verified and explained."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS
from recordings_to_lerobot.alignment.labels import label_recording
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.records import read_records
from recordings_to_lerobot.importers.formats import files_of, find_recordings, is_native, read_recording
from recordings_to_lerobot.inspection.folder import inspect_folder
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.dataset import verify
from recordings_to_lerobot.verification.explanation import explain_row
from tests.recordings_to_lerobot.importers.foreign_recordings import (
    MS,
    SIZE_PX,
    T0_NS,
    vpt_step,
    write_ducktrack_example,
    write_owamcap,
    write_owamcap_example,
    write_owl,
    write_owl_example,
    write_vpt,
    write_vpt_example,
)
from tests.recordings_to_lerobot.raw_recordings import FREQ, make_recording, write_video

W_DOWN = {"event_type": "press", "vk": 87}


def write_all(folder):
    """One recording of each recorder, of the same size and rate, in which W goes down within the second frame."""
    native = make_recording(folder / "native", [i * FREQ // 20 for i in range(6)], fps=20, canvas_h=48)
    write_video(native.folder / "video.mp4", 6, 64, 48)
    write_owamcap_example(folder / "owamcap")
    write_owl_example(folder / "owl")
    write_vpt_example(folder / "vpt")
    write_ducktrack_example(folder / "ducktrack")


NAMES = ["ducktrack", "native", "owamcap/first.mcap", "owamcap/second.mcap", "owl", "vpt/cheeky-1.jsonl"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    write_all(folder / "raw")
    before = sorted(path.name for path in folder.rglob("*"))
    summary = convert(ConvertConfig(input=folder / "raw", repo_id="a/b", root=folder / "out", task="go", workers=2))
    assert sorted(path.name for path in folder.rglob("*") if "out" not in path.parts) == before
    return folder, summary


def test_recordings_are_found_by_themselves(tmp_path):
    write_all(tmp_path)
    found = find_recordings(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == NAMES
    assert [path.name for path in found if is_native(path)] == ["native"]


@pytest.mark.parametrize("choice", ["native", "owamcap", "owl", "vpt", "ducktrack"])
def test_one_format_may_be_chosen(tmp_path, choice):
    write_all(tmp_path)
    found = find_recordings(tmp_path, choice)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [n for n in NAMES if n.startswith(choice)]


def test_folder_without_a_recording_of_the_format_is_refused(tmp_path):
    make_recording(tmp_path / "native")
    with pytest.raises(RecordingError, match="no vpt recordings found"):
        find_recordings(tmp_path, "vpt")


@pytest.mark.parametrize("name", NAMES)
def test_all_files_count_to_know_a_recording_again(tmp_path, name):
    write_all(tmp_path)
    path = tmp_path / name
    folder = path if path.is_dir() else path.parent
    own = {file for file in folder.iterdir() if name.split("/")[-1].split(".")[0] in file.name or path.is_dir()}
    assert set(files_of(path)) == own


def test_every_recorder_is_converted_to_one_dataset_which_verifies(converted):
    folder, summary = converted
    assert [entry.key for entry in summary.plan.entries] == NAMES
    findings = verify(folder / "raw", folder / "out", workers=2)
    assert findings.lines == []
    assert findings.failed.total() == 0
    assert findings.passed["recordings accounted for"] == len(NAMES)


def test_repairs_are_in_the_record_of_the_episode(converted):
    folder, _ = converted
    counts = {record["source"]: record["counts"] for record in read_records(folder / "out")}
    first = counts["owamcap/first.mcap"]
    assert (first["frame_times_interpolated"], first["frames_without_time"]) == (1, 1)
    assert (first["video_frames"], first["rows"]) == (6, 5)
    assert counts["vpt/cheeky-1.jsonl"]["wheel_from_hotbar"] == 1
    assert counts["vpt/cheeky-1.jsonl"]["frames_without_time"] == 1
    assert not any(name.startswith("frame") for name in counts["native"])


def test_videos_are_copied_where_every_frame_has_a_time(converted):
    _, summary = converted
    keys = {entry.folder: entry.key for entry in summary.plan.entries}
    assert [keys[folder] for folder in summary.plan.not_copied] == ["owamcap/first.mcap", "vpt/cheeky-1.jsonl"]


def test_key_that_goes_down_within_a_frame_is_in_its_action(converted):
    _, summary = converted
    for entry in summary.plan.entries:
        if entry.key != "native":
            labels = label_recording(read_recording(entry.folder), LabelOptions())
            column = CHANNEL_INDEX["key.w"]
            is_vpt = entry.key.startswith("vpt")
            assert labels.action[:3, column].tolist() == [0, 1, 0 if is_vpt else 1], entry.key
            assert labels.state[:3, column].tolist() == [0, 0, 1 if not is_vpt else 0], entry.key


def test_rows_are_explained_by_the_lines_of_their_recorder(converted):
    folder, summary = converted
    for episode, entry in enumerate(summary.plan.entries):
        explanation = explain_row(folder / "out", episode, 1, 1)
        assert explanation.source == entry.key
        assert all(reason.agrees for reason in explanation.reasons)


def test_inspection_takes_every_format(converted):
    folder, _ = converted
    inspection = inspect_folder(folder / "raw", LabelOptions(), {"w": (87,)}, workers=2)
    assert [summary.source for summary in inspection.summaries] == NAMES
    assert inspection.problems == {}


def test_bad_recordings_are_left_out_with_their_reasons(tmp_path):
    write_all(tmp_path / "raw")
    (tmp_path / "raw/owamcap/first.mkv").unlink()
    (tmp_path / "raw/owl/inputs.csv").write_text("")
    (tmp_path / "raw/vpt/cheeky-1.jsonl").write_text("{}\n")
    (tmp_path / "raw/ducktrack/metadata.json").write_text("{}")
    config = ConvertConfig(input=tmp_path / "raw", repo_id="a/b", root=tmp_path / "out", task="go", dry_run=True)
    plan = convert(config).plan
    assert [entry.key for entry in plan.entries] == ["native", "owamcap/second.mcap"]
    reasons = {path.relative_to(tmp_path / "raw").as_posix(): problems[0] for path, problems in plan.problems.items()}
    assert "first.mkv: missing" in reasons["owamcap/first.mcap"]
    assert "inputs.csv: empty" in reasons["owl"]
    assert "cheeky-1.jsonl:1: " in reasons["vpt/cheeky-1.jsonl"]
    assert "metadata.json: " in reasons["ducktrack"]


keys = st.sampled_from([87, 65, 160])
owamcap_inputs = st.lists(
    st.tuples(
        # In tenths of a millisecond, also just before, at and just after a frame.
        st.one_of(st.integers(-500, 3500), st.sampled_from([499, 500, 501])),
        st.one_of(
            st.tuples(st.just("keyboard"), keys, st.booleans()),
            st.tuples(st.just("click"), st.sampled_from(["left", "right"]), st.booleans()),
            st.tuples(st.just("move"), st.integers(100, 175), st.integers(195, 255)),
        ),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(inputs=owamcap_inputs)
def test_labels_of_owamcap_are_those_of_its_messages(tmp_path_factory, inputs):
    inputs = sorted(inputs, key=lambda each: each[0])
    x, y = 106, 200
    messages = []
    for tenths, (topic, first, second) in inputs:
        match topic:
            case "keyboard":
                content = {"event_type": "press" if second else "release", "vk": first}
            case "click":
                content = {"event_type": "click", "x": x, "y": y, "button": first, "pressed": second}
            case _:
                x, y = first, second
                content = {"event_type": "move", "x": x, "y": y}
        messages.append((tenths / 10, "keyboard" if topic == "keyboard" else "mouse", content))
    path = write_owamcap(tmp_path_factory.mktemp("owamcap"), messages)
    if not messages:
        with pytest.raises(RecordingError, match="no event"):
            read_recording(path)
        return
    labels = label_recording(read_recording(path), LabelOptions())
    for row in range(6):
        state, _ = _held(messages, 50 * row)
        action, down = _held(messages, 50 * (row + 1), since_ms=50 * row)
        assert labels.state[row].tolist() == pytest.approx(state)
        assert labels.action[row, :2].tolist() == pytest.approx(action[:2])
        assert labels.action[row, 2:].tolist() == down


def _held(messages, until_ms, since_ms=None):
    """The vector before a moment, and what was down at any moment since another."""
    names = {87: "key.w", 65: "key.a", 160: "key.shift"}
    position, held = ((SIZE_PX[0] - 1) / 2, (SIZE_PX[1] - 1) / 2), set()
    down = set() if since_ms is None else _held_names(messages, since_ms)
    for ms, topic, content in messages:
        if ms >= until_ms:
            break
        if topic == "keyboard":
            name, is_down = names[content["vk"]], content["event_type"] == "press"
        else:
            position = (content["x"] - 106, content["y"] - 200)
            if content["event_type"] == "move":
                continue
            name, is_down = f"button.{content['button']}", content["pressed"]
        (held.add if is_down else held.discard)(name)
        if is_down and since_ms is not None and ms >= since_ms:
            down.add(name)
    mouse = [min(1.0, max(-1.0, 2 * at / (size - 1) - 1)) for at, size in zip(position, SIZE_PX, strict=True)]
    vectors = [[float(channel in names_down) for channel in CHANNELS[2:]] for names_down in (held, down)]
    return mouse + vectors[0], vectors[1]


def _held_names(messages, until_ms):
    vector, _ = _held(messages, until_ms)
    return {channel for channel, value in zip(CHANNELS[2:], vector[2:], strict=True) if value}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.frozensets(st.sampled_from(["w", "space", "left.shift"])), st.frozensets(st.sampled_from([0, 1, 2]))
        ),
        min_size=1,
        max_size=8,
    )
)
def test_action_of_a_frame_is_what_its_step_reports_and_its_state_what_the_step_before_did(tmp_path_factory, steps):
    lines = [vpt_step(keys=tuple(f"key.keyboard.{k}" for k in sorted(ks)), buttons=tuple(bs)) for ks, bs in steps]
    # One event at least, so that there is something to convert.
    lines[0]["isGuiOpen"] = True
    labels = label_recording(read_recording(write_vpt(tmp_path_factory.mktemp("vpt"), lines)), LabelOptions())
    reported = [
        {f"key.{key.removeprefix('left.')}" for key in keys_}
        | {f"button.{['left', 'right', 'middle'][button]}" for button in buttons}
        for keys_, buttons in steps
    ]
    for row, down in enumerate(reported):
        before = reported[row - 1] & down if row else set()
        assert {c for c, v in zip(CHANNELS[2:], labels.action[row, 2:], strict=True) if v} == down
        # What a step no longer reports came up before its frame.
        assert {c for c, v in zip(CHANNELS[2:], labels.state[row, 2:], strict=True) if v} == before


def test_frame_times_are_those_of_the_log(tmp_path):
    path = write_owamcap(tmp_path, [(10, "keyboard", W_DOWN)], without_message=(2,))
    recording = read_recording(path)
    assert ((recording.frame_ticks - T0_NS) / MS).tolist() == [0, 50, 100, 150, 200, 250]
    assert recording.repairs == {"frame_times_interpolated": 1}
    assert np.all(np.diff(recording.events.tick) >= 0)


def test_relative_movements_and_wheel_of_every_recorder_become_labels(tmp_path):
    raw = {"last_x": 3, "last_y": -4, "us_flags": 0, "button_flags": 0x400, "button_data": 120}
    recordings = {
        write_owamcap(tmp_path / "owamcap", [(60, "mouse/raw", raw), (70, "mouse/raw", {**raw, "button_flags": 0})]): 6,
        write_owl(
            tmp_path / "owl",
            [(0, "VIDEO_START", []), (60, "MOUSE_MOVE", [3, -4]), (61, "MOUSE_MOVE", [3, -4]), (70, "SCROLL", [120])],
        ): 6,
        write_vpt(tmp_path / "vpt", [vpt_step(hotbar=1), vpt_step(dxy=(6, -8)), vpt_step(hotbar=1)]): 6,
    }
    options = LabelOptions(mouse="relative", extra_channels=["wheel"])
    for path, counts in recordings.items():
        labels = label_recording(read_recording(path), options)
        column = labels.channels.index("wheel.dy")
        assert labels.action[:3, :2].tolist() == [[0, 0], [counts, -8], [0, 0]], path
        if path.suffix == ".jsonl":
            # From slot 1 to 0, away from the user, and back.
            assert labels.action[:3, column].tolist() == [0, 1, -1]
        else:
            assert labels.action[:3, column].tolist() == [0, 1, 0], path
