"""What would make a training run fit a card, one change at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lerobot_qwenvla.tools.memory.peaks import Training

IMAGE_SIZES_PX = (320, 256, 192, 128)


@dataclass(frozen=True)
class Change:
    """What to pass to lerobot-train or to train on, what it costs, the run with it, and the peak of that."""

    what: str
    cost: str
    training: Training
    peak_bytes: int


def fitting_changes(training: Training, fits: Callable[[int], bool]) -> list[Change]:
    """The changes that make a run's peak fit, cheapest in quality first, and of each kind the mildest that does."""
    found = (
        next((Change(what, cost, changed, peak) for what, changed in steps if fits(peak := changed.peak_bytes())), None)
        for cost, steps in _kinds(training)
    )
    return [change for change in found if change]


def _kinds(training: Training) -> Iterator[tuple[str, list[tuple[str, Training]]]]:
    """What each kind of change costs, and its steps, mildest first."""
    config = training.config

    def with_setting(name: str, *values: Any) -> list[tuple[str, Training]]:
        return [
            (f"--policy.{name}={str(value).lower()}", replace(training, config=replace(config, **{name: value})))
            for value in values
        ]

    if not (training.precomputed or config.instruction_dropout):
        features = [("features of qwenvla-precompute-features", replace(training, precomputed=True))]
        yield "disk space; the policy is the same", features
    if config.dequantize:
        yield "time in the backbone", with_setting("dequantize", False)
    if not config.gradient_checkpointing:
        yield "time: about a third more in the expert", with_setting("gradient_checkpointing", True)
    whole = training.batch_size
    parts = [size for size in range(whole - 1, 0, -1) if whole % size == 0]
    batches = [(f"--batch_size={size}", replace(training, batch_size=size)) for size in parts]
    yield "time: qwenvla-train accumulates their gradients", batches
    for name in ("vision_quantization", "quantization"):
        if getattr(config, name) != "4bit":
            yield "precision of the features", with_setting(name, "4bit")
    if config.token_pooling == "none":
        yield "detail: a quarter of the tokens", with_setting("token_pooling", "average")
    smaller = [size for size in IMAGE_SIZES_PX if size < config.image_size]
    yield "detail: the pictures are smaller", with_setting("image_size", *smaller)
    fewer = range(config.num_frames - 1, 0, -1)
    yield "memory of what was on the screen", with_setting("num_frames", *fewer)
