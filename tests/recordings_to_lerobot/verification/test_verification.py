"""A dataset as converted passes, and whatever is changed in it or in its recordings is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import FrameTimestampError

from recordings_to_lerobot.actions.channels import CHANNELS, ActionSpace
from recordings_to_lerobot.cli import main
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.verification.dataset import verify
from recordings_to_lerobot.verification.evidence import follow_presses, read_raw_events, rows_touched
from recordings_to_lerobot.verification.findings import Findings
from recordings_to_lerobot.verification.pictures import match_picture
from recordings_to_lerobot.video import packing
from tests.recordings_to_lerobot import slow_oracle
from tests.recordings_to_lerobot.raw_recordings import (
    FREQ,
    make_recording,
    messy_ticks_and_events,
    numbered_picture,
    regular_ticks,
)

FROM_S = "videos/observation.images.screen/from_timestamp"


def make_recordings(folder: Path) -> None:
    """One to be encoded because it has duplicates between two to be copied, and one that cannot be converted."""
    ticks = regular_ticks(20)
    _, events = messy_ticks_and_events(seed=0, n_frames=20)
    shift = ticks[0] - events[0]["ts"]
    make_recording(folder / "a", ticks, [{**event, "ts": event["ts"] + shift} for event in events], offset_ms=-7.5)
    make_recording(folder / "b", *messy_ticks_and_events(seed=1, n_frames=20))
    # No frame for 1.2 s, in which nothing happens but a tap in the middle and something that labels nothing.
    ticks = [*ticks[:6], *(tick + 12 * FREQ // 10 for tick in ticks[6:])]
    times = [0.05, 0.1, 0.8, 1.12, 1.13, 2.5]
    kinds = [{"kind": "mousemove", "x": 5, "y": 6, "buttons": 2}, {"kind": "mousemove", "x": 70, "y": 9, "buttons": 0}]
    kinds += [
        {"kind": "focus"},
        {"kind": "keydown", "vk": 0x57},
        {"kind": "keyup", "vk": 0x57},
        {"kind": "mouseclick", "x": 9, "y": 60},
    ]
    events = [{"ts": ticks[0] + int(time * FREQ), **kind} for time, kind in zip(times, kinds, strict=True)]
    make_recording(folder / "c", ticks, events)
    make_recording(folder / "bad").folder.joinpath("events.jsonl").write_text("{")


def read_records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "out/meta/recordings.jsonl").read_text().splitlines()]


def converted(folder: Path, **options) -> Path:
    make_recordings(folder / "raw")
    convert(ConvertConfig(input=folder / "raw", repo_id="tests/verified", root=folder / "out", **options))
    return folder


def check(folder: Path, **options) -> Findings:
    return verify(folder / "raw", folder / "out", workers=2, **options)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("verified"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


def rewrite(folder: Path, part: str, change: Callable[[dict[str, list]], object]) -> None:
    """Changes the columns of a table of the dataset."""
    [path] = (folder / "out" / part).rglob("*.parquet")
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), path)


def test_dataset_as_converted_passes(original, capsys):
    assert main(["verify", f"--input={original}/raw", f"--root={original}/out"]) == 0
    output = capsys.readouterr()
    assert "episode" not in output.err
    rows = {" ".join(line.split()) for line in output.out.replace("│", " ").splitlines()}
    records = read_records(original)
    assert [record["video"] for record in records] == ["copied", "encoded", "copied"]
    n_rows = [record["counts"]["rows"] for record in records]
    n_events = sum(sum(record["counts"]["by_kind"].values()) for record in records)
    assert {
        "recordings accounted for 4 0",
        "recordings unchanged 3 0",
        f"action {sum(n_rows)} 0",
        f"presses, from raw events {sum(n_rows)} 0",
        f"events in the audit {n_events} 0",
        "frames in the audit 60 0",
        "pictures of copied videos 40 0 identical",
        "rows read one by one 3 0",
    } <= rows
    assert any(row.startswith(f"pictures of encoded videos {n_rows[1]} 0 ") for row in rows)


@pytest.mark.parametrize(
    ("options", "idle_rows"),
    [
        ({"mouse": "delta", "resample": True}, 0),
        ({"idle": "trim", "idle_s": 0.5, "mouse": "delta", "resample": True}, 10),
        ({"video": "encode"}, 0),
        ({"mouse": "relative", "mouse_scale": 10.0, "extra_channels": ["side_buttons", "wheel"]}, 0),
    ],
    ids=["delta", "trim", "encode", "relative"],
)
def test_other_ways_to_convert_pass(tmp_path, options, idle_rows):
    converted(tmp_path, **options)
    findings = check(tmp_path)
    assert findings.lines == [] and not findings.failed
    assert findings.passed["recordings unchanged"] == 3
    assert sum(record["counts"]["idle_rows_dropped"] for record in read_records(tmp_path)) == idle_rows


def test_changed_action_is_found(folder):
    key_w = CHANNELS.index("key.w")

    def press(columns: dict[str, list]) -> None:
        columns["action"][23][key_w] = 1 - columns["action"][23][key_w]

    rewrite(folder, "data", press)
    findings = check(folder)
    assert findings.failed == {"action": 1, "presses, from raw events": 1}
    assert findings.lines[0].startswith("action: episode 1 (b): row 3: key.w is ")


def test_changed_times_are_found(folder):
    def delay(columns: dict[str, list]) -> None:
        columns["recording.timestamp_ms"][5] += 1e-4
        columns["recording.frame_index"][21] += 1

    rewrite(folder, "data", delay)
    findings = check(folder)
    assert findings.failed == {"rows": 2}
    assert [line.split(" is ")[0] for line in findings.lines] == [
        "rows: episode 0 (a): row 5: recording.timestamp_ms",
        "rows: episode 1 (b): row 1: recording.frame_index",
    ]


@pytest.mark.parametrize("episode", [0, 1])
def test_video_shifted_by_one_frame_is_found(folder, episode):
    def shift(columns: dict[str, list]) -> None:
        columns[FROM_S][episode] += 0.1

    rewrite(folder, "meta/episodes", shift)
    findings = check(folder)
    n_rows = findings.passed["action"] - 40 if episode else 20
    assert findings.failed["pictures not off by one"] >= n_rows - 1
    assert findings.failed[f"pictures of {['copied', 'encoded'][episode]} videos"] == n_rows
    assert findings.failed["places of episodes"] == 1


@pytest.fixture
def two_long_recordings(tmp_path: Path) -> Path:
    """The second reaches beyond 1,024 s, and begins at a third of a second."""
    for name, n_frames in (("a", 100), ("b", 3200)):
        make_recording(tmp_path / "raw" / name, regular_ticks(n_frames, fps=3), fps=3, canvas_w=16, canvas_h=16)
    return tmp_path


def convert_long(folder: Path) -> None:
    convert(ConvertConfig(input=folder / "raw", repo_id="tests/long", root=folder / "out", video="copy"))


def test_every_row_of_long_recordings_can_be_read_through_lerobot(two_long_recordings):
    convert_long(two_long_recordings)
    findings = check(two_long_recordings)
    assert findings.lines == [] and findings.passed["pictures of copied videos"] == 3300
    dataset = LeRobotDataset("tests/long", root=two_long_recordings / "out", video_backend="pyav")
    for row in range(3072, 3300, 5):
        dataset[row]


def test_rows_whose_time_lerobot_rounds_beyond_its_tolerance_are_found(two_long_recordings, monkeypatch):
    monkeypatch.setattr(packing, "MAX_SHARED_S", np.inf)
    convert_long(two_long_recordings)
    dataset = LeRobotDataset("tests/long", root=two_long_recordings / "out", video_backend="pyav")
    [said, *_] = check(two_long_recordings).lines
    assert said.startswith("pictures of copied videos: episode 1 (b): row ") and "has no picture" in said
    row = int(said.split("row ")[1].split(":")[0])
    with pytest.raises(FrameTimestampError):
        dataset[100 + row]
    dataset[100 + row - 1]


def test_missing_pictures_are_found(folder):
    def shift(columns: dict[str, list]) -> None:
        columns[FROM_S][2] += 1

    rewrite(folder, "meta/episodes", shift)
    findings = check(folder)
    assert findings.failed["pictures of copied videos"] == 20
    assert "pictures of copied videos: episode 2 (c): row 0: PSNR to frame 0 is " in "\n".join(findings.lines)
    assert "pictures of copied videos: episode 2 (c): and 10 more" in findings.lines


def test_only_the_first_failures_of_a_kind_are_told(folder):
    def erase(columns: dict[str, list]) -> None:
        columns["note"] = [""] * len(columns["note"])
        columns["used"] = [False] * len(columns["used"])

    rewrite(folder, "audit/events", erase)
    findings = check(folder)
    told = [line for line in findings.lines if ": episode 1 (b): " in line]
    assert len(told) == 11 and told[-1].endswith(" more")


def test_missing_audit_rows_are_found(folder):
    def drop(columns: dict[str, list]) -> None:
        for column in columns.values():
            del column[4]

    rewrite(folder, "audit/events", drop)
    rewrite(folder, "audit/frames", drop)
    assert check(folder).lines == [
        "events in the audit: episode 0 (a): line 5 is missing",
        "frames in the audit: episode 0 (a): frame 4 is missing",
    ]


def test_changed_audit_row_is_found(folder):
    def change(columns: dict[str, list]) -> None:
        columns["x_px"] = [x and x + 1 for x in columns["x_px"]]
        columns["line"][1] = columns["line"][0]

    rewrite(folder, "audit/events", change)
    lines = check(folder).lines
    assert "events in the audit: episode 0 (a): line 2 is missing" in lines
    assert "events in the audit: episode 0 (a): line 1.001 is not in the recording" in lines
    assert any(": x_px is " in line for line in lines)


def test_changed_and_missing_recordings_are_found(folder):
    with (folder / "raw/a/meta.json").open("a") as meta:
        meta.write("\n")
    shutil.rmtree(folder / "raw/b")
    shutil.copytree(folder / "raw/c", folder / "raw/new")
    findings = check(folder)
    assert findings.failed == {"recordings accounted for": 1, "recordings unchanged": 2}
    new, changed, gone = findings.lines
    assert new.startswith("recordings accounted for: new: is neither in the dataset nor in audit/quarantine.jsonl")
    assert changed.startswith("recordings unchanged: episode 0 (a):") and ", expected " in changed
    assert gone == f"recordings unchanged: episode 1 (b): {folder}/raw/b is gone"


def test_wrong_statistics_and_splits_are_found(folder, capsys):
    for name, change in (
        ("stats", lambda stats: stats["action"]["max"].__setitem__(0, 9.5)),
        ("info", lambda info: info["splits"].update(train="0:2")),
    ):
        path = folder / "out/meta" / f"{name}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    assert main(["verify", "--input", f"{folder}/raw", "--root", f"{folder}/out", "--episodes=1"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("statistics: channel mouse.x: max of action is 9.5, expected ") for line in lines)
    assert "splits: episode 2: splits is 0, expected 1" in lines


def test_only_some_episodes_are_checked_on_request(original):
    findings = check(original, episodes=2)
    assert findings.passed["recordings unchanged"] == 2 and findings.passed["pictures of copied videos"] == 40


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--input=raw", "--root=raw"], "holds no meta/recordings.jsonl"),
        (["--input=nowhere", "--root=out"], "nowhere: no such folder"),
        (["--input=raw", "--root=out", "--episodes=0"], "--episodes=0: nothing to verify"),
    ],
)
def test_what_the_user_can_repair_is_one_line(original, monkeypatch, capsys, args, complaint):
    monkeypatch.chdir(original)
    assert main(["verify", *args]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_damaged_dataset_is_one_line(folder, capsys):
    (folder / "out/meta/tasks.parquet").unlink()
    assert main(["verify", f"--input={folder}/raw", f"--root={folder}/out"]) == 2
    assert "LeRobot cannot read it" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(30))
def test_presses_from_raw_events_equal_the_slow_oracle(tmp_path, seed):
    ticks, events = messy_ticks_and_events(seed)
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n\n" for event in events))
    meta = {"fps": 10, "qpc_freq": FREQ, "canvas_w": 64, "canvas_h": 64, "offset_ms": 12.5}
    rows = slow_oracle.rows(ticks, meta, resample=seed % 2 == 1)
    states, actions = slow_oracle.labels(rows, events, meta)
    start_ns, end_ns = (np.array([int(row[column] * 1_000_000) for row in rows]) for column in (2, 3))
    key_codes = {name: tuple(codes) for name, codes in slow_oracle.KEYS.items()}
    presses, _ = follow_presses(read_raw_events(path, FREQ, 12.5), ActionSpace(key_codes=key_codes))
    for channel, spans_ns in presses.items():
        column = CHANNELS.index(channel)
        np.testing.assert_array_equal(rows_touched(spans_ns, start_ns, end_ns), np.stack(actions)[:, column])
        np.testing.assert_array_equal(rows_touched(spans_ns, start_ns, start_ns), np.stack(states)[:, column])


def test_picture_is_nearer_to_what_it_shows():
    before, own, after = (numbered_picture(number) for number in (1, 2, 3))
    noise = np.random.default_rng(0).integers(-3, 4, own.shape)
    nearness = [
        match_picture(np.clip(frame + noise, 0, 255).astype(np.uint8), before, own, after).nearness
        for frame in (before, own, after)
    ]
    np.testing.assert_allclose(nearness, [-1, 1, -1], atol=0.1)
    assert match_picture(own, before, own, None).mse == 0
    # A change too small to notice tells nothing.
    darker = own - own // 255
    assert match_picture(darker, None, own, darker).nearness == 1
