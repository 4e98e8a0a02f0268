"""qwenvla-record --window on a real window of an X server, in processes of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lerobot_qwenvla
from recordings_to_lerobot import cli as converter
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX
from recordings_to_lerobot.actions.encoding import normalize_px
from recordings_to_lerobot.alignment.labels import label_recording
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.recordings.recording import read_recording
from recordings_to_lerobot.video.probe import check_video
from tests.virtual_screen import BOX, Game, virtual_desktop, wait_until

LEFT, TOP, WIDTH, HEIGHT = BOX
FPS = 20
RECORDER = f"""
import sys, types
# The package imports LeRobot, which takes longer than all that is tested here, and the recorder needs none of it.
sys.modules["lerobot_qwenvla"] = types.ModuleType("lerobot_qwenvla")
sys.modules["lerobot_qwenvla"].__path__ = {list(lerobot_qwenvla.__path__)}
from lerobot_qwenvla.recorder import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    with virtual_desktop(tmp_path_factory.mktemp("screen")) as screen:
        yield screen


@pytest.fixture(scope="module")
def game(screen):
    with contextlib.closing(Game()) as game:
        yield game


class Recorder:
    """The command in its process."""

    def __init__(self, output, *options):
        always = ["--window=A game", "--task=do as I do", f"--output={output}", f"--fps={FPS}", "--countdown_s=0"]
        self.output = output
        self._process = subprocess.Popen(
            [sys.executable, "-c", RECORDER, *always, *options],
            env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_for_frames(self, n_frames):
        """The folder of the draft, once so many frames are in it."""

        def draft():
            assert self._process.poll() is None, self._process.communicate()[1]
            files = list(self.output.glob(".*/frame_ts.bin"))
            return files[0].parent if files and files[0].stat().st_size >= 8 * n_frames else None

        return wait_until(draft)

    def stop(self, number=signal.SIGINT):
        self._process.send_signal(number)
        return self.end()

    def end(self):
        """Exit code and what it printed, when it ends by itself."""
        out, err = self._process.communicate(timeout=120)
        return self._process.returncode, out, err


def label(folder):
    recording = read_recording(folder)
    check_video(folder / "video.mp4", len(recording.frame_ticks))
    return recording, label_recording(recording, LabelOptions())


def keys_down(folder):
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {event["vk"] for event in events if event["kind"] == "keydown"}


def test_labels_are_what_was_done_within_one_frame(screen, game, tmp_path):
    recorder = Recorder(tmp_path / "recordings")
    recorder.wait_for_frames(5)
    sent = []  # (began_s, ended_s, channel, value)

    def do(commands, channel, value):
        began_s = time.perf_counter()
        screen.do(commands)
        sent.append((began_s, time.perf_counter(), channel, float(value)))

    for _ in range(3):
        do("keydown w", "key.w", True)
        time.sleep(0.23)
        do(f"mousemove {LEFT + 300} {TOP + 75}", "mouse.x", normalize_px(300, WIDTH))
        do("mousedown 1", "button.left", True)
        time.sleep(0.17)
        do("mouseup 1", "button.left", False)
        do("keyup w", "key.w", False)
        do(f"mousemove {LEFT + 100} {TOP + 75}", "mouse.x", normalize_px(100, WIDTH))
        time.sleep(0.31)
    code, out, err = recorder.stop()
    assert code == 0, err
    assert "Recorded 1 episodes" in out
    recording, rows = label(tmp_path / "recordings" / "episode_000000")
    assert (recording.meta.canvas_w, recording.meta.canvas_h) == (WIDTH, HEIGHT)
    assert recording.meta.task == "do as I do"
    frame_s = recording.frame_ticks / recording.meta.qpc_freq
    for began_s, ended_s, channel, value in sent:
        # In the frame in which it was done, or the one before, or the one after it.
        first, last = np.searchsorted(frame_s, [began_s, ended_s]) - 1
        labels = rows.action[max(first - 1, 0) : last + 2, CHANNEL_INDEX[channel]]
        assert np.isclose(labels, value, atol=1e-6).any(), (channel, labels)
    for channel in ("key.w", "button.left"):
        held = rows.action[:, CHANNEL_INDEX[channel]]
        assert (np.diff(held, prepend=0.0) > 0).sum() == 3


def test_the_hotkey_parts_episodes_and_is_in_none(screen, game, tmp_path):
    recorder = Recorder(tmp_path, "--episodes=2")
    recorder.wait_for_frames(3)
    screen.do("key q key F9")
    wait_until(lambda: (tmp_path / "episode_000000").exists())
    screen.do("key e sleep 0.2 key F9")
    recorder.wait_for_frames(3)
    screen.do("key r key F9")
    assert recorder.end()[0] == 0
    codes = [keys_down(tmp_path / name) for name in ("episode_000000", "episode_000001")]
    assert codes == [{ord("Q")}, {ord("R")}]


def test_idle_time_ends_an_episode_and_input_begins_another(screen, game, tmp_path):
    recorder = Recorder(tmp_path, "--idle_s=0.5")
    wait_until(lambda: (tmp_path / "episode_000000").exists())
    screen.do("key q")
    wait_until(lambda: (tmp_path / "episode_000001").exists())
    assert recorder.stop()[0] == 0
    label(tmp_path / "episode_000001")


def test_killed_nothing_is_lost_but_the_last_moment(screen, game, tmp_path):
    output = tmp_path / "recordings"
    recorder = Recorder(output)
    recorder.wait_for_frames(3)
    screen.do("keydown w sleep 0.3 keyup w")
    draft = recorder.wait_for_frames(15)
    recorder.stop(signal.SIGKILL)
    n_ticks = (draft / "frame_ts.bin").stat().st_size // 8
    assert not (output / "episode_000000").exists()

    again = Recorder(output)
    wait_until(lambda: (output / "episode_000000").exists())
    again.wait_for_frames(1)
    code, out, err = again.stop()
    assert code == 0, err
    assert f"Finished {output / 'episode_000000'}" in out
    recording, rows = label(output / "episode_000000")
    assert n_ticks - 2 <= len(recording.frame_ticks) <= n_ticks
    assert rows.action[:, CHANNEL_INDEX["key.w"]].any()
    assert json.loads((output / "episode_000000" / "meta.json").read_text())["interrupted"] is True
    arguments = ["convert", f"--input={output}", "--repo_id=tests/window", f"--root={tmp_path / 'dataset'}"]
    assert converter.main(arguments) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window=No such game", "--task=x"], "no window has it"),
        (["--region=[0, 0, 5000, 50]", "--task=x"], "not all on the screen"),
        (["--window=A game"], "task"),
        (["--window=A game", "--task=x", "--fps=0"], "--fps above 0"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(screen, game, tmp_path, options, message):
    command = [sys.executable, "-c", RECORDER, f"--output={tmp_path / 'recordings'}", *options]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "recordings").exists()
