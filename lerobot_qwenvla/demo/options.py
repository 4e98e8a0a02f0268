"""What a user can choose about the demo."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class DemoConfig:
    """The whole path: record, convert, train, evaluate, report."""

    # Folder for everything that is made.
    output_dir: Path = Path("outputs/demo")
    # Training run, in lerobot-train's format.
    train_config: Path = Path("configs/demo.yaml")
    # Hub name or local folder of a Qwen3-VL; if None, a small one with random weights is made.
    backbone: str | None = None
    # Miniworld task.
    task: str = "OneRoom"
    # Width and height of the recorded screen, in pixels.
    canvas: int = 128
    # Episodes to record; their seeds begin at 0.
    episodes: int = 150
    # Seed of the training run: initial weights, order of the samples, noise.
    seed: int = 1000
    # Episodes to evaluate on, and the seed of the first; they must be seeds that were never recorded.
    eval_episodes: int = 50
    eval_first_seed: int = 100_000
    # Environments that are evaluated side by side.
    eval_batch_size: int = 10
