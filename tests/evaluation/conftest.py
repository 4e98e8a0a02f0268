"""A small checkpoint, as lerobot-train writes it."""

from pathlib import Path

import pytest
from lerobot.policies.factory import make_pre_post_processors


@pytest.fixture(scope="session")
def checkpoint(make_trainee, pixel_dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation") / "checkpoint"
    policy = make_trainee(pixel_dataset)
    policy.save_pretrained(folder)
    for processor in make_pre_post_processors(policy.config, dataset_stats=pixel_dataset.meta.stats):
        processor.save_pretrained(folder)
    return folder
