"""`qwenvla-train`: lerobot-train with gradient accumulation, averaged weights, exact resuming and whole batches.

LeRobot's main branch has the first two, under the same names.
"""

import inspect
import sys
from contextlib import nullcontext

from draccus.utils import DraccusException
from lerobot.configs import parser
from lerobot.scripts import lerobot_train
from safetensors import SafetensorError

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.training.accumulation import AccumulatingAccelerator
from lerobot_qwenvla.training.averaging import AVERAGED_MODEL_DIR, averaging, checkpoints, write_averaged
from lerobot_qwenvla.training.options import QwenVLATrainConfig


def train(config: QwenVLATrainConfig) -> None:
    """Trains, and averages the weights of the checkpoints when it has ended.

    Raises:
        ValueError: As `QwenVLATrainConfig.validate`, or it is no policy of this project.
    """
    config.validate()
    if not isinstance(config.policy, QwenVLAConfig):
        raise ValueError("pass --policy.type=qwenvla, or train other policies with lerobot-train")
    accelerator = AccumulatingAccelerator(
        config.accelerator.gradient_accumulation.steps, config.policy.dtype, cpu=config.policy.device == "cpu"
    )
    with averaging(config.ema.decay) if config.ema.enable else nullcontext():
        # Unwrapped of what reads the command line, which knows only LeRobot's own options.
        inspect.unwrap(lerobot_train.train)(config, accelerator)
    if config.ema.enable and accelerator.is_main_process:
        for checkpoint in checkpoints(config.output_dir):
            if not (checkpoint / AVERAGED_MODEL_DIR).exists():
                write_averaged(checkpoint)


@parser.wrap()
def _run(config: QwenVLATrainConfig) -> None:
    train(config)


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-train: {error}")
    except SafetensorError as error:  # a full disk, for one
        sys.exit(f"qwenvla-train: a checkpoint could not be written: {error}; make room and go on with --resume=true")


if __name__ == "__main__":
    main()
