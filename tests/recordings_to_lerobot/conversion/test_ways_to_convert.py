"""Copying and encoding videos, adding to a dataset, splits, idle stretches: what a conversion can be asked for."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.layout import Layout, write_layout
from recordings_to_lerobot.dataset.names import DIGESTS_FILE, QUARANTINE_FILE
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.raw_recordings import (
    make_recording,
    messy_ticks_and_events,
    regular_ticks,
    write_video,
)

SCREEN = "observation.images.screen"


def run(folder: Path, **options) -> LeRobotDataset:
    config = {"input": folder / "raw", "repo_id": "tests/ways", "root": folder / "out", **options}
    summary = convert(ConvertConfig(**config))
    return LeRobotDataset("tests/ways", root=summary.root, video_backend="pyav")


def records(dataset: LeRobotDataset) -> list[dict]:
    return [json.loads(line) for line in (dataset.root / "meta/recordings.jsonl").read_text().splitlines()]


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def pictures(dataset: LeRobotDataset) -> list[np.ndarray]:
    return [(row[SCREEN].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for row in dataset]


def test_video_of_which_every_frame_is_kept_is_copied_bit_by_bit(tmp_path):
    folders = [make_recording(tmp_path / "raw" / name, regular_ticks(n)).folder for name, n in [("a", 30), ("b", 7)]]
    dataset = run(tmp_path)
    assert [record["video"] for record in records(dataset)] == ["copied", "copied"]
    sources = [picture for folder in folders for picture in decoded(folder / "video.mp4")]
    np.testing.assert_array_equal(pictures(dataset), sources)
    [file] = (tmp_path / "out/videos").rglob("*.mp4")
    with av.open(file) as container:
        times = sorted(float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size)
    np.testing.assert_allclose(times, np.arange(37) / 10, atol=1e-9)


def test_recordings_that_drop_frames_are_encoded_in_the_format_of_the_copies(tmp_path):
    make_recording(tmp_path / "raw/a", regular_ticks(12))
    ticks = regular_ticks(12)
    make_recording(tmp_path / "raw/b", [*ticks[:5], ticks[4], *ticks[6:]])
    dataset = run(tmp_path)
    assert [record["video"] for record in records(dataset)] == ["copied", "encoded"]
    info = dataset.meta.features[SCREEN]["info"]
    assert (info["video.codec"], info["video.pix_fmt"]) == ("h264", "yuv420p")
    source = decoded(tmp_path / "raw/b/video.mp4")
    for picture, frame in zip(pictures(dataset)[12:], [0, 1, 2, 3, 4, *range(6, 12)], strict=True):
        assert np.abs(picture.astype(int) - source[frame]).mean() < 3


@pytest.mark.parametrize(
    ("codec", "options", "video"),
    [
        ("libx264", {"g": "30"}, "copied"),
        ("libx264", {"g": "250"}, "encoded"),  # reading a frame would decode 30 on average
        ("libx265", {"g": "10", "x265-params": "log-level=none"}, "encoded"),  # LeRobot cannot join such files
        ("libsvtav1", {"g": "10"}, "copied"),
        ("mpeg4", {}, "encoded"),  # LeRobot cannot write it
    ],
)
def test_auto_copies_what_is_quick_to_read_and_lerobot_can_write(tmp_path, codec, options, video):
    folder = make_recording(tmp_path / "raw/a", regular_ticks(60)).folder
    write_video(folder / "video.mp4", 60, codec=codec, options=options)
    dataset = run(tmp_path)
    assert [record["video"] for record in records(dataset)] == [video]
    for picture, source in zip(pictures(dataset), decoded(folder / "video.mp4"), strict=True):
        assert np.abs(picture.astype(int) - source).mean() < 4


def test_key_frames_may_lie_as_far_apart_in_time_whatever_the_rate(tmp_path):
    # Reading a frame decodes 30 on average, which are 3 s at ten frames a second and half a second at sixty.
    folder = make_recording(tmp_path / "raw/a", regular_ticks(60, fps=60), fps=60).folder
    write_video(folder / "video.mp4", 60, options={"g": "250"})
    assert [record["video"] for record in records(run(tmp_path, fps=60))] == ["copied"]


def test_copy_is_refused_with_the_reason_where_frames_are_dropped(tmp_path):
    ticks = regular_ticks(4)
    make_recording(tmp_path / "raw/a", [ticks[0], *ticks[:3]])
    with pytest.raises(RecordingError, match="cannot be copied: its rows are not all frames of the video in order"):
        run(tmp_path, video="copy")


def test_encoding_keeps_the_colours_of_a_source_that_names_its_colour_space(tmp_path):
    folder = make_recording(tmp_path / "raw/a", regular_ticks(6)).folder
    colours = [(200, 30, 40), (20, 180, 60), (10, 60, 220), (240, 240, 20), (128, 128, 128), (255, 255, 255)]
    with av.open(folder / "video.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
        for colour in colours:
            picture = np.full((64, 64, 3), colour, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    dataset = run(tmp_path, video="encode")
    np.testing.assert_allclose(pictures(dataset), decoded(folder / "video.mp4"), atol=6)


def test_files_of_different_encoders_do_not_share_a_file(tmp_path):
    for name, options in [("a", {"profile": "main"}), ("b", {"profile": "high"}), ("c", {"profile": "main"})]:
        folder = make_recording(tmp_path / "raw" / name, regular_ticks(8)).folder
        write_video(folder / "video.mp4", 8, options=options)
    dataset = run(tmp_path)
    assert [record["video"] for record in records(dataset)] == ["copied"] * 3
    assert len(list((tmp_path / "out/videos").rglob("*.mp4"))) == 2
    sources = [picture for name in "abc" for picture in decoded(tmp_path / "raw" / name / "video.mp4")]
    np.testing.assert_array_equal(pictures(dataset), sources)


def test_recordings_with_the_same_contents_are_episodes_of_their_own(tmp_path):
    for name in "abc":
        make_recording(tmp_path / "raw" / name)
    assert [record["source"] for record in records(run(tmp_path))] == ["a", "b", "c"]


def test_only_new_recordings_are_added_and_the_old_episodes_stay(tmp_path):
    for name in "ac":
        make_recording(tmp_path / "raw" / name, regular_ticks(5), task=f"task {name}")
    before = run(tmp_path)
    old_rows = before.hf_dataset.with_format("arrow")[:].to_pydict()
    make_recording(tmp_path / "raw/b", regular_ticks(6), task="task b")
    summary = convert(ConvertConfig(input=tmp_path / "raw", repo_id="tests/ways", root=tmp_path / "out"))
    assert (summary.plan.already_there, len(summary.plan.entries)) == (2, 1)
    after = LeRobotDataset("tests/ways", root=tmp_path / "out", video_backend="pyav")
    rows = after.hf_dataset.with_format("arrow")[:].to_pydict()
    assert {name: column[:10] for name, column in rows.items()} == old_rows
    assert [record["source"] for record in records(after)] == ["a", "c", "b"]
    assert after[10]["task"] == "task b" and after.meta.info.splits == {"train": "0:3"}
    np.testing.assert_array_equal(pictures(after)[10:], decoded(tmp_path / "raw/b/video.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_recordings_whose_files_look_as_before_are_not_read_again(tmp_path):
    path = make_recording(tmp_path / "raw/a").folder / "meta.json"
    run(tmp_path)
    times_ns = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(path.read_text().replace('"go"', '"no"'))
    with pytest.raises(RecordingError, match="changed since it was converted"):
        run(tmp_path)
    os.utime(path, ns=times_ns)
    again = ConvertConfig(input=tmp_path / "raw", repo_id="tests/ways", root=tmp_path / "out")
    assert convert(again).plan.already_there == 1
    (tmp_path / "out" / DIGESTS_FILE).write_text("{broken")
    with pytest.raises(RecordingError, match="changed since it was converted"):
        run(tmp_path)


def test_the_same_command_again_changes_nothing(tmp_path):
    make_recording(tmp_path / "raw/a")
    run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    run(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_adding_with_other_options_is_refused(tmp_path):
    make_recording(tmp_path / "raw/a")
    run(tmp_path)
    with pytest.raises(
        RecordingError, match=r"out: was converted with mouse=absolute, not delta; give the same options"
    ):
        run(tmp_path, mouse="delta")


def test_order_of_a_vocabulary_is_part_of_it(tmp_path):
    make_recording(tmp_path / "raw/a")
    (tmp_path / "keys.yaml").write_text("w: 87\na: 65\n")
    run(tmp_path, keys=tmp_path / "keys.yaml")
    (tmp_path / "keys.yaml").write_text("a: 65\nw: 87\n")
    with pytest.raises(RecordingError, match="was converted with keys="):
        run(tmp_path, keys=tmp_path / "keys.yaml")


def test_adding_to_a_dataset_with_splits_is_refused_but_the_same_command_is_not(tmp_path):
    for name in "abcd":
        make_recording(tmp_path / "raw" / name)
    shares = {"train": 0.5, "test": 0.5}
    run(tmp_path, splits=shares)
    assert run(tmp_path, splits=shares).num_episodes == 4
    make_recording(tmp_path / "raw/e")
    with pytest.raises(RecordingError, match="would break the ranges of its splits"):
        run(tmp_path, splits=shares)


def test_recording_that_changed_after_it_was_converted_is_named_and_not_added_twice(tmp_path):
    folder = make_recording(tmp_path / "raw/a").folder
    run(tmp_path)
    (folder / "meta.json").write_text((folder / "meta.json").read_text().replace('"go"', '"go there"'))
    with pytest.raises(RecordingError, match="raw/a: changed since it was converted; to convert it again give another"):
        run(tmp_path)


def test_bad_recording_that_comes_later_is_in_quarantine_even_if_nothing_is_added(tmp_path):
    make_recording(tmp_path / "raw/a")
    run(tmp_path)
    (make_recording(tmp_path / "raw/b").folder / "frame_ts.bin").unlink()
    assert run(tmp_path).num_episodes == 1
    [entry] = [json.loads(line) for line in (tmp_path / "out/audit/quarantine.jsonl").read_text().splitlines()]
    assert entry["source"] == "b" and entry["problems"][0].startswith("b/frame_ts.bin: missing")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("offset_ms", float("inf")),
        ("idle_s", float("nan")),
        ("idle_s", -1.0),
        ("workers", -1),
        ("fps", 0),
        ("fps", 1001),
        ("size", "384"),
        ("size", "0x384"),
        ("mouse_scale", 5.0),  # of positions
    ],
)
def test_number_that_makes_no_sense_is_refused(tmp_path, option, value):
    make_recording(tmp_path / "raw/a")
    with pytest.raises(RecordingError, match=f"--{option}="):
        run(tmp_path, **{option: value})


def test_conversion_that_was_killed_while_it_replaced_a_dataset_leaves_the_old_one(tmp_path):
    make_recording(tmp_path / "raw/a")
    run(tmp_path)
    (tmp_path / ".out.work").mkdir()
    shutil.move(tmp_path / "out", tmp_path / ".out.work/replaced")
    (tmp_path / ".out.work/draft").mkdir()
    make_recording(tmp_path / "raw/b")
    assert run(tmp_path).num_episodes == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_sessions_stay_together_in_contiguous_splits(tmp_path):
    for index in range(12):
        make_recording(tmp_path / "raw" / f"{index:02d}", session=f"session {index % 4}")
    dataset = run(tmp_path, splits={"train": 0.5, "val": 0.25, "test": 0.25}, seed=3)
    assert dataset.meta.info.splits == {"train": "0:6", "val": "6:9", "test": "9:12"}
    sessions = [record["meta"]["session"] for record in records(dataset)]
    assert [len(set(sessions[start:stop])) for start, stop in [(0, 6), (6, 9), (9, 12)]] == [2, 1, 1]


def test_offset_of_the_command_takes_the_place_of_every_recorded_one(tmp_path):
    ticks = regular_ticks(4)
    tap = [{"ts": ticks[1] + 1000, "kind": kind, "vk": 87} for kind in ("keydown", "keyup")]
    make_recording(tmp_path / "raw/a", ticks, tap, offset_ms=5000)
    dataset = run(tmp_path, offset_ms=100.0)
    column = dataset.meta.features["action"]["names"].index("key.w")
    assert [int(row["action"][column]) for row in dataset] == [0, 0, 1, 0]


def test_vocabulary_of_ones_own_names_the_channels(tmp_path):
    (tmp_path / "keys.yaml").write_text("jump: [32, 88]\n")
    ticks = regular_ticks(4)
    make_recording(tmp_path / "raw/a", ticks, [{"ts": ticks[2], "kind": "keydown", "vk": 88}])
    dataset = run(tmp_path, keys=tmp_path / "keys.yaml")
    assert dataset.meta.features["action"]["names"][-1] == "key.jump"
    assert [int(row["action"][-1]) for row in dataset] == [0, 0, 1, 1]


def still_recording(folder: Path) -> None:
    """Two seconds in which the picture changes, six in which it does not, two in which it does again."""
    make_recording(folder, regular_ticks(100))
    with av.open(folder / "video.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(100):
            shown = min(number, 20) if number < 80 else number - 59
            picture = np.full((64, 64, 3), 10 * shown % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(("idle", "kept"), [("keep", 100), ("trim", 41), ("thin", 46)])
def test_idle_stretches_are_kept_trimmed_or_thinned(tmp_path, idle, kept):
    still_recording(tmp_path / "raw/a")
    dataset = run(tmp_path, idle=idle)
    assert len(dataset) == kept
    shown = dataset.hf_dataset.with_format("numpy")["recording.frame_index"][:].tolist()
    still = [frame for frame in shown if 20 <= frame < 80]
    assert still == {"keep": list(range(20, 80)), "trim": [20], "thin": [20, 30, 40, 50, 60, 70]}[idle]


def test_dry_run_tells_of_idle_rows_and_writes_nothing(tmp_path):
    still_recording(tmp_path / "raw/a")
    summary = convert(ConvertConfig(input=tmp_path / "raw", repo_id="a/b", root=tmp_path / "out", dry_run=True))
    [entry] = summary.plan.entries
    assert entry.counts["idle_rows"] == 60 and entry.counts["idle_rows_dropped"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("before", ["nothing", "dataset"])
def test_layout_of_a_sample_that_is_encoded_is_that_of_all_that_follow(tmp_path, before):
    layout = tmp_path / "layout.yaml"
    ticks, events = messy_ticks_and_events(seed=0)
    make_recording(tmp_path / "raw/dropped frames", ticks, events)
    if before == "dataset":
        run(tmp_path)
    convert(ConvertConfig(input=tmp_path / "raw", repo_id="a/b", root=tmp_path / "out", layout=layout, dry_run=True))
    make_recording(tmp_path / "raw/could be copied")
    make_recording(tmp_path / "raw/of another rate", regular_ticks(20, fps=20), fps=20)
    dataset = run(tmp_path, layout=layout)
    # Two formats could not be one video.
    assert [record["video"] for record in records(dataset)] == ["encoded", "encoded"]
    assert "`fps` is 20, but 10" in (dataset.root / QUARANTINE_FILE).read_text()
    make_recording(tmp_path / "raw/more")
    assert run(tmp_path, layout=layout).num_episodes == 3


def test_layout_of_other_options_is_refused(tmp_path):
    make_recording(tmp_path / "raw/a")
    write_layout(tmp_path / "counts.yaml", Layout(10, 64, 64, "h264", "yuv420p", mouse_scale=12.0))
    write_layout(tmp_path / "places.yaml", Layout(10, 64, 64, "h264", "yuv420p"))
    for options in (
        {"layout": tmp_path / "counts.yaml"},
        {"layout": tmp_path / "counts.yaml", "mouse": "relative", "mouse_scale": 5.0},
        {"layout": tmp_path / "places.yaml", "mouse": "relative"},
    ):
        with pytest.raises(RecordingError, match=r"\.yaml: mouse_scale is .* let a dry run"):
            run(tmp_path, **options)
    run(tmp_path)
    write_layout(tmp_path / "large.yaml", Layout(10, 640, 480, "h264", "yuv420p"))
    with pytest.raises(RecordingError, match=r"large\.yaml: the dataset at --root has .*width_px=64"):
        run(tmp_path, layout=tmp_path / "large.yaml")
