"""Whole conversions, read back through LeRobot, and what is left behind when they fail."""

import contextlib
import json
import os
import signal
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.recorder.record import record_episode
from recordings_to_lerobot.actions.channels import CHANNELS, ActionSpace
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.conversion.staging import Workplace
from recordings_to_lerobot.dataset.records import read_records
from recordings_to_lerobot.recordings.find import EPISODE_FILES
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.dataset import verify
from tests.recordings_to_lerobot import slow_oracle
from tests.recordings_to_lerobot.raw_recordings import (
    FREQ,
    RawRecording,
    make_recording,
    messy_ticks_and_events,
    numbered_picture,
    regular_ticks,
)


def convert_folder(folder: Path, **options) -> ConvertConfig:
    config = ConvertConfig(input=folder / "raw", repo_id="tests/converted", root=folder / "out", **options)
    convert(config)
    return config


def read_dataset(config: ConvertConfig) -> LeRobotDataset:
    return LeRobotDataset(config.repo_id, root=config.root, video_backend="pyav")


def make_messy(folder: Path, count: int, **meta) -> list[RawRecording]:
    recordings = []
    for index in range(count):
        ticks, events = messy_ticks_and_events(seed=index)
        own = {"offset_ms": [0, 12.5, -30][index % 3], "task": f"task {index % 2}", "seed": index}
        folder_of_episode = folder / "raw" / f"part {index % 2}" / f"episode_{index}"
        recordings.append(make_recording(folder_of_episode, ticks, events, **own, **meta))
    return sorted(recordings, key=lambda recording: recording.folder)


def assert_equals_oracle(dataset: LeRobotDataset, recordings: list[RawRecording], **options) -> None:
    mouse = options.pop("mouse", "absolute")
    extra, scale = options.pop("extra_channels", ()), options.pop("mouse_scale", None)
    all_rows, states, actions = [], [], []
    for raw in recordings:
        rows = slow_oracle.rows(raw.frame_ticks, raw.meta, **options)
        episode_states, episode_actions = slow_oracle.labels(rows, raw.events, raw.meta, mouse, extra)
        for values in (*episode_states, *episode_actions) if scale else ():
            values[:2] = np.clip(values[:2] / scale, -1, 1)
        all_rows += rows
        states += episode_states
        actions += episode_actions
    # As Arrow, for every other format rounds the float64 column to float32.
    table = dataset.hf_dataset.with_format("arrow")[:].to_pydict()
    np.testing.assert_array_equal(np.float32(table["observation.state"]), states)
    np.testing.assert_array_equal(np.float32(table["action"]), actions)
    assert table["recording.frame_index"] == [row[0] for row in all_rows]
    np.testing.assert_allclose(table["recording.timestamp_ms"], [float(row[1]) for row in all_rows], rtol=1e-15)


def picture_numbers(dataset: LeRobotDataset, size: tuple[int, int] = (64, 64)) -> list[int]:
    """Of which source frame each picture is a copy."""
    references = np.stack([numbered_picture(number, *size) for number in range(32)]).astype(np.float32) / 255
    pictures = [row["observation.images.screen"].permute(1, 2, 0).numpy() for row in dataset]
    return [int(((references - picture) ** 2).mean(axis=(1, 2, 3)).argmin()) for picture in pictures]


def test_converted_recordings_equal_the_slow_oracle_and_show_the_right_pictures(tmp_path):
    recordings = make_messy(tmp_path, 5)
    dataset = read_dataset(convert_folder(tmp_path))
    assert dataset.num_episodes == 5 and dataset.fps == 10
    assert len(dataset) == sum(len(set(raw.frame_ticks)) for raw in recordings)
    assert dataset.meta.features["action"]["names"] == list(CHANNELS)
    assert dataset.meta.features["observation.state"]["names"] == list(CHANNELS)
    assert_equals_oracle(dataset, recordings)
    assert picture_numbers(dataset) == dataset.hf_dataset.with_format("numpy")["recording.frame_index"][:].tolist()
    tasks = [dataset[int(start)]["task"] for start in dataset.meta.episodes["dataset_from_index"]]
    assert tasks == [raw.meta["task"] for raw in recordings]


