"""Damages the files of recordings at random and converts them: each ends in the dataset or in quarantine.

    python tests/recordings_to_lerobot/fuzz_conversions.py [--cases 5000] [--seed 0]

The dataset of each batch is then verified against the damaged recordings. Prints one JSON line, and exits with 1 if
a recording is unaccounted for, refused without naming its file and a remedy, or wrong in the dataset.
"""

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from raw_recordings import make_recording, messy_ticks_and_events, regular_ticks, write_video

BATCH = 100
FILES = ("video.mp4", "frame_ts.bin", "events.jsonl", "meta.json")
REMEDY = re.compile(r"re-export|re-encode|correct|remove its folder|pass --|write it as|set it to|of its own|add the")
TOKENS = [b"null", b"-1", b"1e999", b"NaN", b'""', b"[]", b"{}", b"9" * 30, b"\xff", b"\x00", b"true", b'"\\ud800"']


def make_templates(folder: Path) -> list[Path]:
    """Sound recordings of different kinds: copied, encoded, fragmented, with one key frame or many."""
    recordings = []
    for index in range(6):
        ticks, events = messy_ticks_and_events(seed=index, n_frames=16)
        movflags = ["", "faststart", "frag_keyframe+empty_moov"][index % 3]
        ticks = regular_ticks(16) if index % 2 else ticks
        recording = make_recording(folder / f"{index}", ticks, events, movflags, offset_ms=index, session=index)
        if index == 5:
            write_video(recording.folder / "video.mp4", 16, codec="libsvtav1", options={"g": "4"})
        recordings.append(recording.folder)
    return recordings


def damage(content: bytes, rng: random.Random) -> bytes:
    """Changes in bytes, in digits, or in whole lines: from garbage to what a careless exporter might write."""
    change = rng.choice([_change_bytes, _change_digits, _change_lines])
    for _ in range(rng.choice([1, 1, 2, 5])):
        content = change(content, rng)
    return content


