"""Figures and films in the W&B run of a training run, beside the curves that lerobot-train has logged there."""

import io
from collections.abc import Mapping
from pathlib import Path

import wandb
from lerobot.configs.train import TrainPipelineConfig
from matplotlib.figure import Figure
from PIL import Image


def log_to_wandb(
    training: TrainPipelineConfig, output_dir: Path, figures: Mapping[str, Figure], films: Mapping[str, Path]
) -> None:
    """Adds to the run, behind its last step; where it was offline to a part of it that `wandb sync` sends like it.

    Raises:
        ValueError: The training run was not logged to W&B.
    """
    settings = training.wandb
    if not settings.enable or not settings.run_id:
        raise ValueError("the training run was not logged to W&B: train with --wandb.enable=true, or leave out --wandb")
    with wandb.init(
        id=settings.run_id,
        project=settings.project,
        entity=settings.entity,
        dir=output_dir,
        mode=settings.mode or "online",
        resume="allow",
    ) as run:
        pictures = {f"report/{name}": wandb.Image(_picture(figure)) for name, figure in figures.items()}
        videos = {f"report/{name}": wandb.Video(str(path), format="mp4") for name, path in films.items()}
        run.log({**pictures, **videos}, step=training.steps + 1)


def _picture(figure: Figure) -> Image.Image:
    """W&B's own way takes a figure to be pyplot's."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return Image.open(png)
