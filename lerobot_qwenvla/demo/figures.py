"""The report's pictures."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from lerobot.datasets.factory import make_train_eval_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_IMAGES
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.data import default_collate

from lerobot_qwenvla.evaluation.loading import read_training
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS
from recordings_to_lerobot.actions.encoding import denormalize_px

matplotlib.rcParams.update(
    {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "path"}
)

BLUE, ORANGE, GREY = "#1f5fbf", "#d9730d", "#8a8f98"
# Rows and columns of the keys drawn below a frame, as on a keyboard.
KEYBOARD = {"w": (0, 1), "a": (1, 0), "s": (1, 1), "d": (1, 2)}


def frame_strip(dataset: LeRobotDataset, episode: int, frames: int = 8) -> Figure:
    """Frames of a recorded episode with the mouse of the action drawn on them and its keys below."""
    start, end = (dataset.meta.episodes[episode][f"dataset_{side}_index"] for side in ("from", "to"))
    rows = np.linspace(start, end - 1, frames).round().astype(int)
    figure = Figure(figsize=(1.45 * frames, 2.2), layout="constrained")
    axes = figure.subplots(2, frames, height_ratios=[2.6, 1])
    for (screen, keyboard), row in zip(axes.T, rows, strict=True):
        item = dataset[int(row)]
        picture = item[f"{OBS_IMAGES}.screen"].permute(1, 2, 0).numpy()  # (H, W, 3)
        _draw_screen(screen, picture, item[ACTION].numpy())
        screen.set_title(f"{item['timestamp']:.1f} s", fontsize=8, color=GREY, pad=3)
        _draw_keyboard(keyboard, item[ACTION].numpy())
    return figure


def _draw_screen(axes: Axes, picture: np.ndarray, action: np.ndarray) -> None:
    height_px, width_px, _ = picture.shape
    cursor_px = (
        denormalize_px(action[CHANNEL_INDEX["mouse.x"]], width_px),
        denormalize_px(action[CHANNEL_INDEX["mouse.y"]], height_px),
    )
    axes.imshow(picture)
    center_px = (width_px - 1) / 2, (height_px - 1) / 2
    axes.annotate("", cursor_px, center_px, arrowprops={"arrowstyle": "-", "color": "white", "lw": 1.5, "alpha": 0.8})
    axes.plot(*cursor_px, "o", color="white", markeredgecolor="black", markersize=7)
    axes.set(xlim=(-0.5, width_px - 0.5), ylim=(height_px - 0.5, -0.5))
    axes.axis("off")


def _draw_keyboard(axes: Axes, action: np.ndarray) -> None:
    for key, (row, column) in KEYBOARD.items():
        pressed = action[CHANNEL_INDEX[f"key.{key}"]] > 0.5
        axes.text(
            column,
            -row,
            key.upper(),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if pressed else GREY,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": BLUE if pressed else "white", "edgecolor": GREY},
        )
    axes.set(xlim=(-1.6, 3.6), ylim=(-1.6, 0.6))
    axes.axis("off")


def predicted_against_recorded(checkpoint: Path, seed: int = 0) -> Figure:
    """What the policy would do at every frame of a held-out episode, beside what was recorded."""
    prediction, recorded, decision_every = _predict_held_out_episode(checkpoint, seed)
    channels = ["mouse.x", "key.w"]
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    for axes, channel in zip(figure.subplots(len(channels), sharex=True), channels, strict=True):
        index = CHANNEL_INDEX[channel]
        axes.plot(recorded[:, index], color=GREY, lw=3, alpha=0.6, label="recorded")
        for start in range(0, len(prediction), decision_every):
            chunk = prediction[start, : len(recorded) - start, index]  # (≤ chunk,)
            steps = np.arange(start, start + len(chunk))
            label = f"predicted at every {decision_every}th frame" if start == 0 else None
            axes.plot(steps, chunk, color=BLUE, lw=1, alpha=0.5)
            axes.plot(steps[:decision_every], chunk[:decision_every], color=BLUE, lw=1.6, label=label)
        axes.set(ylabel=channel, ylim=(-1.1, 1.1) if channel.startswith("mouse") else (-0.15, 1.15))
    axes.set_xlabel("frame of the episode; thin: predicted but not executed")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=2)
    return figure


def _predict_held_out_episode(checkpoint: Path, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Prediction (N, chunk, A) and recorded action (N, A) for each frame, and the frames between two decisions."""
    config = read_training(checkpoint)
    config.policy.pretrained_path = checkpoint
    _, held_out = make_train_eval_datasets(config)
    policy = make_policy(config.policy, ds_meta=held_out.meta)
    preprocessor, postprocessor = make_pre_post_processors(config.policy, pretrained_path=str(checkpoint))
    rows = [i for i, episode in enumerate(held_out.hf_dataset["episode_index"]) if episode == held_out.episodes[0]]
    batch: dict[str, Any] = default_collate([held_out[i] for i in rows])
    recorded = batch[ACTION][:, 0].numpy()
    torch.manual_seed(seed)
    prediction = postprocessor(policy.predict_action_chunk(preprocessor(batch))).numpy()
    assert prediction.shape[2] == len(CHANNELS)
    return prediction, recorded, config.policy.n_action_steps
