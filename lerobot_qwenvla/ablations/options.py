"""What a user can choose about a table of variants."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.miniworld.tasks import RECORDED


@dataclass
class VariantConfig:
    """A row of the table: how it is trained, and how it plays."""

    # Changes of the training config, in the form it has: {policy: {num_frames: 1}}.
    train: dict[str, Any] = field(default_factory=dict)
    # Settings of the policy that change when it plays: {n_action_steps: 1}. Rows that differ in nothing else share
    # their training.
    play: dict[str, Any] = field(default_factory=dict)
    # The training config to change; if None, that of all rows. Another one is how other policies of LeRobot get in.
    train_config: Path | None = None
    # Whether it trains on pictures instead of frozen features, as other policies and adapters of the backbone must.
    on_pictures: bool = False
    # Goes on training the policy of this other row, of the same seed, instead of a fresh one.
    after: str | None = None
    # Trains on the first so many episodes; if None, on all.
    episodes: int | None = None


@dataclass
class AblationConfig(DemoConfig):
    """Trains and evaluates every variant, on the same recordings and for as many steps, and makes one table."""

    # The rows by name, in order.
    variants: dict[str, VariantConfig] = field(default_factory=dict)
    # Names the files with the table, NAME.md and NAME.json in the output folder.
    table: str = "results"
    # Training runs of each, with seeds from `seed` on.
    seeds: int = 3
    # Variations of the task to play, a column each.
    variations: list[str] = field(default_factory=lambda: [RECORDED])
    # Rows to make, of those in `variants`; if None, all.
    only: list[str] | None = None
