"""The converter against LeRobot's plain `add_frame`/`save_episode`: speed, memory, and growth.

    python benchmarks/convert.py [--episodes 200] [--alternations 5]

Copying, encoding and `add_frame` take turns over the same recordings of Miniworld; all encode with LeRobot's default
settings. The ratios are medians over the alternations. Prints one JSON line.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

SIZE_PX = 384
FPS = 10
FREQ = 10_000_000
DIFFERENT_VIDEOS = 4
EVENTS_PER_FRAME = 4


def make_videos(folder: Path, n_frames: int) -> list[Path]:
    """Recordings of a player who turns and walks at random, encoded as the project's own recorder does."""
    from lerobot_qwenvla.miniworld.environment import MiniworldEnv
    from lerobot_qwenvla.recorder.recording_writer import RecordingWriter
    from recordings_to_lerobot.actions.encoding import action_vector

    env = MiniworldEnv(canvas_w=SIZE_PX, canvas_h=SIZE_PX, episode_length=n_frames + 1)
    for seed in range(DIFFERENT_VIDEOS):
        rng = np.random.default_rng(seed)
        observation, _ = env.reset(seed=seed)
        with RecordingWriter(folder / f"{seed}", (SIZE_PX, SIZE_PX), FPS) as writer:
            for frame in range(n_frames):
                writer.add_frame(observation["pixels"]["screen"], frame * FREQ // FPS)
                # Steps aside and back, so that it never reaches the goal, which would end the episode.
                keys = {"a"} if frame // 5 % 2 else {"d"}
                observation, *_ = env.step(action_vector((float(rng.uniform(-1, 1)), 0.0), keys=keys))
            writer.finish({})
    env.close()
    return [folder / f"{seed}" / "video.mp4" for seed in range(DIFFERENT_VIDEOS)]


def make_recordings(folder: Path, videos: list[Path], n_episodes: int, n_frames: int) -> Path:
    """A folder of episodes; they share a few videos, linked so that a thousand fit the disk."""
    period = FREQ // FPS
    ticks = np.arange(n_frames, dtype="<i8") * period
    rng = np.random.default_rng(0)
    for index in range(n_episodes):
        episode = folder / f"episode_{index:04d}"
        episode.mkdir(parents=True)
        os.link(videos[index % len(videos)], episode / "video.mp4")
        (episode / "frame_ts.bin").write_bytes(ticks.tobytes())
        times = np.sort(rng.integers(0, n_frames * period, n_frames * EVENTS_PER_FRAME)).tolist()
        with (episode / "events.jsonl").open("w") as events:
            for i, ts in enumerate(times):
                event = {"ts": ts, "kind": "mousemove", "x": i % SIZE_PX, "y": 100}
                if i % 10 == 0:
                    event = {"ts": ts, "kind": "keydown" if i % 20 else "keyup", "vk": 87}
                events.write(json.dumps(event) + "\n")
        meta = {"fps": FPS, "canvas_w": SIZE_PX, "canvas_h": SIZE_PX, "qpc_freq": FREQ, "task": "walk", "seed": index}
        (episode / "meta.json").write_text(json.dumps(meta))
    return folder


def time_convert(recordings: Path, video: str) -> float:
    """Seconds for a conversion of all recordings in a folder."""
    from recordings_to_lerobot.conversion.options import ConvertConfig
    from recordings_to_lerobot.conversion.run import convert

    with tempfile.TemporaryDirectory() as folder:
        started_s = time.perf_counter()
        summary = convert(ConvertConfig(input=recordings, repo_id="a/b", root=Path(folder) / "out", video=video))
        elapsed_s = time.perf_counter() - started_s
    assert len(summary.plan.entries) == len(list(recordings.iterdir())) and not summary.plan.problems
    return elapsed_s


def time_add_frame(recordings: Path) -> float:
    """Seconds for the same rows written frame by frame, as a converter is usually written with LeRobot."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from recordings_to_lerobot.alignment.labels import label_recording
    from recordings_to_lerobot.alignment.options import LabelOptions
    from recordings_to_lerobot.dataset.writer import features
    from recordings_to_lerobot.importers.formats import find_recordings
    from recordings_to_lerobot.recordings.recording import read_recording

    with tempfile.TemporaryDirectory() as folder:
        started_s = time.perf_counter()
        dataset = None
        for episode in find_recordings(recordings):
            recording = read_recording(episode)
            labels = label_recording(recording, LabelOptions())
            if dataset is None:
                schema = features((SIZE_PX, SIZE_PX), labels.channels)
                dataset = LeRobotDataset.create("a/b", FPS, schema, root=Path(folder) / "out", video_backend="pyav")
            with av.open(episode / "video.mp4") as container:
                for row, frame in enumerate(container.decode(video=0)):
                    dataset.add_frame(
                        {
                            "observation.images.screen": frame.to_ndarray(format="rgb24"),
                            "observation.state": labels.state[row],
                            "action": labels.action[row],
                            "recording.frame_index": labels.timeline.frame_index[row : row + 1],
                            "recording.timestamp_ms": labels.timeline.frame_ns[row : row + 1] / 1e6,
                            "task": recording.meta.task,
                        }
                    )
            dataset.save_episode()
        dataset.finalize()
        return time.perf_counter() - started_s


def peak_memory_mb(recordings: Path, video: str) -> float:
    """Most memory that a conversion in a process of its own holds at a time, its workers included."""
    import psutil

    code = f"import benchmarks.convert as b, pathlib; b.time_convert(pathlib.Path({str(recordings)!r}), {video!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        held = 0
        for member in [watched, *watched.children(recursive=True)]:
            # Unique to the process: what forked processes share counts once.
            try:
                held += member.memory_full_info().uss
            except psutil.Error:
                continue
        peak = max(peak, held)
        time.sleep(0.05)
    assert process.returncode == 0
    return peak / 1e6


def measure(folder: Path, options: argparse.Namespace) -> dict:
    """All figures, from recordings made in `folder`."""
    videos = make_videos(folder / "videos", options.frames)
    everything = make_recordings(folder / "everything", videos, options.episodes, options.frames)
    # As many as keep each turn of the slower ways to some seconds; time grows linearly, as shown below.
    some = make_recordings(folder / "some", videos, 8, options.frames)
    few = make_recordings(folder / "few", videos, 2, options.frames)
    time_convert(few, "copy")  # imports LeRobot
    frames_per_s: dict[str, list[float]] = {"copy": [], "encode": [], "add_frame": []}
    for turn in range(options.alternations):
        frames_per_s["add_frame"].append(2 * options.frames / time_add_frame(few))
        frames_per_s["encode"].append(8 * options.frames / time_convert(some, "encode"))
        frames_per_s["copy"].append(options.episodes * options.frames / time_convert(everything, "copy"))
        print(turn, {way: round(values[-1]) for way, values in frames_per_s.items()}, file=sys.stderr)
    ratios = {
        way: [a / b for a, b in zip(frames_per_s[way], frames_per_s["add_frame"], strict=True)]
        for way in ("copy", "encode")
    }
    long_videos = make_videos(folder / "long videos", 10 * options.frames)
    long = make_recordings(folder / "long", long_videos, 2, 10 * options.frames)
    memory_mb = {way: [peak_memory_mb(few, way), peak_memory_mb(long, way)] for way in ("copy", "encode")}
    growth_s = {}
    for n_episodes in options.growth:
        recordings = make_recordings(folder / f"growth {n_episodes}", videos, n_episodes, options.frames)
        growth_s[n_episodes] = time_convert(recordings, "copy")
    slope, _ = np.polyfit(np.log(list(growth_s)), np.log(list(growth_s.values())), 1)
    return {
        "copy_vs_add_frame": round(statistics.median(ratios["copy"]), 1),
        "encode_vs_add_frame": round(statistics.median(ratios["encode"]), 2),
        "ratios": {way: [round(ratio, 2) for ratio in values] for way, values in ratios.items()},
        "frames_per_s": {way: round(statistics.median(values)) for way, values in frames_per_s.items()},
        "peak_memory_mb": {way: [round(mb) for mb in values] for way, values in memory_mb.items()},
        "memory_of_ten_times_longer_episodes": {way: round(b / a, 2) for way, (a, b) in memory_mb.items()},
        "growth_s": {n: round(seconds, 1) for n, seconds in growth_s.items()},
        "growth_exponent": round(float(slope), 2),
        "frames_per_episode": options.frames,
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--alternations", type=int, default=5)
    parser.add_argument("--growth", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as folder:
        print(json.dumps(measure(Path(folder), options)))


if __name__ == "__main__":
    main()