def _change_bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice([1, 2, 8, 30, 200]))
    match rng.randrange(6):
        case 0:
            data[start:stop] = b""
        case 1:
            data[start:start] = data[start:stop]
        case 2:
            data[start:stop] = rng.randbytes(stop - start)
        case 3:
            data = data[:start]
        case 4:
            data[start:stop] = rng.choice(TOKENS)
        case _:
            if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _change_digits(content: bytes, rng: random.Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+", content))
    if not numbers:
        return content
    number = rng.choice(numbers)
    value = int(number[0])
    new = rng.choice([value + 1, value - 1, -value, value * 10, value // 2, 0, 2**31, 2**63])
    return content[: number.start()] + str(new).encode() + content[number.end() :]


def _change_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[first]
        case 1:
            lines.insert(first, lines[second])
        case 2:
            lines[first], lines[second] = lines[second], lines[first]
        case _:
            lines[first] = lines[first].replace(b"keyup", b"keydown").replace(b"buttons", b"wheel")
    return b"".join(lines)


def make_batch(folder: Path, templates: list[Path], n_cases: int, rng: random.Random) -> set[str]:
    """Damaged recordings, and sound ones that show to what dataset they belong; the names of those with bad videos."""
    bad_videos = set()
    for template in templates[:2]:
        shutil.copytree(template, folder / f"sound {template.name}")
    for case in range(n_cases):
        target = folder / f"case {case}"
        shutil.copytree(rng.choice(templates), target)
        for name in rng.sample(FILES, k=rng.choice([1, 1, 1, 2])):
            path = target / name
            path.write_bytes(damage(path.read_bytes(), rng))
            bad_videos |= {target.name} if name == "video.mp4" else set()
    return bad_videos


def check_batch(folder: Path, bad_videos: set[str], **options) -> tuple[Counter[str], list[str]]:
    """Converts and verifies a batch; what became of its recordings, and what went wrong."""
    from recordings_to_lerobot.conversion.options import ConvertConfig
    from recordings_to_lerobot.conversion.run import convert
    from recordings_to_lerobot.dataset.records import read_records
    from recordings_to_lerobot.verification.dataset import verify

    root = folder.parent / "out"
    summary = convert(ConvertConfig(input=folder, repo_id="a/b", root=root, **options))
    wrong = []
    # The first part of a key, since some recorders' recordings are a file in a folder.
    converted = {entry.key.split("/")[0]: entry for entry in summary.plan.entries}
    refused = {path.relative_to(folder).parts[0]: problems for path, problems in summary.plan.problems.items()}
    for path in folder.iterdir():
        if (path.name in converted) == (path.name in refused):
            wrong.append(f"{path.name} is unaccounted for, or accounted for twice")
    for name, problems in refused.items():
        wrong += [f"{name}: {p}" for p in problems if not p.startswith(str(folder / name)) or not REMEDY.search(p)]
    # What a decoder makes of a damaged picture depends on what it saw before; nothing else may.
    bad_rows: set[int] = set()
    first = 0
    for record in read_records(root):
        rows = range(first, first := first + record["counts"]["rows"])
        bad_rows |= set(rows) if record["source"].split("/")[0] in bad_videos else set()
    for line in verify(folder, root).lines:
        is_about_pictures = line.startswith(("pictures ", "quality ")) or "picture is" in line
        source, row = re.search(r"\((.+?)\)", line), re.search(r"dataset\[(\d+)\]", line)
        is_bad = (source and source[1].split("/")[0] in bad_videos) or (row and int(row[1]) in bad_rows)
        wrong += [] if is_about_pictures and is_bad else [line]
    if left_over := [path.name for path in folder.parent.iterdir() if path.name not in (folder.name, "out")]:
        wrong.append(f"left over: {left_over}")
    outcomes = Counter({"quarantined": len(refused), "converted": len(converted)})
    for entry in converted.values():
        outcomes.update(f"with {name}" for name, count in entry.counts.items() if count and name in REPAIRS)
    return outcomes, wrong


ALL_REPAIRS = ["frames", "order", "keys", "gaps"]
# By which the batches are converted in turn.
WAYS = [
    {},
    {"repair": ALL_REPAIRS},
    {"repair": ALL_REPAIRS, "fps": 15, "size": "48x80", "mouse": "delta"},
    {"repair": ["frames", "order"], "mouse": "relative", "extra_channels": ["side_buttons", "wheel"]},
]
REPAIRS = (
    *("unmatched_key_up", "key_never_released", "position_outside_canvas", "duplicates_dropped", "unknown_kind"),
    *("frames_without_tick", "ticks_without_frame", "released_as_stuck", "in_gap"),
    # of other recorders' files
    *("frame_times_interpolated", "frame_times_put_in_order", "frame_times_without_frame", "frames_without_time"),
    *("steps_without_frame", "gaps_over_1_s", "pauses", "reordered", "video_start_from_recorder_start"),
    *("key_changes_from_state", "button_changes_from_state", "stuck_attack_steps", "wheel_from_hotbar"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        templates = make_templates(Path(temporary) / "templates")
        for first in range(0, options.cases, BATCH):
            batch = Path(temporary) / "batch"
            bad_videos = make_batch(batch / "raw", templates, min(BATCH, options.cases - first), rng)
            started_s = time.monotonic()
            batch_outcomes, batch_wrong = check_batch(batch / "raw", bad_videos, **WAYS[first // BATCH % len(WAYS)])
            slowest_s = max(slowest_s, time.monotonic() - started_s)
            outcomes += batch_outcomes
            wrong += batch_wrong
            if batch_wrong:
                print("\n".join(batch_wrong), file=sys.stderr)
            shutil.rmtree(batch)
            print(first + BATCH, dict(outcomes), len(wrong), file=sys.stderr)
    print(json.dumps({"cases": options.cases, "outcomes": outcomes, "wrong": wrong, "slowest_batch_s": slowest_s}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
