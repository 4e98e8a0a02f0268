"""Small recordings in the formats of others, written as their recorders do, from lists of their own events."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from mcap.writer import Writer

T0_NS = 1_750_427_723_000_000_000
MS = 1_000_000
PERIOD_MS = 50
SIZE_PX = (64, 48)


def write_numbered_video(path: Path, pts_ms: list[int], size_px: tuple[int, int] = SIZE_PX, codec="libx264") -> None:
    """A video whose pictures show their own number in black and white fields, with a PTS each."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=1000 // PERIOD_MS)
        stream.width, stream.height, stream.pix_fmt = *size_px, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pts in enumerate(pts_ms):
            bits = np.array([number >> bit & 1 for bit in range(8)], dtype=np.uint8).reshape(2, 4) * 255
            rows = np.arange(size_px[1]) * 2 // size_px[1]
            columns = np.arange(size_px[0]) * 4 // size_px[0]
            frame = av.VideoFrame.from_ndarray(np.repeat(bits[rows][:, columns, None], 3, axis=2), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


OWA_SCHEMAS = {
    "0.3.2": {"screen": "owa.env.gst.msg.ScreenEmitted"},
    "0.4.2": {"screen": "desktop/ScreenCaptured"},
    "0.5.1": {"screen": "desktop/ScreenCaptured", "mouse/raw": "desktop/RawMouseEvent"},
}


def screen_message(version: str, utc_ns: int, pts_ns: int, video: str, size_px: tuple[int, int]) -> dict:
    match version:
        case "0.3.2":
            return {"path": video, "pts": pts_ns, "utc_ns": utc_ns}
        case "0.4.2":
            shape = list(size_px)
            return {"utc_ns": utc_ns, "original_shape": shape, "shape": shape, "path": video, "pts": pts_ns}
        case _:
            shape = list(size_px)
            reference = {"uri": video, "pts_ns": pts_ns}
            return {"utc_ns": utc_ns, "source_shape": shape, "shape": shape, "media_ref": reference}


def write_mcap(path: Path, messages: list[tuple[int, str, dict]]) -> None:
    """Messages as (time in ns, topic, content), in any order."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="owa", library="mcap-owa-support 0.5.1")
        channels: dict[str, int] = {}
        for log_time, topic, content in messages:
            if topic not in channels:
                schema = writer.register_schema(name=f"desktop/{topic}", encoding="jsonschema", data=b"{}")
                channels[topic] = writer.register_channel(schema_id=schema, topic=topic, message_encoding="json")
            data = json.dumps(content).encode()
            writer.add_message(channels[topic], log_time=log_time, publish_time=log_time, data=data)
        writer.finish()


def write_owamcap(
    folder: Path,
    inputs: list[tuple[int, str, dict]],
    n_frames: int = 6,
    version: str = "0.5.1",
    name: str = "play",
    without_message: tuple[int, ...] = (),
) -> Path:
    """`inputs` are (ms since the first frame, topic, content); the video shows a window at (100, 200)."""
    folder.mkdir(parents=True, exist_ok=True)
    pts_ms = [10 + PERIOD_MS * number for number in range(n_frames)]
    write_numbered_video(folder / f"{name}.mkv", pts_ms)
    rect = [100, 200, 100 + SIZE_PX[0] + 12, 200 + SIZE_PX[1] + 6]
    messages = [(T0_NS - 5 * MS, "window", {"title": "game", "rect": rect, "hWnd": 1})]
    for number, pts in enumerate(pts_ms):
        utc_ns = T0_NS + number * PERIOD_MS * MS
        message = screen_message(version, utc_ns, pts * MS, f"{name}.mkv", SIZE_PX)
        messages += [] if number in without_message else [(utc_ns + MS // 2, "screen", message)]
    messages += [(T0_NS + round(ms * MS), topic, content) for ms, topic, content in inputs]
    path = folder / f"{name}.mcap"
    write_mcap(path, sorted(messages, key=lambda message: message[0]))
    return path


def write_owl(folder: Path, rows: list[tuple[float, str, object]], n_frames: int = 6, quoting: str = "doubled") -> Path:
    """`rows` are (ms since the first frame, type, arguments)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_numbered_video(folder / "recording.mp4", [PERIOD_MS * number for number in range(n_frames)])
    lines = ["timestamp,event_type,event_args"]
    for ms, kind, args in rows:
        text = json.dumps(args, separators=(",", ":"))
        text = {"doubled": '"' + text.replace('"', '""') + '"', "single": f'"{text}"', "none": text}[quoting]
        lines.append(f"{(T0_NS + round(ms * MS)) / 1e9:.6f},{kind},{text}")
    (folder / "inputs.csv").write_text("\n".join(lines) + "\n")
    (folder / "metadata.json").write_text(json.dumps({"game_exe": "game.exe", "session_id": "one", "duration": 1.0}))
    return folder


def vpt_step(
    keys: tuple[str, ...] = (),
    new_keys: tuple[str, ...] = (),
    buttons: tuple[int, ...] = (),
    new_buttons: tuple[int, ...] = (),
    xy: tuple[float, float] = (640.0, 360.0),
    dxy: tuple[float, float] = (0.0, 0.0),
    is_gui_open: bool = False,
    hotbar: int = 0,
) -> dict:
    mouse = {"x": xy[0], "y": xy[1], "dx": dxy[0], "dy": dxy[1]}
    return {
        "mouse": {**mouse, "buttons": list(buttons), "newButtons": list(new_buttons)},
        "keyboard": {"keys": list(keys), "newKeys": list(new_keys), "chars": ""},
        "isGuiOpen": is_gui_open,
        "hotbar": hotbar,
        "yaw": 0.0,
        "inventory": [{"type": "dirt", "quantity": 1}],
    }


def write_vpt(folder: Path, steps: list[dict], n_frames: int | None = None, name: str = "cheeky-1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    n_frames = len(steps) if n_frames is None else n_frames
    write_numbered_video(folder / f"{name}.mp4", [PERIOD_MS * number for number in range(n_frames)])
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(step) + "\n" for step in steps))
    return path


