"""A moving picture of the policy playing, for a README: episodes side by side, from the videos of lerobot-eval."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

# Of one episode, whose frames lerobot-eval films in the size of the onlooker's view.
PANEL_WIDTH_PX = 320
GAP_PX, LINE_PX = 8, 30
# So that a reader sees how it ended before it starts again.
HOLD_LAST_MS = 1500
BACKGROUND, TEXT, MUTED, REACHED, MISSED = "#1c2128", "#ffffff", "#9aa3ad", "#57ab5a", "#e5534b"


@dataclass(frozen=True)
class Rollout:
    """An evaluated episode that was filmed."""

    seed: int
    success: bool
    video: Path


def read_rollouts(eval_dir: Path, seeds: Sequence[int]) -> list[Rollout]:
    """Filmed episodes of a lerobot-eval run on these seeds; LeRobot films the first ten."""
    metrics = json.loads((eval_dir / "eval_info.json").read_text())["per_task"][0]["metrics"]
    return [
        Rollout(seed, bool(success), Path(video))
        for seed, success, video in zip(seeds, metrics["successes"], metrics["video_paths"], strict=False)
    ]


def write_animation(rollouts: Sequence[Rollout], title: str, path: Path) -> None:
    """Writes the episodes side by side, each waiting at its end for the longest, as an endless animated picture.

    Args:
        rollouts: At least one, all of one size and rate.
        title: Stands over them; what each was told is in its video.
        path: The picture, .webp or .gif.
    """
    films, rates = zip(*(_read_video(rollout.video) for rollout in rollouts), strict=True)
    fps = rates[0]
    pictures = []
    for step in range(max(map(len, films))):
        panels = []
        for film, rollout in zip(films, rollouts, strict=True):
            steps = min(step + 1, len(film))
            panels.append(_panel(film[steps - 1], steps / fps, rollout.success if steps == len(film) else None))
        pictures.append(_side_by_side(panels, title))
    durations_ms = [round(1000 / fps)] * (len(pictures) - 1) + [HOLD_LAST_MS]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations_ms, loop=0, quality=60)


def _panel(frame: Image.Image, seconds: float, success: bool | None) -> Image.Image:
    """A frame over the time that has passed, and the outcome once there is one."""
    height_px = round(PANEL_WIDTH_PX / frame.width * frame.height)
    frame = frame.resize((PANEL_WIDTH_PX, height_px), Image.Resampling.LANCZOS)
    panel = Image.new("RGB", (frame.width, frame.height + LINE_PX), BACKGROUND)
    panel.paste(frame)
    outcome, color = {None: ("", MUTED), True: ("reached after ", REACHED), False: ("missed after ", MISSED)}[success]
    _write_line(panel, frame.height, f"{outcome}{seconds:.1f} s", color)
    return panel


def _side_by_side(panels: Sequence[Image.Image], title: str) -> Image.Image:
    width_px, height_px = panels[0].size
    picture = Image.new("RGB", (len(panels) * (width_px + GAP_PX) + GAP_PX, height_px + LINE_PX), BACKGROUND)
    for number, panel in enumerate(panels):
        picture.paste(panel, (GAP_PX + number * (width_px + GAP_PX), LINE_PX))
    _write_line(picture, 0, title, TEXT)
    return picture


def _write_line(picture: Image.Image, top_px: int, text: str, color: str) -> None:
    font = ImageFont.load_default(size=LINE_PX // 2)
    center_px = picture.width / 2, top_px + LINE_PX / 2
    ImageDraw.Draw(picture).text(center_px, text, fill=color, font=font, anchor="mm")


def _read_video(path: Path) -> tuple[list[Image.Image], float]:
    """Frames, and how many there are in a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_image() for frame in container.decode(stream)], float(stream.average_rate)
