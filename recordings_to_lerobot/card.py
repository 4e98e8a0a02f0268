"""The dataset card: what the dataset holds, in words."""

from collections import Counter
from pathlib import Path

from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.utils import create_lerobot_dataset_card

from recordings_to_lerobot.dataset_layout import (
    EVENTS_FOLDER,
    FRAME_INDEX,
    FRAMES_FOLDER,
    RECORDINGS_FILE,
    TIMESTAMP_MS,
)

TAGS = ["mouse-and-keyboard", "screen-recording"]


def describe(meta: LeRobotDatasetMetadata, records: list[dict]) -> str:
    """What a reader of the card must know of state and action."""
    channels = meta.features["action"]["names"]
    is_delta = "mouse.dx" in channels
    mouse = (
        "`mouse.dx`, `mouse.dy`: how far the mouse moved during the row, in canvas widths and heights (right and down "
        "are positive); in the state, during the row before"
        if is_delta
        else "`mouse.x`, `mouse.y`: where the mouse is at the end of the row (in the state: at its start), −1 at the "
        "left and top edge of the canvas, 1 at the right and bottom edge"
    )
    buttons = ", ".join(f"`{name}`" for name in channels if name.startswith("button."))
    keys = ", ".join(f"`{name}`" for name in channels if name.startswith("key."))
    width_px, height_px = meta.features["observation.images.screen"]["shape"][1::-1]
    tasks = Counter(record["task"] for record in records).most_common()
    shown = "\n".join(f"- {task} ({count} episodes)" for task, count in tasks[:20])
    more = f"\n- and {len(tasks) - 20} more" if len(tasks) > 20 else ""
    return f"""Screen recordings with the mouse and keyboard input of the player: {meta.total_episodes} episodes,
{meta.total_frames} frames of {width_px}×{height_px} at {meta.fps} per second.

**Instructions**

{shown}{more}

**`action`** says what the player did during a row, **`observation.state`** what was held when it began. Both are
float32 with {len(channels)} channels, in this order:

- {mouse}
- {buttons}: 1 if the button was down at any moment of the row, else 0
- {keys}: the same for the keys

`{FRAME_INDEX}` and `{TIMESTAMP_MS}` are a row's frame in the source video and its true time (`timestamp` is
frame_index/fps). `{RECORDINGS_FILE}` has each episode's source and options, `{EVENTS_FOLDER}` every raw input event
with the row it labelled, `{FRAMES_FOLDER}` every source frame."""


def write_card(meta: LeRobotDatasetMetadata, records: list[dict], license: str | None = None) -> Path:
    """Writes `README.md` from LeRobot's own template; nobody but the owner can say under which licence."""
    description = describe(meta, records)
    card = create_lerobot_dataset_card(
        tags=TAGS, dataset_info=meta.info, license=license, repo_id=meta.repo_id, dataset_description=description
    )
    path = meta.root / "README.md"
    card.save(path)
    return path
