"""Small real recordings: a video whose pictures show their own number, ticks, events and metadata."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

FREQ = 10_000_000
SIZE_PX = 64


@dataclass(frozen=True)
class RawRecording:
    folder: Path
    frame_ticks: list[int]
    events: list[dict]
    meta: dict


def numbered_picture(number: int, width: int = SIZE_PX, height: int = SIZE_PX) -> np.ndarray:
    """The eight bits of `number` as black and white fields, which no encoder can blur away."""
    bits = np.array([number >> bit & 1 for bit in range(8)], dtype=np.uint8).reshape(2, 4) * 255
    rows = np.arange(height) * 2 // height
    columns = np.arange(width) * 4 // width
    return np.repeat(bits[rows][:, columns, None], 3, axis=2)


def write_video(
    path: Path,
    n_frames: int,
    width: int = SIZE_PX,
    height: int = SIZE_PX,
    movflags: str = "",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:
    with av.open(path, "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        for number in range(n_frames):
            picture = av.VideoFrame.from_ndarray(numbered_picture(number, width, height), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def regular_ticks(n_frames: int, fps: float = 10) -> list[int]:
    return [7 * FREQ + int(i * FREQ // fps) for i in range(n_frames)]


def make_recording(
    folder: Path,
    frame_ticks: list[int] | None = None,
    events: list[dict] | None = None,
    movflags: str = "",
    **meta,
) -> RawRecording:
    ticks = regular_ticks(4) if frame_ticks is None else frame_ticks
    if events is None:
        events = [{"ts": ticks[0], "kind": "mousemove", "x": 5, "y": 6}]
    meta = {
        "fps": 10,
        "canvas_w": SIZE_PX,
        "canvas_h": SIZE_PX,
        "qpc_freq": FREQ,
        "task": "go",
        **meta,
    }
    folder.mkdir(parents=True)
    write_video(folder / "video.mp4", len(ticks), meta["canvas_w"], meta["canvas_h"], movflags)
    (folder / "frame_ts.bin").write_bytes(np.array(ticks, dtype="<i8").tobytes())
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "meta.json").write_text(json.dumps(meta))
    return RawRecording(folder, ticks, events, meta)


def messy_ticks_and_events(seed: int, n_frames: int = 14) -> tuple[list[int], list[dict]]:
    """Jittered frames with duplicates; taps, auto-repeat, clicks, stray key-ups, positions off the canvas.

    And a captured mouse, a wheel, and buttons that go down and up by themselves.
    """
    rng = random.Random(seed)
    ticks = [3 * FREQ]
    for _ in range(n_frames - 1):
        ticks.append(ticks[-1] + rng.choice([0, FREQ // 10, FREQ // 10 + rng.randint(-90_000, 90_000)]))
    events = []
    tick = ticks[0] - FREQ // 5
    while tick < ticks[-1] + FREQ // 4:
        kind = rng.choice(["mousemove", "mousemove", "mouseclick", "keydown", "keydown", "keyup", "focus"])
        event = {"ts": tick, "kind": kind}
        if kind.startswith("mouse"):
            event |= {"x": rng.randint(-5, 70), "y": rng.choice([rng.randint(0, 63), rng.random() * 63])}
            if rng.random() < 0.6:
                event["buttons"] = rng.randint(0, 7)
        elif kind.startswith("key"):
            event["vk"] = rng.choice([87, 65, 16, 160, 161, 32, 200])
        events.append(event)
        # Now and then exactly at a frame, where off-by-one comparisons show.
        tick = rng.choice([tick, tick + rng.randint(1, 400_000), min([t for t in ticks if t > tick] or [tick + 9])])
    more = random.Random(f"more {seed}")
    for _ in range(len(events) // 2):
        event = {"ts": more.choice([more.choice(ticks), more.choice(events)["ts"]])}
        if more.random() < 0.6:
            event |= {
                "kind": more.choice(["mousedelta", "wheel"]),
                "dx": more.randint(-40, 40),
                "dy": more.random() - 0.5,
            }
        else:
            bit = more.choice([1, 2, 4, 8, 16, 64])
            event |= {"kind": more.choice(["buttondown", "buttonup"]), "button": bit}
        events.append(event)
    return ticks, sorted(events, key=lambda event: event["ts"])