def test_twenty_recorded_episodes_equal_the_slow_oracle_and_what_was_played(tmp_path):
    env = MiniworldEnv(canvas_w=64, canvas_h=64)
    folders = [tmp_path / "raw" / f"episode_{seed:06d}" for seed in range(20)]
    played = [record_episode(env, folder, seed)[0] for seed, folder in enumerate(folders)]
    env.close()
    recordings = [read_raw(folder) for folder in folders]
    dataset = read_dataset(convert_folder(tmp_path))
    assert len(dataset) == sum(len(set(raw.frame_ticks)) for raw in recordings) == sum(played)
    assert sum(len(raw.frame_ticks) for raw in recordings) > len(dataset)  # the recorder wrote duplicates
    assert_equals_oracle(dataset, recordings)


def read_raw(folder: Path) -> RawRecording:
    return RawRecording(
        folder,
        [tick for (tick,) in struct.iter_unpack("<q", (folder / "frame_ts.bin").read_bytes())],
        [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()],
        json.loads((folder / "meta.json").read_text()),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"resample": True},
        {"keep_duplicates": True},
        {"mouse": "delta"},
        {"extra_channels": ["wheel", "side_buttons"]},
        {"mouse": "relative", "mouse_scale": 1.0, "keep_duplicates": True},
    ],
    ids=lambda o: next(iter(o)),
)
def test_options_equal_the_slow_oracle(tmp_path, options):
    recordings = make_messy(tmp_path, 2)
    dataset = read_dataset(convert_folder(tmp_path, **options))
    assert_equals_oracle(dataset, recordings, **options)
    assert picture_numbers(dataset) == dataset.hf_dataset.with_format("numpy")["recording.frame_index"][:].tolist()
    space = ActionSpace(options.get("mouse", "absolute"), extra=options.get("extra_channels", ()))
    assert dataset.meta.features["action"]["names"] == list(space.channels)


def test_scale_of_a_captured_mouse_is_measured_recorded_and_what_lies_beyond_is_counted(tmp_path):
    ticks = regular_ticks(1100)
    moves = [{"ts": tick, "kind": "mousedelta", "dx": 1 + i % 20, "dy": -(i % 7)} for i, tick in enumerate(ticks)]
    moves[500]["dx"] = 900
    make_recording(tmp_path / "raw/a", ticks, moves)
    config = convert_folder(tmp_path, mouse="relative")
    [record] = read_records(config.root)
    assert record["options"]["mouse_scale"] == 20
    assert record["counts"]["mouse_rows_clipped"] == 1
    actions = np.array(read_dataset(config).hf_dataset["action"])[:, :2]
    wanted = np.array([[move["dx"] / 20, move["dy"] / 20] for move in moves])
    wanted[500, 0] = 1
    np.testing.assert_array_equal(actions, np.float32(wanted))
    assert "20 counts of the mouse make 1" in (config.root / "README.md").read_text()
    # What is added later has the same scale.
    make_recording(tmp_path / "raw/b", ticks[:20], [{**move, "dx": 2 * move["dx"]} for move in moves[:20]])
    convert_folder(tmp_path, mouse="relative")
    assert [record["options"]["mouse_scale"] for record in read_records(config.root)] == [20, 20]
    assert [record["counts"]["mouse_rows_clipped"] for record in read_records(config.root)] == [1, 10]


