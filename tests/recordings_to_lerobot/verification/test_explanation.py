"""Explanations of rows, read from converted datasets."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recordings_to_lerobot.cli import main
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.records import read_records
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.dataset import verify
from recordings_to_lerobot.verification.derivation import Explanation
from recordings_to_lerobot.verification.explanation import explain_row
from tests.recordings_to_lerobot import slow_oracle
from tests.recordings_to_lerobot.raw_recordings import (
    FREQ,
    SIZE_PX,
    make_recording,
    messy_ticks_and_events,
    numbered_picture,
    regular_ticks,
)

STATE, ACTION = "observation.state", "action"
VOCABULARY = "go: 87\nboth: [32, 160, 65]\n"


def convert_to(folder: Path, **options) -> Path:
    convert(ConvertConfig(input=folder / "raw", repo_id="tests/explained", root=folder / "out", **options))
    return folder / "out"


def write_still_video(path: Path, n_frames: int) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = SIZE_PX
        for _ in range(n_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_picture(9), format="rgb24")))
        container.mux(stream.encode())


def words(explanation: Explanation, feature: str) -> dict[str, str]:
    return {reason.channel: reason.words for reason in explanation.reasons if reason.feature == feature}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mouse": "delta", "keep_duplicates": True, "offset_ms": -31.25},
        {"mouse": "delta", "resample": True},
        {"keys": VOCABULARY, "resample": True, "repair": ["order"]},
        {"mouse": "relative", "extra_channels": ["side_buttons", "wheel"]},
    ],
    ids=["plain", "delta", "grid", "vocabulary", "relative"],
)
def test_every_value_of_every_row_is_explained_and_every_event_is_under_its_row(tmp_path, options):
    recordings = []
    for seed in range(3):
        ticks, events = messy_ticks_and_events(seed)
        recordings.append(make_recording(tmp_path / f"raw/{seed}", ticks, events, offset_ms=12.5 * seed))
    if "keys" in options:
        (tmp_path / "keys.yaml").write_text(options["keys"])
        options = {**options, "keys": tmp_path / "keys.yaml"}
    root = convert_to(tmp_path, **options)
    timing = {name: options[name] for name in ("keep_duplicates", "resample") if name in options}
    for episode, raw in enumerate(recordings):
        offset_ms = options.get("offset_ms", raw.meta["offset_ms"])
        oracle = slow_oracle.rows(raw.frame_ticks, raw.meta, **timing)
        lines: list[int] = []
        for frame, (source_frame, captured_ms, start_ms, end_ms) in enumerate(oracle):
            explanation = explain_row(root, episode, frame, around=1)
            disagreeing = [reason for reason in explanation.reasons if not reason.agrees]
            assert not disagreeing and len(explanation.reasons) == 2 * len(explanation.channels)
            [row] = [row for row in explanation.rows if row.frame == frame]
            assert row.source_frame == source_frame
            times_ns = [int(time_ms * 1_000_000) for time_ms in (captured_ms, start_ms, end_ms)]
            np.testing.assert_allclose([row.captured_ns, row.start_ns, row.end_ns], times_ns, rtol=0, atol=1)
            for event in row.events:
                assert row.start_ns <= event.ns < row.end_ns
                written = raw.events[event.line - 1]
                assert event.kind == written["kind"] and event.vk == written.get("vk")
                assert event.is_used or event.note
            lines += [event.line for event in row.events]
        first_ms, last_ms = oracle[0][2], oracle[-1][3]
        times_ms = [event["ts"] * 1000 / FREQ + offset_ms for event in raw.events]
        assert lines == [n for n, time_ms in enumerate(times_ms, start=1) if first_ms <= time_ms < last_ms]


def test_words_say_which_line_did_what(tmp_path):
    start, *_ = ticks = regular_ticks(5)
    ms = FREQ // 1000
    events = [
        {"ts": start - 50 * ms, "kind": "keydown", "vk": 87},
        {"ts": start + 110 * ms, "kind": "mousemove", "x": 21, "y": -4, "buttons": 2},
        {"ts": start + 120 * ms, "kind": "keydown", "vk": 32},
        {"ts": start + 130 * ms, "kind": "keyup", "vk": 32},
        {"ts": start + 140 * ms, "kind": "mouseclick", "x": 42, "y": -4},
        {"ts": start + 210 * ms, "kind": "keyup", "vk": 87},
        {"ts": start + 220 * ms, "kind": "mousemove", "x": 42, "y": 63, "buttons": 0},
    ]
    make_recording(tmp_path / "raw/a", ticks, events)
    root = convert_to(tmp_path)
    row_1 = words(explain_row(root, 0, 1, 0), ACTION)
    assert row_1["mouse.x"] == "2·42/(64−1) − 1 = +0.333: last position before 200 ms is x=42, line 5 (row 1)"
    assert row_1["mouse.y"] == (
        "2·-4/(64−1) − 1 = −1.127, clipped to −1.000: last position before 200 ms is y=-4, line 5 (row 1)"
    )
    assert row_1["key.w"] == "1: down since line 1 (before the first row)"
    assert row_1["key.space"] == "1: goes down on line 3, up on line 4"
    assert row_1["button.left"] == "1: clicked on line 5"
    assert row_1["button.right"] == "1: goes down on line 2"
    assert row_1["key.a"] == "0: never down before"
    row_2 = explain_row(root, 0, 2, 0)
    assert words(row_2, ACTION)["key.w"] == "1: down since line 1 (before the first row), up on line 6"
    assert words(row_2, STATE)["button.right"] == "1: down since line 2 (row 1)"
    assert words(explain_row(root, 0, 3, 0), STATE)["key.w"] == "0: up since line 6 (row 2)"
    centre = words(explain_row(root, 0, 0, 0), STATE)["mouse.x"]
    assert centre == "2·31.5/(64−1) − 1 = +0.000: no mouse event before 0 ms, so it is at the centre"


def test_words_say_how_far_the_mouse_moved(tmp_path):
    start, *_ = ticks = regular_ticks(3)
    moves = [{"ts": start + k * FREQ // 20, "kind": "mousemove", "x": 10 * k, "y": 8} for k in (1, 2, 3)]
    make_recording(tmp_path / "raw/a", ticks, moves)
    root = convert_to(tmp_path, mouse="delta")
    assert words(explain_row(root, 0, 0, 0), STATE)["mouse.dx"] == "0: there is no row before the first"
    row_1 = words(explain_row(root, 0, 1, 0), ACTION)
    assert row_1["mouse.dx"] == "(30 − 10)/(64−1) = +0.317: from x=10, line 1 (row 0), to x=30, line 3 (row 1)"
    state = words(explain_row(root, 0, 1, 0), STATE)["mouse.dy"]
    assert state == "(8 − 31.5)/(64−1) = −0.373: from y=31.5, the centre, to y=8, line 1 (row 0)"
    assert words(explain_row(root, 0, 2, 0), ACTION)["mouse.dx"] == "0: no mouse event from 200 to 300 ms"


def test_words_say_what_captured_mouse_and_wheel_added_up_to(tmp_path):
    start, *_ = ticks = regular_ticks(3)
    events = [
        {"ts": start + 10, "kind": "mousedelta", "dx": 3, "dy": 0},
        {"ts": start + 20, "kind": "mousedelta", "dx": 5, "dy": -20},
        {"ts": start + 30, "kind": "wheel", "dx": 0, "dy": -2},
    ]
    make_recording(tmp_path / "raw/a", ticks, events)
    root = convert_to(tmp_path, mouse="relative", mouse_scale=16.0, extra_channels=["wheel"])
    row_0 = words(explain_row(root, 0, 0, 0), ACTION)
    assert row_0["mouse.dx"] == "8/16 = +0.500: sum of dx on lines 1 to 2, from 0 to 100 ms"
    assert row_0["mouse.dy"] == "−20/16 = −1.250, clipped to −1.000: sum of dy on lines 1 to 2, from 0 to 100 ms"
    assert row_0["wheel.dy"] == "−2: sum of dy on line 3, from 0 to 100 ms"
    assert words(explain_row(root, 0, 1, 0), ACTION)["mouse.dx"] == "0: no mousedelta event from 100 to 200 ms"


def test_source_frames_that_no_row_shows_are_listed_where_they_were(tmp_path):
    ticks = regular_ticks(44)
    ticks[2] = ticks[1]
    key = [{"ts": ticks[0] + 1, "kind": "keydown", "vk": 87}, {"ts": ticks[6], "kind": "keyup", "vk": 87}]
    folder = make_recording(tmp_path / "raw/a", ticks, key).folder
    write_still_video(folder / "video.mp4", len(ticks))
    root = convert_to(tmp_path, idle="trim")
    rows = explain_row(root, 0, 1, around=9).rows
    dropped = [(row.source_frame, gap.first, gap.last, gap.note) for row in rows for gap in row.dropped_after]
    assert dropped == [(1, 2, 2, "duplicate"), (7, 8, 43, "idle")]
    [last] = [row for row in rows if row.source_frame == 7]
    assert (last.end_ns - last.start_ns) / 1e6 == pytest.approx(100), "an idle row keeps its own end"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    for name in "ab":
        make_recording(folder / "raw" / name, regular_ticks(4))
    return convert_to(folder)


def test_repairs_are_explained_and_verified(tmp_path):
    ticks = regular_ticks(80, fps=2)
    ticks = [*ticks[:70], *(tick + 5 * FREQ for tick in ticks[70:])]
    after = [0.6, 0.7, 1.2, 1.3, 1.4, 35.5, 37]
    kinds = [
        {"kind": "keydown", "vk": 87},
        {"kind": "keydown", "vk": 87},
        {"kind": "mousemove", "x": 1, "y": 2, "buttons": 3},
        {"kind": "buttonup", "button": 1},
        {"kind": "mousemove", "x": 5, "y": 2},
        {"kind": "mousedelta", "dx": 4, "dy": 4},
        {"kind": "wheel", "dx": 4, "dy": 4},
    ]
    events = [{"ts": ticks[0] + int(s * FREQ), **kind} for s, kind in zip(after, kinds, strict=True)]
    events[0], events[1] = events[1], events[0]
    raw = make_recording(tmp_path / "raw/a", ticks, events, fps=2)
    np.delete(ticks, 40).astype("<i8").tofile(raw.folder / "frame_ts.bin")
    root = convert_to(tmp_path, repair=["frames", "order", "keys", "gaps"], extra_channels=["wheel"], mouse="delta")
    findings = verify(tmp_path / "raw", root, workers=1)
    assert not findings.failed, findings.lines
    [record] = read_records(root)
    found = {name: count for name, count in record["counts"].items() if isinstance(count, int) and count}
    assert found["frames_without_tick"] == 1 and found["released_as_stuck"] == 2 and found["reordered"] == 1
    assert found["in_gap"] == 2
    for frame in (0, 1, 2, 3, 69, 70, 71):
        explanation = explain_row(root, 0, frame, around=0)
        assert [reason for reason in explanation.reasons if not reason.agrees] == []
    assert words(explain_row(root, 0, 3, 0), ACTION)["key.w"] == "0: up since line 1 (row 1)"


def test_row_that_something_else_has_changed_is_found_out(small, tmp_path, capsys):
    root = tmp_path / "changed"
    shutil.copytree(small, root)
    [path] = (root / "data").rglob("*.parquet")
    table = pq.read_table(path)
    actions = np.array(table[ACTION].to_pylist(), dtype=np.float32)
    actions[1, 5] = 1.0
    column = pa.FixedSizeListArray.from_arrays(actions.ravel(), actions.shape[1])
    pq.write_table(table.set_column(table.column_names.index(ACTION), ACTION, column), path)
    command = ["explain", f"--root={root}", "--episode=0", "--around=0"]
    assert main([*command, "--frame=0"]) == 0
    assert "changed" not in capsys.readouterr().out
    assert main([*command, "--frame=1"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "key.w = 0: never down before; but the dataset has 1: it was changed" in output


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--episode=2", "--episode=2: {root} has episodes 0 to 1"),
        ("--frame=4", "--frame=4: episode 1 of {root} has frames 0 to 3"),
        ("--frame=-1", "--frame=-1: episode 1 of {root} has frames 0 to 3"),
        ("--around=-1", "--around=-1: give 0 or more rows"),
        ("--root=nowhere", "nowhere: no such folder"),
    ],
)
def test_row_that_is_not_there_exits_with_2_and_says_which_are(small, option, complaint, capsys):
    given = {"--root": str(small), "--episode": "1", "--frame": "0"}
    name, value = option.split("=")
    assert main(["explain", *(f"{name}={value}" for name, value in (given | {name: value}).items())]) == 2
    assert complaint.format(root=small) in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["audit/events", "audit/frames"])
def test_dataset_without_its_audit_is_refused(small, tmp_path, folder):
    shutil.copytree(small, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / folder)
    with pytest.raises(RecordingError, match=f"{folder}: missing; convert the recordings again"):
        explain_row(tmp_path / "bare", 0, 0, 0)


def test_rows_of_a_grid_without_its_idle_rows_are_explained(tmp_path):
    # Every other frame is missing, so that the grid shows each frame twice.
    ticks = regular_ticks(60)[::2]
    tap = [{"ts": ticks[28] + i, "kind": kind, "vk": 87} for i, kind in enumerate(("keydown", "keyup"))]
    folder = make_recording(tmp_path / "raw/a", ticks, tap).folder
    write_still_video(folder / "video.mp4", len(ticks))
    root = convert_to(tmp_path, resample=True, idle="thin")
    explanations = [explain_row(root, 0, frame, around=0) for frame in range(9)]
    starts_s = [explanation.rows[0].start_ns / 1e9 - ticks[0] / FREQ for explanation in explanations]
    np.testing.assert_allclose(starts_s, [0, 1, 2, 3, 4, 5, 5.6, 5.7, 5.8], atol=1e-6)
    assert all(reason.agrees for explanation in explanations for reason in explanation.reasons)
    assert words(explanations[6], ACTION)["key.w"] == "1: goes down on line 1, up on line 2"


def test_command_prints_rows_events_and_reasons_without_loading_lerobot(small):
    code = (
        "import sys; from recordings_to_lerobot.cli import main;"
        f"code = main(['explain', '--root={small}', '--episode=1', '--frame=1', '--around=1']);"
        "print(code, 'torch' in sys.modules, 'lerobot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    output = " ".join(result.stdout.split())
    assert output.startswith("Episode 1, b: go")
    assert "row 0 [0, 100) ms source frame 0" in output and "line 1 0 ms mousemove x=5 y=6" in output
    assert "mouse.x = 2·5/(64−1) − 1 = −0.841: last position before 200 ms is x=5, line 1 (row 0)" in output
    assert output.endswith("all others = 0: not down 0 False False")
