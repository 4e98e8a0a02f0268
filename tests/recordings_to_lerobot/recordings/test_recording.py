import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.importers.formats import find_recordings
from recordings_to_lerobot.recordings.meta import read_meta
from recordings_to_lerobot.recordings.recording import read_recording
from recordings_to_lerobot.recordings.ticks import read_frame_ticks
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.raw_recordings import make_recording

META = {"fps": 10, "canvas_w": 64, "canvas_h": 64, "qpc_freq": 10_000_000}


def write_meta(folder: Path, **fields) -> Path:
    path = folder / "meta.json"
    path.write_text(json.dumps({**META, **fields}))
    return path


def test_episodes_are_found_at_any_depth_in_natural_order(tmp_path):
    for name in ("day 1/10", "day 1/9", "day 10/1", "day 2/a/b/c"):
        make_recording(tmp_path / name)
    found = [folder.relative_to(tmp_path).as_posix() for folder in find_recordings(tmp_path)]
    assert found == ["day 1/9", "day 1/10", "day 2/a/b/c", "day 10/1"]


def test_input_folder_may_be_an_episode_itself(tmp_path):
    recording = make_recording(tmp_path / "only")
    assert find_recordings(recording.folder) == [recording.folder]


def test_folder_that_a_recorder_was_killed_over_is_left_out(tmp_path):
    recording = make_recording(tmp_path / "whole")
    (tmp_path / ".half").mkdir()
    (tmp_path / ".half" / "video.mp4").write_bytes(b"\0")
    assert find_recordings(tmp_path) == [recording.folder]


def test_folder_without_recordings_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RecordingError, match=r"no recordings found; an episode is a folder with video\.mp4"):
        find_recordings(tmp_path)


def test_missing_input_folder_is_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"nowhere: no such folder; give the folder .* as --input"):
        find_recordings(tmp_path / "nowhere")


def test_recording_reads_back_what_was_written(tmp_path):
    raw = make_recording(tmp_path / "e", frame_ticks=[5, 5, 9], seed=3)
    recording = read_recording(raw.folder)
    assert recording.frame_ticks.tolist() == [5, 5, 9]
    assert recording.meta.model_dump(exclude_unset=True) == raw.meta
    assert recording.events.tick.tolist() == [5]


def test_problems_of_all_files_are_reported_at_once(tmp_path):
    folder = make_recording(tmp_path / "e").folder
    (folder / "video.mp4").unlink()
    (folder / "frame_ts.bin").write_bytes(b"")
    (folder / "events.jsonl").write_text("{}\n")
    write_meta(folder, qpc_freq=0)
    with pytest.raises(RecordingError) as caught:
        read_recording(folder)
    files = [problem.split(": ")[0] for problem in caught.value.problems]
    assert files == [f"{folder}/{name}" for name in ("video.mp4", "frame_ts.bin", "events.jsonl:1", "meta.json")]


def test_meta_keeps_keys_it_does_not_know(tmp_path):
    meta = read_meta(write_meta(tmp_path, seed=7, player={"name": "Åsa"}))
    assert meta.model_dump(exclude_unset=True) == {**META, "seed": 7, "player": {"name": "Åsa"}}
    assert meta.offset_ms == 0 and meta.task is None


def test_meta_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps(META), encoding="utf-8-sig")
    assert read_meta(path).fps == 10


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("qpc_freq", 0, "`qpc_freq` is 0: Input should be greater than 0"),
        ("qpc_freq", "10000000", "`qpc_freq` is '10000000': Input should be a valid integer"),
        ("fps", -1, "`fps` is -1: Input should be greater than 0"),
        ("fps", True, "`fps` is True: Input should be a valid"),
        ("canvas_w", 1, "`canvas_w` is 1: Input should be greater than or equal to 2"),
        ("canvas_h", 63.5, "`canvas_h` is 63.5: Input should be a valid integer"),
        ("offset_ms", None, "`offset_ms` is None: Input should be a valid"),
        ("task", 5, "`task` is 5: Input should be a valid string"),
    ],
)
def test_bad_meta_field_is_named_with_its_value(tmp_path, field, value, complaint):
    path = write_meta(tmp_path, **{field: value})
    with pytest.raises(RecordingError) as caught:
        read_meta(path)
    assert str(caught.value).startswith(f"{path}: {complaint}")
    assert str(caught.value).endswith("; correct meta.json")


@pytest.mark.parametrize("field", sorted(META))
def test_meta_field_that_is_needed_is_named(tmp_path, field):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({name: value for name, value in META.items() if name != field}))
    with pytest.raises(RecordingError, match=f"lacks `{field}`; correct"):
        read_meta(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"fps": 10,\n "canvas_w": }', "meta.json:2: broken JSON"),
        (b"[1, 2]", "meta.json: [1, 2]: Input should be"),
        (b'{"note": NaN}', "meta.json: unreadable: NaN is not a finite number"),
        (b'{"note": 1e999}', "meta.json: unreadable: 1e999 is not a finite number"),
        (b'{"fps": ' + b"9" * 5000 + b"}", "meta.json: unreadable"),
        (b'{"task": "\xff"}', "meta.json: unreadable"),
        (b'{"task": "\\ud800"}', "meta.json: unreadable"),
        (b"[" * 100_000, "meta.json: unreadable"),
    ],
)
def test_broken_meta_is_refused(tmp_path, content, complaint):
    (tmp_path / "meta.json").write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read_meta(tmp_path / "meta.json")
    assert str(caught.value).startswith(f"{tmp_path}/{complaint}")


def test_frame_ticks_that_go_back_are_named_by_frame(tmp_path):
    path = tmp_path / "frame_ts.bin"
    path.write_bytes(np.array([10, 4210, 10, 11], dtype="<i8").tobytes())
    with pytest.raises(RecordingError) as caught:
        read_frame_ticks(path)
    assert str(caught.value) == f"{path}: frame 2: tick 10 goes back by 4200 ticks; re-export the recording"


def test_frame_ticks_that_end_inside_a_tick_are_refused(tmp_path):
    path = tmp_path / "frame_ts.bin"
    path.write_bytes(bytes(13))
    with pytest.raises(RecordingError, match=r"frame_ts\.bin: 13 bytes, not a multiple of 8 .*; re-export"):
        read_frame_ticks(path)


@settings(max_examples=100)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_frame_ticks_are_read_as_written_or_refused(tmp_path_factory, ticks):
    path = tmp_path_factory.mktemp("ticks") / "frame_ts.bin"
    path.write_bytes(b"".join(tick.to_bytes(8, "little", signed=True) for tick in ticks))
    if ticks == sorted(ticks):
        assert read_frame_ticks(path).tolist() == ticks
    else:
        with pytest.raises(RecordingError, match="goes back by"):
            read_frame_ticks(path)