def test_every_episode_is_accounted_for(tmp_path):
    recordings = make_messy(tmp_path, 2, player="Åsa")
    config = convert_folder(tmp_path)
    records = [json.loads(line) for line in (config.root / "meta/recordings.jsonl").read_text().splitlines()]
    assert [record["source"] for record in records] == ["part 0/episode_0", "part 1/episode_1"]
    for index, (record, raw) in enumerate(zip(records, recordings, strict=True)):
        assert record["episode_index"] == index
        assert record["meta"] == raw.meta
        assert record["schema_version"] == 1
        assert record["options"]["mouse"] == "absolute" and record["options"]["repair"] == []
        counts = record["counts"]
        assert counts["video_frames"] == len(raw.frame_ticks)
        assert counts["rows"] == len(set(raw.frame_ticks)) == counts["video_frames"] - counts["duplicates_dropped"]
        assert sum(counts["by_kind"].values()) == len(raw.events)
        assert counts["unknown_kind"] == sum(event["kind"] == "focus" for event in raw.events)


@pytest.mark.parametrize("size", [(65, 47), (10, 8), (64, 48)])
def test_any_canvas_size_works(tmp_path, size):
    make_recording(tmp_path / "raw/e", canvas_w=size[0], canvas_h=size[1])
    dataset = read_dataset(convert_folder(tmp_path))
    assert tuple(dataset[0]["observation.images.screen"].shape) == (3, size[1], size[0])
    assert picture_numbers(dataset, size) == [0, 1, 2, 3]


def test_recording_of_one_frame_works(tmp_path):
    for name in "ab":
        make_recording(tmp_path / "raw" / name, frame_ticks=[5])
    assert picture_numbers(read_dataset(convert_folder(tmp_path))) == [0, 0]


def test_task_option_only_fills_in_for_episodes_without_one(tmp_path):
    make_recording(tmp_path / "raw/a", task="  ")
    make_recording(tmp_path / "raw/b", task="own")
    dataset = read_dataset(convert_folder(tmp_path, task="filled in"))
    assert [dataset[0]["task"], dataset[len(dataset) - 1]["task"]] == ["filled in", "own"]


def test_events_out_of_order_are_converted_on_request(tmp_path):
    ticks, events = messy_ticks_and_events(seed=1)
    shuffled = events[5:] + events[:5]
    raw = make_recording(tmp_path / "raw/e", ticks, shuffled)
    dataset = read_dataset(convert_folder(tmp_path, repair=["order"]))
    ordered = sorted(shuffled, key=lambda event: event["ts"])
    assert_equals_oracle(dataset, [RawRecording(raw.folder, ticks, ordered, raw.meta)])


def test_root_defaults_to_the_place_where_lerobot_looks(tmp_path, monkeypatch):
    monkeypatch.setattr("lerobot.utils.constants.HF_LEROBOT_HOME", tmp_path / "home")
    raw = make_recording(tmp_path / "raw/e")
    summary = convert(ConvertConfig(input=raw.folder, repo_id="tests/default"))
    assert summary.root == tmp_path / "home/tests/default"
    assert (summary.root / "meta/info.json").exists()


def fails(folder: Path, **options) -> str:
    """The message of a conversion that must fail without leaving a dataset, or half of one."""
    before = visible_files(folder)
    with pytest.raises(RecordingError) as caught:
        convert_folder(folder, **options)
    assert visible_files(folder) == before
    return str(caught.value)


def visible_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if ".out.work" not in path.parts)


def quarantine(config: ConvertConfig) -> dict[str, list[str]]:
    lines = (config.root / "audit/quarantine.jsonl").read_text().splitlines()
    return {entry["source"]: entry["problems"] for entry in map(json.loads, lines)}


def make_bad_recordings(raw: Path) -> None:
    make_recording(raw / "bad_1", canvas_h=32)
    (raw / "bad_1/frame_ts.bin").write_bytes(bytes(16))
    (make_recording(raw / "bad_2").folder / "events.jsonl").write_text('{"ts": 1, "kind": "keyup"}')
    (raw / "incomplete").mkdir()
    (raw / "incomplete/meta.json").write_text((raw / "bad_1/meta.json").read_text())


