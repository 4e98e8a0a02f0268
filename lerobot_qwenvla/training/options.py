"""Options of `qwenvla-train`: those of lerobot-train, and some that LeRobot's main branch adds, by the same names."""

from dataclasses import dataclass, field

from lerobot.configs.train import TrainPipelineConfig


@dataclass
class GradientAccumulationConfig:
    # Batches whose gradients are averaged for one update. A step is one batch, in logs, schedules and intervals, too.
    steps: int = 1


@dataclass
class AcceleratorConfig:
    gradient_accumulation: GradientAccumulationConfig = field(default_factory=GradientAccumulationConfig)


@dataclass
class EMAConfig:
    # Writes beside each checkpoint's pretrained_model a pretrained_model_ema, with the moving average of the weights.
    enable: bool = False
    # Share of the average that an update leaves.
    decay: float = 0.999


@dataclass
class QwenVLATrainConfig(TrainPipelineConfig):
    """Arguments of lerobot-train, and:"""

    accelerator: AcceleratorConfig = field(default_factory=AcceleratorConfig)
    ema: EMAConfig = field(default_factory=EMAConfig)

    def validate(self) -> None:
        """Checks the arguments, as lerobot-train does.

        Raises:
            ValueError: An option is out of its range, or does not go with another.
        """
        super().validate()
        steps = self.accelerator.gradient_accumulation.steps
        if steps < 1:
            raise ValueError(f"--accelerator.gradient_accumulation.steps must be at least 1, got {steps}")
        for name in ("steps", "save_freq"):
            if (value := getattr(self, name)) % steps:
                raise ValueError(
                    f"--{name}={value} must be a multiple of --accelerator.gradient_accumulation.steps={steps}: "
                    "a checkpoint between two updates would lose the gradients that wait for the next one"
                )
        if not 0 <= self.ema.decay < 1:
            raise ValueError(f"--ema.decay must be at least 0 and below 1, got {self.ema.decay}")
        if self.ema.enable and self.peft is not None:
            raise ValueError("--ema.enable=true averages whole policies, not adapters; leave out --peft or --ema")
