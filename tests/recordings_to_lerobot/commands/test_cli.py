import gc
import subprocess
import sys
from pathlib import Path

import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from recordings_to_lerobot.cli import main
from tests.recordings_to_lerobot.raw_recordings import make_recording


def command(folder: Path, *options: str) -> list[str]:
    return [
        "convert",
        f"--input={folder / 'raw'}",
        "--repo_id=tests/cli",
        f"--root={folder / 'out'}",
        *options,
    ]


def test_conversion_ends_with_a_summary_and_the_next_command(tmp_path, capsys):
    ticks = [10_000_000, 11_000_000, 11_000_000, 12_000_000]
    events = [{"ts": ticks[0], "kind": "keydown", "vk": 0x57}, {"ts": ticks[1], "kind": "keyup", "vk": 0x44}]
    make_recording(tmp_path / "raw/e", ticks, events)
    assert main(command(tmp_path)) == 0
    lines = [line.strip("│ ").replace("│", "") for line in capsys.readouterr().out.splitlines()]
    rows = {" ".join(line.split()) for line in lines}
    assert {"episodes 1", "frames 3", "buttons and keys used key.w", "duplicates dropped 1"} <= rows
    assert "unmatched key up 1" in rows
    train = "lerobot-train --policy.type=qwenvla --policy.push_to_hub=false"
    assert lines[-1].strip() == f"{train} --dataset.repo_id=tests/cli --dataset.root={tmp_path}/out"


def test_next_command_trains_on_the_training_episodes_wherever_they_are(tmp_path, capsys):
    for name in "abcd":
        make_recording(tmp_path / "raw" / name)
    assert main(command(tmp_path, "--splits={test: 0.25, train: 0.75}")) == 0
    assert capsys.readouterr().out.rstrip().endswith('--dataset.episodes="[$(seq -s, 1 3)]"')


@pytest.mark.parametrize(
    "options",
    [
        ["--mouse", "delta", "--keep-duplicates", "--resample", "--repair", "[order]"],
        ["--mouse=delta", "--keep_duplicates=true", "--resample=true", "--repair=[order]"],
    ],
)
def test_options_may_be_written_either_way(tmp_path, options, capsys):
    make_recording(tmp_path / "raw/e")
    assert main(command(tmp_path, *options)) == 0
    records = (tmp_path / "out/meta/recordings.jsonl").read_text()
    assert '"resample": true, "keep_duplicates": true, "repair": ["order"]' in records and '"mouse": "delta"' in records


def test_options_may_come_from_a_file_and_be_overridden(tmp_path, capsys):
    make_recording(tmp_path / "raw/e")
    config = tmp_path / "convert.yaml"
    config.write_text(
        f"input: {tmp_path}/raw\nrepo_id: tests/cli\nroot: {tmp_path}/out\nmouse: delta\nresample: true\n"
    )
    assert main(["convert", f"--config_path={config}", "--mouse=absolute"]) == 0
    records = (tmp_path / "out/meta/recordings.jsonl").read_text()
    assert '"mouse": "absolute"' in records and '"resample": true' in records


@pytest.mark.parametrize("task", ["open the door: then leave", "true", "[1]", "play 🎮", 'it\'s "here" # now', "12"])
def test_task_is_taken_literally(tmp_path, task, capsys):
    make_recording(tmp_path / "raw/e", task="")
    assert main(command(tmp_path, f"--task={task}")) == 0
    dataset = LeRobotDataset("tests/cli", root=tmp_path / "out", video_backend="pyav")
    assert dataset.meta.tasks.index.tolist() == [task]


def test_bad_recordings_exit_with_2_and_one_line_each(tmp_path, capsys):
    for name in "ab":
        (make_recording(tmp_path / "raw" / name).folder / "events.jsonl").write_text("{")
    assert main(command(tmp_path)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert [error.split(": broken")[0] for error in errors] == [
        f"recordings-to-lerobot: error: {tmp_path}/raw/{name}/events.jsonl:1" for name in "ab"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_file_that_cannot_be_written_is_one_line_and_publishes_nothing(tmp_path, capsys):
    import resource

    for name in "abc":
        make_recording(tmp_path / "raw" / name, list(range(0, 10_000_000, 1_000_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, before[1]))
    try:
        assert main(command(tmp_path)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    gc.collect()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"recordings-to-lerobot: error: {tmp_path}/.out.work")
    assert said.endswith("make room if the disk is full, and run the same command again")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "unknown command (none); give one of inspect, convert"),
        (["transmogrify"], "unknown command transmogrify"),
        (["convert", "--repo_id=a/b"], "Missing required field(s) `input`"),
        (
            ["convert", "--input=x", "--repo_id=a/b", "--resample=maybe"],
            "`resample`: Couldn't parse 'maybe' into a bool",
        ),
        (["convert", "--config_path=/nowhere.yaml"], "No such file or directory: '/nowhere.yaml'"),
    ],
)
def test_bad_command_line_exits_with_2_and_the_reason(args, complaint, capsys):
    assert main(args) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--mouse=sideways", "--bogus=1"])
def test_bad_option_exits_with_2_and_the_reason(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as caught:
        main(command(tmp_path, option))
    assert caught.value.code == 2
    assert option.split("=")[0].strip("-") in capsys.readouterr().err


def test_module_runs_as_a_command_and_helps_without_loading_lerobot():
    code = (
        "import atexit, runpy, sys; sys.argv[1:] = ['convert', '--help'];"
        "atexit.register(lambda: print('torch' in sys.modules));"
        "runpy.run_module('recordings_to_lerobot', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert "--keep_duplicates" in result.stdout
    assert result.stdout.splitlines()[-1] == "False", "--help must not wait for torch"