def test_bad_episodes_are_left_out_with_their_reasons(tmp_path):
    make_bad_recordings(tmp_path / "raw")
    good = make_recording(tmp_path / "raw/good")
    config = convert_folder(tmp_path)
    assert_equals_oracle(read_dataset(config), [good])
    missing = "missing; re-export the recording, or remove its folder"
    remedy = "re-export the recording, or pass --repair=[frames]"
    assert quarantine(config) == {
        "bad_1": [f"bad_1/video.mp4: 4 frames, but frame_ts.bin has 2 ticks; {remedy}"],
        "bad_2": ["bad_2/events.jsonl:1: keyup lacks `vk`; correct the line or re-export"],
        "incomplete": [f"incomplete/{name}: {missing}" for name in ("video.mp4", "frame_ts.bin", "events.jsonl")],
    }


@pytest.mark.parametrize("strict", [True, False])
def test_all_bad_episodes_are_named_in_one_error_when_that_is_asked_for_or_none_is_good(tmp_path, strict):
    make_bad_recordings(tmp_path / "raw")
    if strict:
        make_recording(tmp_path / "raw/good")
    problems = fails(tmp_path, strict=strict).splitlines()
    assert len(problems) == 5
    assert problems[0].startswith(f"{tmp_path}/raw/bad_1/video.mp4: 4 frames")
    assert (tmp_path / ".out.work").exists() == strict  # the good one need not be prepared again


def test_canvas_may_be_apart_from_the_size_of_the_video(tmp_path):
    folder = make_recording(tmp_path / "raw/e", events=[{"ts": 0, "kind": "mousemove", "x": 639, "y": 0}]).folder
    (folder / "meta.json").write_text((folder / "meta.json").read_text().replace('"canvas_w": 64', '"canvas_w": 640'))
    dataset = read_dataset(convert_folder(tmp_path))
    assert dataset[0]["observation.images.screen"].shape == (3, 64, 64)
    assert dataset[0]["action"][:2].tolist() == [1, -1]


def test_truncated_video_is_refused(tmp_path):
    video = make_recording(tmp_path / "raw/e").folder / "video.mp4"
    video.write_bytes(video.read_bytes()[:-300])
    assert "video.mp4: damaged or cut off" in fails(tmp_path)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"fps": 20}, "a/meta.json: `fps` is 20, but 10 in the dataset; pass --fps=10, or convert"),
        ({"canvas_w": 32}, "a/video.mp4: pictures are 32×64, but 64×64 in the dataset; pass --size=64x64, or convert"),
    ],
    ids=["fps", "size"],
)
def test_episode_that_does_not_fit_the_others_is_left_out(tmp_path, fields, problem):
    make_recording(tmp_path / "raw/a", **fields)
    for name in "bc":
        make_recording(tmp_path / "raw" / name)
    config = convert_folder(tmp_path)
    assert read_dataset(config).num_episodes == 2
    assert quarantine(config)["a"] == [f"{problem} it to a dataset of its own"]


@pytest.mark.parametrize("source_fps", [10, 29.97, 59.94, 60])
def test_recordings_of_any_rate_and_size_become_rows_of_one(tmp_path, source_fps):
    recordings = []
    for name, width in [("a", 96), ("b", 64)]:
        ticks = regular_ticks(30, fps=source_fps)
        _, events = messy_ticks_and_events(seed=3)
        shift = ticks[0] - events[0]["ts"]
        events = [{**event, "ts": event["ts"] + shift} for event in events]
        recordings.append(make_recording(tmp_path / "raw" / name, ticks, events, fps=source_fps, canvas_w=width))
    config = convert_folder(tmp_path, fps=20, size="80x48")
    dataset = read_dataset(config)
    assert dataset.fps == 20 and dataset[0]["observation.images.screen"].shape == (3, 48, 80)
    assert_equals_oracle(dataset, recordings, fps=20)
    frames = dataset.hf_dataset.with_format("numpy")["recording.frame_index"][:].tolist()
    assert picture_numbers(dataset, (80, 48)) == frames
    findings = verify(tmp_path / "raw", tmp_path / "out", workers=1)
    assert not findings.failed, findings.lines


def test_fractional_frame_rate_is_refused(tmp_path):
    folder = make_recording(tmp_path / "raw/e", fps=29.97).folder
    message = fails(tmp_path)
    assert message.startswith(f"{folder}/meta.json: `fps` is 29.97, but LeRobot knows whole rows")
    assert "pass --fps=30" in message


