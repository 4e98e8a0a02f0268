"""The dataset card: what the dataset holds, in words."""

from collections import Counter
from pathlib import Path

from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.utils import create_lerobot_dataset_card

from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.dataset.names import (
    EVENTS_FOLDER,
    FRAME_INDEX,
    FRAMES_FOLDER,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    SCREEN,
    TIMESTAMP_MS,
)

TAGS = ["mouse-and-keyboard", "screen-recording"]
_MAX_TASKS = 20
_WHEEL = {"dx": "to the right", "dy": "away from the hand"}
_RELATIVE = {
    "dx": "to the right; {mouse_scale:g} counts of the mouse make 1, where it is clipped",
    "dy": "likewise downwards",
}


def write_card(meta: LeRobotDatasetMetadata, records: list[dict]) -> Path:
    """Writes `README.md` from LeRobot's own template."""
    arguments = card_arguments(meta, records)
    card = create_lerobot_dataset_card(dataset_info=meta.info, repo_id=meta.repo_id, **arguments)
    path = meta.root / "README.md"
    card.save(path)
    return path


def card_arguments(meta: LeRobotDatasetMetadata, records: list[dict], license: str | None = None) -> dict:
    """What LeRobot's template does not know by itself; nobody but the owner can say under which licence."""
    url = f"https://huggingface.co/datasets/{meta.repo_id}"
    owner, _, name = meta.repo_id.rpartition("/")
    author = f"  author = {{{owner}}},\n" if owner else ""
    return {
        "tags": TAGS,
        "license": license,
        "dataset_description": describe(meta, records),
        "url": url,
        "paper": "none",
        "citation_bibtex": f"@misc{{{name},\n  title = {{{name}}},\n{author}  howpublished = {{\\url{{{url}}}}}\n}}",
    }


def describe(meta: LeRobotDatasetMetadata, records: list[dict]) -> str:
    """What a reader must know of the dataset, as Markdown."""
    names = meta.features["action"]["names"]
    height_px, width_px, _ = meta.features[SCREEN]["shape"]
    options = records[0]["options"]
    channels = "\n".join(f"| {index} | `{name}` | {_meaning(name, options)} |" for index, name in enumerate(names))
    return f"""Screen recordings with the mouse and keyboard input of the player: {meta.total_episodes:,} episodes,
{meta.total_frames:,} rows at {meta.fps} per second, pictures of {width_px}×{height_px}.
{_videos(records)}

### Instructions

{_tasks(records)}

### Splits

{_splits(meta.info.splits)}

### Channels

`action` says what the player did during a row, `observation.state` what was held at the instant it began. Both are
float32 vectors of {len(names)} channels:

| index | name | meaning |
|---|---|---|
{channels}

{_rows(options)} `{FRAME_INDEX}` is the index of a row's picture in the source video, `{TIMESTAMP_MS}` the time on the
recorder's clock at which it was captured; LeRobot's own `timestamp` is frame_index / {meta.fps}.

### Loading

```python
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("{meta.repo_id}")
row = dataset[0]
row["{SCREEN}"]  # (3, {height_px}, {width_px}), 0 to 1
row["action"]  # ({len(names)},)
```

### From a row back to the recording

`{EVENTS_FOLDER}` has every raw event with the row it labelled or why it labelled none, `{FRAMES_FOLDER}` every frame of
the source videos with the rows that show it, `{RECORDINGS_FILE}` where each episode comes from and the options it was
converted with, and `{QUARANTINE_FILE}` the recordings that were left out. To see what was recorded around a row of a
downloaded dataset, and how it became the row's action:

```bash
recordings-to-lerobot explain --root=FOLDER --episode=0 --frame=0
```"""


def _meaning(channel: str, options: dict) -> str:
    device, name = channel.split(".", 1)
    key_codes: KeyCodes = options["keys"] or KEY_CODES
    if device == "wheel":
        return f"notches of the wheel during the row (state: the row before), {_WHEEL[name]}"
    if options["mouse"] == "relative" and device == "mouse":
        direction = _RELATIVE[name].format(**options)
        return f"movement of the captured mouse during the row (state: the row before), {direction}"
    if device == "button":
        return f"1 if the {name} mouse button was down at any moment of the row (state: held when it began), else 0"
    if device == "key":
        codes = " or ".join(f"0x{code:02X}" for code in key_codes[name])
        return f"likewise for the key with virtual-key code {codes}"
    return {
        "x": "mouse at the end of the row (state: at its start), −1 at the left edge of the canvas, 1 at the right",
        "y": "likewise, −1 at the top edge, 1 at the bottom",
        "dx": "mouse movement to the right during the row (state: during the row before), in canvas widths",
        "dy": "likewise downwards, in canvas heights",
    }[name]


def _videos(records: list[dict]) -> str:
    copied = sum(record["video"] == "copied" for record in records)
    if copied == len(records):
        return "The videos hold the recorded packets as they were, encoded once."
    if copied:
        return (
            f"The videos of {copied:,} episodes hold the recorded packets as they were; the others were encoded again."
        )
    return "The videos were encoded again from the recorded ones."


def _tasks(records: list[dict]) -> str:
    tasks = Counter(" ".join(record["task"].split()) for record in records).most_common()
    lines = [f"- {task} ({count:,} episode{'s' * (count > 1)})" for task, count in tasks[:_MAX_TASKS]]
    if len(tasks) > _MAX_TASKS:
        lines.append(f"- and {len(tasks) - _MAX_TASKS:,} more")
    return "\n".join(lines)


def _splits(splits: dict[str, str]) -> str:
    lines = []
    for name, span in splits.items():
        start, stop = map(int, span.split(":"))
        lines.append(f"- {name}: episodes {start} to {stop - 1}")
    return "\n".join(lines)


def _rows(options: dict) -> str:
    if options["resample"]:
        text = "Rows lie on an exact grid of time, each with the latest picture."
    else:
        frames = "recorded frame" if options["keep_duplicates"] else "recorded frame but duplicates"
        text = f"There is a row for each {frames}, and it lasts until the next one."
    if options["idle"] != "keep":
        left = "only their first row is left" if options["idle"] == "trim" else "one row a second is left"
        text += f" Of stretches of {options['idle_s']:g} seconds and more in which nothing happened, {left}."
    return text
