"""Sessions in a real window, with a mouse and a keyboard of the X server."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import lerobot_qwenvla
from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.system_packages import WINDOW
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS
from recordings_to_lerobot.actions.encoding import action_vector, normalize_px
from tests.virtual_screen import Screen

pytestmark = pytest.mark.skipif(not WINDOW.is_there(), reason=WINDOW.remedy())

CANVAS_PX, WINDOW_PX = 64, 768
# In this world the box is straight ahead.
SEED_OF_BOX_AHEAD = 36
W, D = ord("W"), ord("D")

# Pyglet decides once in a process whether it draws on a screen; in this one it may have decided otherwise.
BARE_PACKAGE = f"""
import sys, types
from pathlib import Path

# The package imports LeRobot, which takes longer than all that is tested here, and the recorder needs none of it.
sys.modules["lerobot_qwenvla"] = types.ModuleType("lerobot_qwenvla")
sys.modules["lerobot_qwenvla"].__path__ = {lerobot_qwenvla.__path__}
"""
# Runs of qwenvla-record whose episodes end when they are told to, and which also write down what the environment was
# stepped with.
RECORDER = f"""
{BARE_PACKAGE}
from lerobot_qwenvla.recorder import cli

class LoggingEnv(cli.MiniworldEnv):
    def reset(self, *, seed):
        self.log, self.end = Path(sys.argv[1], str(seed)), Path(sys.argv[1], f"end of {{seed}}")
        self.log.write_bytes(b"")
        return super().reset(seed=seed)

    def step(self, action):
        self.log.write_bytes(self.log.read_bytes() + action.tobytes())
        *result, _, info = super().step(action)
        return *result, self.end.exists(), info

cli.MiniworldEnv = LoggingEnv
sys.exit(max([cli.main(arguments.split()) for arguments in sys.argv[2:]]))
"""
USE_DISPLAY = f"""
{BARE_PACKAGE}
from lerobot_qwenvla.miniworld import worlds

try:
    worlds.use_display()
except worlds.NoDisplayError as error:
    print(error)
"""


def start(display, code, *arguments):
    """Python on a display."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "DISPLAY": display},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Session:
    """The recorder on a screen, run once with each line of arguments."""

    def __init__(self, screen, folder, *runs):
        self.output = folder / "recordings"
        self._screen = screen
        self._actions = folder / "actions"
        self._actions.mkdir()
        always = f"--player=human --canvas={CANVAS_PX} --output={self.output}"
        self._process = start(screen.display, RECORDER, self._actions, *(f"{always} {run}" for run in runs))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.communicate()

    @property
    def window(self):
        return self._screen.ask("search --onlyvisible --name box")

    @property
    def title(self):
        return self._screen.ask("search --onlyvisible --name box getwindowname")

    def wait_for(self, title, timeout_s=90):
        """Wait until the window says so."""
        deadline_s = time.monotonic() + timeout_s
        while title not in self.title:
            assert time.monotonic() < deadline_s, f"the window never said {title!r}"
            assert self._process.poll() is None, self._process.communicate()[1]
            time.sleep(0.05)

    def end_episode(self, seed):
        """The step that the environment is making, or the next one, is its last."""
        (self._actions / f"end of {seed}").touch()

    def end(self):
        """What it printed; it ends by itself."""
        out, err = self._process.communicate(timeout=10)
        assert self._process.returncode == 0, err
        return out.splitlines()

    def folder(self, seed):
        return self.output / f"episode_{seed:06d}"

    def executed(self, seed):
        """Actions the environment was stepped with.  # (N, len(CHANNELS))"""
        return np.fromfile(self._actions / str(seed), dtype=np.float32).reshape(-1, len(CHANNELS))

    def events(self, seed):
        return [json.loads(line) for line in (self.folder(seed) / "events.jsonl").read_text().splitlines()]

    def meta(self, seed):
        return json.loads((self.folder(seed) / "meta.json").read_text())


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    screen = Screen(tmp_path_factory.mktemp("screen"))
    yield screen
    screen.close()