def test_episode_without_a_task_is_refused(tmp_path):
    folder = make_recording(tmp_path / "raw/e", task="").folder
    assert fails(tmp_path) == f"{folder}/meta.json: no `task`; add the instruction there, or pass --task=TEXT"


def test_ticks_that_lie_centuries_away_are_refused(tmp_path):
    folder = make_recording(tmp_path / "raw/e", frame_ticks=[0, 2**60], qpc_freq=3).folder
    assert fails(tmp_path).startswith(f"{folder}/frame_ts.bin: ticks at qpc_freq 3")


@pytest.mark.parametrize("repo_id", ["../escape", "a/b/c", ""])
def test_bad_repo_id_is_refused(tmp_path, repo_id):
    make_recording(tmp_path / "raw/e")
    with pytest.raises(RecordingError, match=r"--repo_id=.*; give it as USER/NAME"):
        convert(ConvertConfig(input=tmp_path / "raw", repo_id=repo_id, root=tmp_path / "out"))


def test_folder_that_is_no_dataset_is_never_touched(tmp_path):
    make_recording(tmp_path / "raw/e")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    assert fails(tmp_path).startswith(f"{tmp_path}/out: holds no meta/recordings.jsonl")
    assert (tmp_path / "out/precious.txt").read_text() == "mine"


@pytest.mark.parametrize("video", ["copy", "encode"])
def test_episode_whose_frames_cannot_be_decoded_is_left_out(tmp_path, video):
    # No packet tells that its contents are damaged.
    make_recording(tmp_path / "raw/a")
    path = make_recording(tmp_path / "raw/b", regular_ticks(30), movflags="faststart").folder / "video.mp4"
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    config = convert_folder(tmp_path, video=video)
    assert read_dataset(config).num_episodes == 1
    [problem] = quarantine(config)["b"]
    assert problem.startswith("b/video.mp4: ") and "cannot be decoded" in problem


