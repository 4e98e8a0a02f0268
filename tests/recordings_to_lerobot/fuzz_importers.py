"""Damages the files of other recorders at random and converts them: each ends in the dataset or in quarantine.

    python tests/recordings_to_lerobot/fuzz_importers.py [--format owamcap] [--cases 1000] [--seed 0]

As `fuzz_conversions.py` does with our own files; without --format, of all recorders in turn, so many cases of each.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fuzz_conversions import BATCH, check_batch, damage
from importers.foreign_recordings import MS, T0_NS, vpt_step, write_ducktrack, write_owamcap, write_owl, write_vpt
from mcap.reader import make_reader
from mcap.writer import Writer

FORMATS = ("owamcap", "owl", "vpt", "ducktrack")
_VIDEOS = (".mp4", ".mkv")


def make_templates(folder: Path, format_: str) -> list[Path]:
    """Sound recordings of a recorder, of different kinds."""
    rng = random.Random(1)
    times_ms = sorted(rng.uniform(-60, 320) for _ in range(20))
    for index in range(4):
        path = folder / f"{format_} {index}"
        match format_:
            case "owamcap":
                version = ["0.3.2", "0.4.2", "0.5.1", "0.5.1"][index]
                inputs = [(ms, *_owamcap_input(rng, has_mouse=index != 3)) for ms in times_ms]
                write_owamcap(path, inputs, version=version, without_message=(5,) if index == 1 else ())
            case "owl":
                rows = [(ms, *_owl_row(rng)) for ms in times_ms]
                start = [(-80, "START", {"inputs": {"keyboard": [87], "mouse": [1]}})]
                video = [(0, "VIDEO_START", [])] if index else []
                write_owl(path, [*start, *video, *rows], quoting=["doubled", "single", "none", "doubled"][index])
            case "vpt":
                stuck = {"buttons": (0,), "new_buttons": (0,)} if index == 2 else {}
                write_vpt(path, [vpt_step(**stuck), *(_vpt_step(rng) for _ in range(5 + index))], n_frames=6)
            case _:
                pauses = ((120, 1500),) if index == 3 else ()
                write_ducktrack(path, [(ms, _duck_line(rng)) for ms in times_ms], pauses_ms=pauses)
    return sorted(folder.glob(f"{format_} *"))


def _owamcap_input(rng: random.Random, has_mouse: bool) -> tuple[str, dict]:
    place = {"x": rng.randint(90, 180), "y": rng.randint(190, 260)}
    raw = {"last_x": rng.randint(-9, 9), "last_y": rng.randint(-9, 9), "us_flags": 0}
    raw |= {"button_flags": rng.choice([0, 1, 2, 0x400]), "button_data": 120}
    choices = [
        ("keyboard", {"event_type": rng.choice(["press", "release"]), "vk": rng.choice([87, 65, 84])}),
        ("keyboard/state", {"buttons": rng.sample([87, 65, 16], 1)}),
        ("mouse/raw", raw),
        ("gamepad", {"left": 1}),
    ]
    if has_mouse:
        click = {"event_type": "click", **place, "button": rng.choice(["left", "x1"]), "pressed": rng.random() < 0.5}
        choices += [
            ("mouse", {"event_type": "move", **place}),
            ("mouse", click),
            ("mouse/state", {**place, "buttons": rng.sample(["left", "right"], 1)}),
        ]
    return rng.choice(choices)


def _owl_row(rng: random.Random) -> tuple[str, object]:
    return rng.choice(
        [
            ("KEYBOARD", [rng.choice([87, 65, 200]), rng.random() < 0.5]),
            ("MOUSE_BUTTON", [rng.choice([1, 2, 6]), rng.random() < 0.5]),
            ("MOUSE_MOVE", [rng.randint(-50, 50), rng.randint(-50, 50)]),
            ("SCROLL", [120]),
            ("GAMEPAD_AXIS", [1, 0.5]),
        ]
    )


def _vpt_step(rng: random.Random) -> dict:
    return vpt_step(
        keys=tuple(rng.sample(["key.keyboard.w", "key.keyboard.left.shift", "key.keyboard.4"], rng.randint(0, 2))),
        buttons=tuple(rng.sample([0, 1, 2], rng.randint(0, 1))),
        xy=(rng.uniform(0, 1280), rng.uniform(0, 720)),
        dxy=(rng.randint(-9, 9), rng.randint(-9, 9)),
        is_gui_open=rng.random() < 0.5,
        hotbar=rng.choice([0, 0, 3, 8]),
    )


def _duck_line(rng: random.Random) -> dict:
    place = {"x": rng.uniform(0, 130), "y": rng.uniform(0, 96)}
    return rng.choice(
        [
            {"action": "move", **place},
            {"action": "click", **place, "button": "left", "pressed": rng.random() < 0.5},
            {"action": "scroll", **place, "dx": 0, "dy": rng.choice([-1, 1])},
            {"action": rng.choice(["press", "release"]), "name": rng.choice(["w", "shift", None, "ü"])},
        ]
    )


def damage_messages(path: Path, rng: random.Random) -> None:
    """Damages a log whose bytes are sound: messages that are changed, lost, doubled, or of another time."""
    with path.open("rb") as file:
        messages = [(channel.topic, m.log_time, m.data) for _, channel, m in make_reader(file).iter_messages()]
    for _ in range(rng.choice([1, 1, 2, 5])):
        index = rng.randrange(len(messages)) if messages else None
        if index is None:
            break
        topic, log_time, data = messages[index]
        match rng.randrange(6):
            case 0:
                del messages[index]
            case 1:
                messages.insert(index, messages[rng.randrange(len(messages))])
            case 2:
                shift = rng.choice([-1, 1]) * rng.choice([1, 30, 10_000]) * MS
                messages[index] = (topic, max(0, log_time + shift), data)
            case 3:
                kept = rng.choice(sorted({topic for topic, *_ in messages}))
                messages = [each for each in messages if each[0] != kept]
            case _:
                messages[index] = (topic, log_time, damage(data, rng))
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="owa", library="fuzz")
        schema = writer.register_schema(name="any", encoding="jsonschema", data=b"{}")
        topics = {topic for topic, *_ in messages}
        channels = {topic: writer.register_channel(topic, "json", schema) for topic in sorted(topics)}
        for topic, log_time, data in messages:
            writer.add_message(channels[topic], log_time=log_time, publish_time=T0_NS, data=data)
        writer.finish()


def make_batch(folder: Path, templates: list[Path], n_cases: int, rng: random.Random) -> set[str]:
    """Damaged recordings, and sound ones that show to what dataset they belong; the names of those with bad videos."""
    bad_videos = set()
    for template in templates[:2]:
        shutil.copytree(template, folder / f"sound {template.name}")
    for case in range(n_cases):
        target = folder / f"case {case}"
        shutil.copytree(rng.choice(templates), target)
        # The logs are where the importers are; videos are damaged by the thousand in `fuzz_conversions.py`.
        path = rng.choice(
            [file for file in sorted(target.iterdir()) if file.suffix not in _VIDEOS or rng.random() < 0.2]
        )
        change: Callable[[Path, random.Random], object] = _damage_bytes
        if path.suffix == ".mcap" and rng.random() < 0.7:
            change = damage_messages
        change(path, rng)
        bad_videos |= {target.name} if path.suffix in _VIDEOS else set()
    return bad_videos


def _damage_bytes(path: Path, rng: random.Random) -> None:
    path.write_bytes(damage(path.read_bytes(), rng))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    wrong: list[str] = []
    outcomes: dict[str, Counter[str]] = {}
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for format_ in [options.format] if options.format else FORMATS:
            templates = make_templates(Path(temporary) / "templates", format_)
            outcomes[format_] = Counter()
            for first in range(0, options.cases, BATCH):
                batch = Path(temporary) / "batch"
                bad_videos = make_batch(batch / "raw", templates, min(BATCH, options.cases - first), rng)
                started_s = time.monotonic()
                batch_outcomes, batch_wrong = check_batch(batch / "raw", bad_videos, task="play")
                slowest_s = max(slowest_s, time.monotonic() - started_s)
                outcomes[format_] += batch_outcomes
                wrong += batch_wrong
                if batch_wrong:
                    print("\n".join(batch_wrong), file=sys.stderr)
                shutil.rmtree(batch)
                print(format_, first + BATCH, dict(outcomes[format_]), len(wrong), file=sys.stderr)
    print(json.dumps({"cases": options.cases, "outcomes": outcomes, "wrong": wrong, "slowest_batch_s": slowest_s}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
