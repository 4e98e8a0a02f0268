from types import SimpleNamespace

import pytest
from lerobot.configs.train import TrainPipelineConfig

from lerobot_qwenvla.training.options import (
    AcceleratorConfig,
    EMAConfig,
    GradientAccumulationConfig,
    QwenVLATrainConfig,
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 10}, r"--steps=10 must be a multiple of --accelerator\.gradient_accumulation\.steps=4"),
        ({"save_freq": 6}, r"--save_freq=6 must be a multiple of .*=4"),
        ({"accelerator": AcceleratorConfig(GradientAccumulationConfig(0))}, "at least 1, got 0"),
        ({"ema": EMAConfig(decay=1.0)}, r"--ema\.decay must be at least 0 and below 1, got 1\.0"),
        ({"ema": EMAConfig(enable=True), "peft": SimpleNamespace()}, "leave out --peft or --ema"),
    ],
)
def test_what_does_not_go_together_is_refused(monkeypatch, settings, message):
    monkeypatch.setattr(TrainPipelineConfig, "validate", lambda self: None)
    four = AcceleratorConfig(GradientAccumulationConfig(4))
    config = QwenVLATrainConfig(dataset=None, **{"steps": 8, "save_freq": 0, "accelerator": four, **settings})
    with pytest.raises(ValueError, match=message):
        config.validate()