def test_interrupted_conversion_leaves_no_dataset_and_goes_on(tmp_path):
    recordings = [make_recording(tmp_path / f"raw/{index}", regular_ticks(30)) for index in range(20)]
    before = visible_files(tmp_path)

    def interrupt_once_prepared() -> None:
        while not list(tmp_path.glob(".out.work/*.entry")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    # A process started in the background, as tests may be, ignores the signal unless told otherwise.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt_once_prepared, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            convert_folder(tmp_path)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert visible_files(tmp_path) == before
    assert_equals_oracle(read_dataset(convert_folder(tmp_path)), recordings)


def test_second_conversion_at_the_same_place_is_refused_while_the_first_runs(tmp_path):
    make_recording(tmp_path / "raw/e")
    with Workplace(tmp_path / "out").occupy():
        assert fails(tmp_path) == f"{tmp_path}/out: another process is writing it; wait until it is done"


def test_finished_conversion_keeps_others_out_of_its_work_folder_until_it_has_cleaned_up(tmp_path):
    first, second = Workplace(tmp_path / "out"), Workplace(tmp_path / "out")
    with first.occupy():
        first.draft.mkdir()
        first.publish_draft()
        with pytest.raises(RecordingError, match="another process"), second.occupy():
            pass
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_what_a_killed_clean_up_has_left_is_cleaned_up_by_the_next_run(tmp_path):
    make_recording(tmp_path / "raw/e")
    convert_folder(tmp_path)
    (tmp_path / ".out.work").mkdir()
    for name in ("e.entry", "e.episode"):
        (tmp_path / ".out.work" / name).touch()
    convert_folder(tmp_path)
    assert not (tmp_path / ".out.work").exists()


def test_process_that_comes_while_another_cleans_up_keeps_its_work_folder(tmp_path, monkeypatch):
    first, second = Workplace(tmp_path / "out"), Workplace(tmp_path / "out")
    with contextlib.ExitStack() as stack:
        with first.occupy():
            # At the last moment before the first gives the folder up.
            unlink = Path.unlink

            def begin(path: Path, *args, **kwargs) -> None:
                monkeypatch.undo()
                unlink(path, *args, **kwargs)
                stack.enter_context(second.occupy())

            monkeypatch.setattr(Path, "unlink", begin)
        (second.folder / "work").touch()
        with pytest.raises(RecordingError, match="another process"), first.occupy():
            pass


def test_linked_root_stays_a_link(tmp_path):
    make_recording(tmp_path / "raw/a")
    (tmp_path / "big disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "big disk/out")
    convert_folder(tmp_path)
    make_recording(tmp_path / "raw/b")
    assert read_dataset(convert_folder(tmp_path)).num_episodes == 2
    assert (tmp_path / "out").is_symlink()
    assert [path.name for path in (tmp_path / "big disk").iterdir()] == ["out"]


def test_folder_whose_name_is_not_utf8_is_left_out_alone(tmp_path):
    make_recording(tmp_path / "raw/good")
    os.mkdir(os.fsencode(tmp_path / "raw") + b"/caf\xe9")
    for name in EPISODE_FILES:
        os.link(tmp_path / "raw/good" / name, os.fsencode(tmp_path / "raw") + b"/caf\xe9/" + name.encode())
    config = convert_folder(tmp_path)
    assert read_dataset(config).num_episodes == 1
    assert quarantine(config) == {"caf\\udce9": ["caf\\udce9: its name is not UTF-8; rename it"]}


@pytest.mark.parametrize("fps", [1, 240, 1000])
def test_any_rate_of_whole_frames_works(tmp_path, fps):
    for name, n_frames in (("a", 30), ("b", 20)):
        make_recording(tmp_path / "raw" / name, regular_ticks(n_frames, fps), fps=fps)
    dataset = read_dataset(convert_folder(tmp_path))
    assert dataset.fps == fps and picture_numbers(dataset) == [*range(30), *range(20)]


def test_episode_without_events_is_data(tmp_path):
    raw = make_recording(tmp_path / "raw/e", events=[])
    config = convert_folder(tmp_path)
    assert_equals_oracle(read_dataset(config), [raw])
    findings = verify(config.input, config.root, workers=1)
    assert findings.lines == [] and findings.passed["action"] == 4


def test_folder_one_level_up_adds_only_what_is_new(tmp_path):
    make_recording(tmp_path / "all/raw/a")
    convert(ConvertConfig(input=tmp_path / "all/raw", repo_id="tests/converted", root=tmp_path / "out"))
    up = ConvertConfig(input=tmp_path / "all", repo_id="tests/converted", root=tmp_path / "out")
    summary = convert(up)
    assert (len(summary.plan.entries), summary.plan.already_there) == (0, 1)
    assert not (tmp_path / ".out.work").exists()
    make_recording(tmp_path / "all/more/b", regular_ticks(5))
    summary = convert(up)
    assert (len(summary.plan.entries), summary.plan.already_there) == (1, 1)
    assert read_dataset(up).num_episodes == 2


def test_dataset_of_another_version_of_the_actions_is_left_as_it_is(tmp_path):
    make_recording(tmp_path / "raw/a")
    records = convert_folder(tmp_path).root / "meta/recordings.jsonl"
    records.write_text(records.read_text().replace('"schema_version": 1', '"schema_version": 0'))
    make_recording(tmp_path / "raw/b")
    assert "its actions are those of version 0, and this converter writes version 1" in fails(tmp_path)


def test_ten_years_of_uptime_do_not_overflow_the_clock(tmp_path):
    # An uptime of ten years, which does not fit 64 bits when multiplied naively.
    uptime = 10 * 365 * 86_400 * FREQ
    raw = make_recording(tmp_path / "raw/e", [uptime, uptime + FREQ // 10, uptime + 3600 * FREQ])
    dataset = read_dataset(convert_folder(tmp_path))
    assert_equals_oracle(dataset, [raw])