@pytest.fixture(scope="module")
def session(screen, tmp_path_factory):
    """Episode 0 is played to its end, 1 is begun twice, 2 is left in the middle; later one reaches the box."""
    runs = ("--episodes=3 --keep_failures=true", f"--episodes=2 --first_seed={SEED_OF_BOX_AHEAD}")
    with Session(screen, tmp_path_factory.mktemp("session"), *runs) as session:
        session.wait_for("Tap Space to begin: get to the red box in this room (seed 0)")
        session.titles = [session.title]
        session.first_picture = screen.picture()
        screen.do("mousemove 384 384 key space sleep 0.15")
        screen.do("keydown w mousemove 700 200 sleep 0.25 click 1 sleep 0.15 keyup w sleep 0.15 key q")
        screen.do("mousedown 3 sleep 0.25 mousemove 790 790 mouseup 3 sleep 0.15")
        session.end_episode(0)

        session.wait_for("Tap Space to begin: walk to the red box (seed 1)")
        session.titles.append(session.title)
        screen.do("key space sleep 0.15 mousemove 100 100 keydown s sleep 0.15 key BackSpace keyup s")
        session.wait_for("Tap Space to begin: walk to the red box (seed 1)")
        # Held when the episode begins, and still held when the window loses the keyboard.
        screen.do(f"windowfocus --sync {session.window} mousemove 20 30 keydown d sleep 0.1 key space sleep 0.25")
        root = screen.ask("search --maxdepth 0 .*").split()[0]
        screen.do(f"windowfocus {root} sleep 0.25 keyup d windowfocus {session.window}")
        session.end_episode(1)

        session.wait_for("Tap Space to begin: get to the red box in this room (seed 2)")
        screen.do("key space sleep 0.15 key w key Escape")

        session.wait_for(f"(seed {SEED_OF_BOX_AHEAD})")
        screen.do("mousemove 384 384 key space keydown w")
        session.wait_for(f"Tap Space to begin: go to the red box (seed {SEED_OF_BOX_AHEAD + 1})")
        session.titles.append(session.title)
        screen.do("keyup w key Escape")
        session.said = session.end()
        yield session


@pytest.mark.parametrize("seed", [0, 1, SEED_OF_BOX_AHEAD])
def test_executed_is_what_the_converter_reads(session, converted_actions, seed):
    np.testing.assert_array_equal(converted_actions(session.folder(seed)), session.executed(seed))


def rows_with(session, seed, channel):
    return np.flatnonzero(session.executed(seed)[:, CHANNEL_INDEX[channel]]).tolist()


def is_without_a_gap(rows):
    return rows == list(range(rows[0], rows[-1] + 1))


def test_a_held_key_is_down_without_a_gap(session):
    rows = rows_with(session, 0, "key.w")
    assert len(rows) > 1 and is_without_a_gap(rows)
    assert [event["kind"] for event in session.events(0) if event.get("vk") == W] == ["keydown", "keyup"]


def test_a_held_button_is_held(session):
    rows = rows_with(session, 0, "button.right")
    assert len(rows) > 1 and is_without_a_gap(rows)


def test_taps_between_two_frames_are_not_lost(session):
    meta, ticks = session.meta(0), np.fromfile(session.folder(0) / "frame_ts.bin", dtype="<i8")
    assert np.diff(ticks).min() >= meta["qpc_freq"] / meta["fps"]
    assert rows_with(session, 0, "key.q")
    assert rows_with(session, 0, "button.left")


