"""What a checkpoint holds, and whether it is of the policy that is loaded from it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.constants import CONFIG_NAME
from lerobot.configs import PreTrainedConfig, parser
from torch import nn

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

logger = logging.getLogger(__name__)


def config_of_path() -> tuple[QwenVLAConfig, str]:
    """The config of the checkpoint that a command was given as `--policy.path`, with its overrides, and that path.

    Raises:
        ValueError: There is none, it can't be read, or a setting is out of its range.
    """
    path = parser.get_path_arg("policy")
    if not path:
        raise ValueError("pass --policy.path=CHECKPOINT, the pretrained_model folder or Hub name of a qwenvla policy")
    return read_config(path, parser.get_cli_overrides("policy")), path


def read_config(path: str, overrides: Sequence[str] = ()) -> QwenVLAConfig:
    """The config of a checkpoint, with settings of the command line ("--name=value") in place of its own.

    Raises:
        ValueError: It can't be read, or a setting is out of its range.
    """
    try:
        config = PreTrainedConfig.from_pretrained(path, cli_overrides=list(overrides))
    except (OSError, ValueError) as error:
        raise ValueError(f"--policy.path={path}: {error}") from error
    if not isinstance(config, QwenVLAConfig):
        raise ValueError(f"--policy.path={path}: a {config.type} policy; a qwenvla policy is needed")
    config.pretrained_path = Path(path)
    config.validate_settings()
    return config


def expect_no_backbone(policy: nn.Module, incompatible_keys: Any) -> None:
    """A hook of `load_state_dict`: the backbone comes from its own source, and a checkpoint without it is complete."""
    incompatible_keys.missing_keys[:] = [
        key for key in incompatible_keys.missing_keys if not key.startswith("backbone.")
    ]


def check_trained_with(checkpoint: Path, config: QwenVLAConfig) -> None:
    """Compares the features a policy will look at with those its checkpoint was trained on.

    What only changes them a little is warned of, and so is a backbone of another name: it may be the same elsewhere.

    Raises:
        ValueError: They are of another layer or of pictures of another size.
    """
    if not (checkpoint / CONFIG_NAME).is_file():
        return
    trained = PreTrainedConfig.from_pretrained(checkpoint)
    for name in ("vlm_layer", "image_size"):
        if (got := getattr(config, name)) != (wanted := getattr(trained, name)):
            raise ValueError(f"{checkpoint} was trained with {name}={wanted}, got {got}; leave --policy.{name} out")
    for name in (
        "backbone", "backbone_revision", "quantization", "vision_quantization", "dtype", "num_frames", "frame_skip",
    ):  # fmt: skip
        if (got := getattr(config, name)) != (wanted := getattr(trained, name)):
            logger.warning(
                "%s was trained with %s=%s and is used with %s: it may act worse; leave --policy.%s out to use its own",
                checkpoint,
                name,
                wanted,
                got,
                name,
            )


def warn_of_local_backbone(config: QwenVLAConfig) -> None:
    """Says that who downloads this policy will not have its backbone."""
    if Path(config.backbone).exists():
        logger.warning(
            "The policy needs the backbone %s, a local folder, which is not pushed with it: others must pass their own "
            "--policy.backbone. Train with the name of a backbone on the Hub to avoid this",
            config.backbone,
        )