def write_ducktrack(
    folder: Path,
    lines: list[tuple[float, dict]],
    n_frames: int = 6,
    screen_px: tuple[int, int] = (128, 96),
    pauses_ms: tuple[tuple[float, float], ...] = (),
) -> Path:
    """`lines` are (ms since the first frame, content); the video has half the size of the screen."""
    folder.mkdir(parents=True, exist_ok=True)
    write_numbered_video(folder / "2023-10-20 17-19-53.mp4", [PERIOD_MS * number for number in range(n_frames)])
    start_s = 150160.5
    content = [{"time_stamp": round(start_s + ms / 1000, 9), **line} for ms, line in lines]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    timings = {"OBS_WEBSOCKET_OUTPUT_STARTING": [start_s - 0.01], "OBS_WEBSOCKET_OUTPUT_STARTED": [start_s]}
    for name, index in (("PAUSED", 0), ("RESUMED", 1)):
        if pauses_ms:
            timings[f"OBS_WEBSOCKET_OUTPUT_{name}"] = [start_s + pause[index] / 1000 for pause in pauses_ms]
    metadata = {
        "system": "Windows",
        "screen_width": screen_px[0],
        "screen_height": screen_px[1],
        "scroll_direction": 1,
        "obs_record_state_timings": timings,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


def write_owamcap_example(folder: Path) -> None:
    """Two recordings in which W goes down within the second frame; frames 3 and 5 of the first have no message."""
    click = {"event_type": "click", "x": 106, "y": 200, "button": "left", "pressed": True}
    key = {"event_type": "press", "vk": 87}
    inputs = [(60, "keyboard", key), (110, "mouse", click), (115, "mouse", {**click, "pressed": False})]
    write_owamcap(folder, inputs, name="first", without_message=(3, 5))
    write_owamcap(folder, inputs, name="second", version="0.3.2")


def write_owl_example(folder: Path) -> None:
    """A recording in which W goes down within the second frame, and the left button is held from the start."""
    start = [(-9, "START", {"inputs": {"keyboard": [], "mouse": [1]}}), (0, "VIDEO_START", [])]
    write_owl(folder, [*start, (60, "KEYBOARD", [87, True]), (70, "MOUSE_MOVE", [5, 5]), (80, "SCROLL", [120])])


def write_vpt_example(folder: Path) -> None:
    """A recording in which W is down in the second of five steps, of which the video shows a frame more."""
    steps = [vpt_step(), vpt_step(keys=("key.keyboard.w",)), *[vpt_step(hotbar=1)] * 3]
    write_vpt(folder, steps, n_frames=6)


def write_ducktrack_example(folder: Path) -> None:
    """A recording in which W goes down within the second frame."""
    write_ducktrack(folder, [(60, {"action": "press", "name": "w"}), (70, {"action": "move", "x": 10, "y": 10})])