def test_the_mouse_is_where_it_is_on_the_canvas(session):
    x_px, y_px = (at * CANVAS_PX // WINDOW_PX for at in (700, 200))
    mouse = normalize_px(np.array([x_px, y_px]), CANVAS_PX).astype(np.float32)
    assert mouse.tolist() in session.executed(0)[:, :2].tolist()
    # Outside the window, but dragged there.
    np.testing.assert_array_equal(session.executed(0)[-1, :2], [1.0, 1.0])


def test_an_episode_begins_with_what_is_held(session):
    ticks = np.fromfile(session.folder(1) / "frame_ts.bin", dtype="<i8")
    before = [event for event in session.events(1) if event["ts"] < ticks[0]]
    assert [event["kind"] for event in before] == ["mousemove", "keydown"]
    assert (before[0]["x"], before[0]["y"], before[1]["vk"]) == (
        20 * CANVAS_PX // WINDOW_PX,
        30 * CANVAS_PX // WINDOW_PX,
        D,
    )


def test_losing_the_keyboard_releases_its_keys(session):
    rows = rows_with(session, 1, "key.d")
    assert rows[0] == 0 and is_without_a_gap(rows)
    assert rows[-1] < len(session.executed(1)) - 1
    assert [event["kind"] for event in session.events(1) if event.get("vk") == D] == ["keydown", "keyup"]


def test_a_discarded_try_is_not_in_the_recording(session):
    assert ord("S") not in {event.get("vk") for event in session.events(1)}


def test_escape_leaves_only_finished_episodes(session):
    finished = [f"episode_{seed:06d}" for seed in (0, 1, SEED_OF_BOX_AHEAD)]
    assert sorted(path.name for path in session.output.iterdir()) == finished
    for name in finished:
        files = sorted(path.name for path in (session.output / name).iterdir())
        assert files == ["events.jsonl", "frame_ts.bin", "meta.json", "video.mp4"]
    assert [line.split(",")[0] for line in session.said if line.startswith("Recorded")] == [
        "Recorded 2 episodes",
        "Recorded 1 episodes",
    ]


def test_meta_says_that_a_person_played(session):
    meta = session.meta(0)
    assert (meta["player"], meta["seed"], meta["success"], meta["qpc_freq"]) == ("human", 0, False, 10_000_000)
    assert meta["final_pose"].keys() == {"x_m", "z_m", "heading_deg"}


def test_the_window_shows_the_canvas_enlarged(session):
    env = MiniworldEnv(canvas_w=CANVAS_PX, canvas_h=CANVAS_PX)
    canvas = env.reset(seed=0)[0]["pixels"]["screen"].astype(int)
    env.close()
    scale = WINDOW_PX // CANVAS_PX
    shown = session.first_picture[:WINDOW_PX, :WINDOW_PX][scale // 2 :: scale, scale // 2 :: scale]
    assert canvas.std() > 20
    assert np.abs(shown - canvas).mean() < 2


def test_the_title_says_how_the_last_episode_went(session):
    assert [title.partition("Tap Space")[0] for title in session.titles] == [
        "",
        "Missed the goal. ",
        "Reached the goal. ",
    ]
    assert session.meta(SEED_OF_BOX_AHEAD)["success"] is True


@pytest.mark.parametrize("extension", ["GLX", None], ids=["no OpenGL", "no server"])
def test_a_display_that_shows_nothing_is_one_line(tmp_path, extension):
    screen = Screen(tmp_path, *(["-extension", extension] if extension else []))
    if not extension:
        screen.close()
    out, error = start(screen.display, USE_DISPLAY).communicate()
    screen.close()
    assert out.startswith(f"A window needs a display, but {screen.display} (DISPLAY) cannot show one"), error
    assert out.count("\n") == 1


def test_a_robot_plays_in_the_window_and_is_recorded_like_a_person(screen, tmp_path, monkeypatch, converted_actions):
    from lerobot_qwenvla.devices.desktop.config_window_robot import WindowRobotConfig
    from lerobot_qwenvla.devices.desktop.window_robot import WindowRobot
    from lerobot_qwenvla.devices.robot_features import values_of

    monkeypatch.setenv("DISPLAY", screen.display)
    robot = WindowRobot(WindowRobotConfig(window="red box", canvas_w=CANVAS_PX, canvas_h=CANVAS_PX))

    def play(seconds, **held):
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            robot.send_action(values_of(action_vector(**held), CHANNELS))
            time.sleep(0.05)

    with Session(screen, tmp_path, "--episodes=1 --keep_failures=true") as session:
        session.wait_for("Tap Space to begin: get to the red box in this room (seed 0)")
        with robot:
            play(0.2, keys={"space"})
            play(0.2)
            session.wait_for("Backspace: again")
            play(1.0, mouse=normalized(48, 16), keys={"w"})
            assert robot.get_observation()["screen"].std() > 5
            play(0.5, mouse=normalized(16, 48), buttons={"left"})
            assert not robot.is_in_a_persons_hands
        session.end_episode(0)
        session.end()
        executed = session.executed(0)
    np.testing.assert_array_equal(converted_actions(session.folder(0)), executed)
    for channel, place in (("key.w", (48, 16)), ("button.left", (16, 48))):
        rows = executed[executed[:, CHANNEL_INDEX[channel]] > 0]
        assert np.isclose(rows[:, :2], normalized(*place), atol=1e-6).all(1).any()


def normalized(x_px, y_px):
    return tuple(normalize_px(np.array([x_px, y_px]), CANVAS_PX))
