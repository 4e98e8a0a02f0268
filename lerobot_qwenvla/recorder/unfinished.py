"""What a recorder was killed over: makes episodes of it."""

import json
import shutil
from pathlib import Path

import av
from filelock import FileLock, Timeout

from lerobot_qwenvla.recorder.recording_writer import LOCK_FILE, publish
from recordings_to_lerobot.recordings.find import EVENTS_FILE, FRAME_TICKS_FILE, META_FILE, VIDEO_FILE

TICK_BYTES = 8


def finish_unfinished(output: Path) -> list[Path]:
    """Finish the drafts that no running recorder writes; returns their episodes' folders.

    An episode keeps all pictures that reached the disk, each with its tick, and all whole events. Its `meta.json` says
    `interrupted`. A draft without a picture is removed.
    """
    finished = []
    for draft in sorted(output.glob(".*.*/")):
        if (draft / META_FILE).exists() and (draft / LOCK_FILE).exists():
            try:
                with FileLock(draft / LOCK_FILE, timeout=0):
                    folder = _finish(draft)
            except Timeout:
                continue
            finished += [folder] if folder else []
    return finished


def _finish(draft: Path) -> Path | None:
    n_frames = _keep_whole_pictures(draft / VIDEO_FILE)
    if not n_frames:
        shutil.rmtree(draft)
        return None
    with (draft / FRAME_TICKS_FILE).open("r+b") as ticks:
        ticks.truncate(n_frames * TICK_BYTES)
    events = (draft / EVENTS_FILE).read_bytes()
    (draft / EVENTS_FILE).write_bytes(events[: events.rfind(b"\n") + 1])
    meta = json.loads((draft / META_FILE).read_text(encoding="utf-8"))
    (draft / META_FILE).write_text(json.dumps({**meta, "interrupted": True}, indent=2) + "\n", encoding="utf-8")
    folder = draft.with_name(draft.name[1:].rpartition(".")[0])
    publish(draft, folder)
    return folder


def _keep_whole_pictures(video: Path) -> int:
    """Copies the packets that can be read into a file of their own; returns how many these are."""
    whole = video.with_suffix(".whole.mp4")
    n_packets = 0
    try:
        with av.open(video) as source, av.open(whole, "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size and not packet.is_corrupt:
                    packet.stream = stream
                    target.mux(packet)
                    n_packets += 1
    except av.FFmpegError:
        # What comes behind the last whole picture.
        pass
    if n_packets:
        whole.replace(video)
    return n_packets
