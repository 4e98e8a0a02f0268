from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lerobot_qwenvla.ablations.options import AblationConfig, VariantConfig


@pytest.fixture
def make_config(tmp_path) -> Callable[..., AblationConfig]:
    """A table on the demo's own training run, but short and small."""

    def make(variants: dict[str, dict], **options) -> AblationConfig:
        training = yaml.safe_load(Path("configs/demo.yaml").read_text())
        training |= {"steps": 2, "batch_size": 2, "log_freq": 1, "eval_steps": 0, "num_workers": 0}
        training["dataset"]["eval_split"] = 0.0
        training["policy"] |= {"image_size": 32, "n_action_steps": 16, "expert_layers": 2, "expert_width": 64}
        path = tmp_path / "short.yaml"
        path.write_text(yaml.safe_dump(training))
        small = {"canvas": 32, "episodes": 2, "eval_episodes": 1, "eval_batch_size": 1, "seeds": 1}
        return AblationConfig(
            output_dir=tmp_path / "table",
            train_config=path,
            variants={name: VariantConfig(**each) for name, each in variants.items()},
            **{**small, **options},
        )

    return make
