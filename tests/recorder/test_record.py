import json
from dataclasses import asdict
from unittest.mock import ANY

import av
import numpy as np
import pytest

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.recorder.play import SCRIPTED, play_episode
from lerobot_qwenvla.recorder.record import record_episode
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.vocabulary import KEY_CODES

SEEDS = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Folder of each seed's episode, and the steps that were played."""
    env = MiniworldEnv(canvas_w=64, canvas_h=48)
    root = tmp_path_factory.mktemp("recordings")
    episodes = {}
    for seed in SEEDS:
        n_steps, success = record_episode(env, root / str(seed), seed)
        assert success
        steps = list(play_episode(env, SCRIPTED, seed))
        assert len(steps) == n_steps
        episodes[seed] = (root / str(seed), steps)
    env.close()
    return episodes


def read_events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def read_ticks(folder):
    return np.fromfile(folder / "frame_ts.bin", dtype="<i8")


def read_pictures(folder):
    with av.open(folder / "video.mp4") as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def slow_actions(folder):
    """Actions of all kept frames, each channel and frame worked out by itself from the raw files."""
    meta = json.loads((folder / "meta.json").read_text())
    events, starts = read_events(folder), sorted(set(read_ticks(folder).tolist()))
    ends = [*starts[1:], starts[-1] + meta["qpc_freq"] // meta["fps"]]
    actions = np.zeros((len(starts), len(CHANNELS)))
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for channel, size in (("x", "canvas_w"), ("y", "canvas_h")):
            seen = [e[channel] for e in events if e["kind"] == "mousemove" and e["ts"] < end]
            position = 2 * seen[-1] / (meta[size] - 1) - 1 if seen else 0.0
            actions[i, CHANNELS.index(f"mouse.{channel}")] = position
        for key, codes in KEY_CODES.items():
            changes = [e for e in events if e.get("vk") in codes]
            before = [e["kind"] for e in changes if e["ts"] < start]
            pressed = any(e["kind"] == "keydown" for e in changes if start <= e["ts"] < end)
            held = bool(before) and before[-1] == "keydown"
            actions[i, CHANNELS.index(f"key.{key}")] = held or pressed
    return actions.astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_events_say_exactly_what_was_executed(recorded, seed):
    folder, steps = recorded[seed]
    np.testing.assert_array_equal(slow_actions(folder), [step.interval.action for step in steps])


@pytest.mark.parametrize("seed", SEEDS)
def test_each_frame_has_a_tick_and_ticks_never_go_back(recorded, seed):
    folder, steps = recorded[seed]
    ticks = read_ticks(folder)
    assert len(ticks) == len(read_pictures(folder))
    assert (np.diff(ticks) >= 0).all()
    assert sorted(set(ticks.tolist())) == [step.interval.tick for step in steps]


def test_some_frames_are_duplicates_and_show_the_same_picture(recorded):
    n_duplicates = 0
    for folder, _ in recorded.values():
        ticks, pictures = read_ticks(folder), read_pictures(folder)
        for i in np.flatnonzero(np.diff(ticks) == 0):
            n_duplicates += 1
            assert np.abs(pictures[i].astype(int) - pictures[i + 1]).mean() < 2
    assert n_duplicates > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_video_shows_what_was_played(recorded, seed):
    folder, steps = recorded[seed]
    pictures = read_pictures(folder)
    first_of_run = np.flatnonzero(np.diff(read_ticks(folder), prepend=-1))
    kept = np.stack([pictures[i] for i in first_of_run]).astype(int)
    assert np.abs(kept - np.stack([step.screen for step in steps])).mean() < 6


@pytest.mark.parametrize("seed", SEEDS)
def test_events_are_in_order(recorded, seed):
    ts = [event["ts"] for event in read_events(recorded[seed][0])]
    assert ts == sorted(ts)


def test_keys_held_for_long_repeat(recorded):
    for folder, _ in recorded.values():
        meta = json.loads((folder / "meta.json").read_text())
        pressed_tick, repeats = None, 0
        for event in read_events(folder):
            if event["kind"] == "keydown" and pressed_tick is None:
                pressed_tick = event["ts"]
            elif event["kind"] == "keydown":
                repeats += 1
                assert event["ts"] - pressed_tick >= 0.5 * meta["qpc_freq"]
        assert repeats > 0


def test_meta_says_how_it_was_recorded(recorded):
    meta = json.loads((recorded[3][0] / "meta.json").read_text())
    assert meta == {
        "fps": 10,
        "canvas_w": 64,
        "canvas_h": 48,
        "qpc_freq": 10_000_000,
        "offset_ms": 0,
        "task": "get to the red box in this room",
        "env_task": "OneRoom",
        "seed": 3,
        "player": "scripted",
        "success": True,
        "final_pose": ANY,
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_the_recorded_actions_lead_to_the_final_pose(recorded, seed):
    folder, _ = recorded[seed]
    env = MiniworldEnv(canvas_w=16, canvas_h=16)
    env.reset(seed=seed)
    for action in slow_actions(folder):
        env.step(action)
    env.close()
    assert json.loads((folder / "meta.json").read_text())["final_pose"] == asdict(env.pose)


@pytest.mark.parametrize("keep_failure", [False, True])
def test_failures_are_kept_only_if_asked_for(tmp_path, keep_failure):
    env = MiniworldEnv(canvas_w=64, canvas_h=48, episode_length=3)
    n_steps, success = record_episode(env, tmp_path / "episode", seed=0, keep_failure=keep_failure)
    env.close()
    assert (n_steps, success) == (3, False)
    assert [path.name for path in tmp_path.iterdir()] == (["episode"] if keep_failure else [])
    if keep_failure:
        assert json.loads((tmp_path / "episode" / "meta.json").read_text())["success"] is False
