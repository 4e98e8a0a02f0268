"""A small policy behind a server, and what its clients see."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import CHANNELS, IMAGE_PX

# A server that never ran logs itself while it is deallocated; pytest keeps what is logged, which then crashes.
logging.getLogger("grpc._cython.cygrpc").setLevel(logging.INFO)

NAMES = [f"channel.{i}" for i in range(CHANNELS)]


@pytest.fixture(scope="session")
def make_engine(make_trainee, pixel_dataset) -> Callable:
    from lerobot.policies.factory import make_pre_post_processors

    from lerobot_qwenvla.serving.engine import Engine

    def make(policy: dict[str, Any] | None = None, **settings: Any) -> Engine:
        trained = make_trainee(pixel_dataset, **(policy or {}))
        processors = make_pre_post_processors(trained.config, dataset_stats=pixel_dataset.meta.stats)
        return Engine(trained, *processors, **settings)

    return make


@pytest.fixture(scope="session")
def engine(make_engine):
    """Shared: every session is apart from the others."""
    return make_engine()


@pytest.fixture(scope="session")
def declared() -> dict[str, Any]:
    from tests.serving.clients import features

    return features(NAMES, (IMAGE_PX, IMAGE_PX, 3))


@pytest.fixture(scope="session")
def make_values() -> Callable[..., dict[str, Any]]:
    """What a robot observes: blocks of colour and a state, the same for the same seed."""

    def make(seed: int, task: str = "go to box 1") -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        blocks = rng.integers(0, 255, (IMAGE_PX // 16, IMAGE_PX // 16, 3), dtype=np.uint8)
        state = dict(zip(NAMES, rng.uniform(-1, 1, CHANNELS).tolist(), strict=True))
        return {**state, "screen": blocks.repeat(16, axis=0).repeat(16, axis=1), "task": task}

    return make
