"""Pre- and post-processing of the `qwenvla` policy."""

from typing import Any

import torch
from lerobot.processor import PolicyAction, PolicyProcessorPipeline, make_default_pre_post_processors

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.normalization import check_statistics, with_ranges


def make_qwenvla_pre_post_processors(
    config: QwenVLAConfig, dataset_stats: dict[str, dict[str, torch.Tensor]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """LeRobot's default pipelines: state and action to [-1, 1] and back.

    Tokenisation and picture preparation stay with the backbone, whose folder defines them.

    Raises:
        ValueError: A statistic that normalisation needs is missing.
    """
    check_statistics(config, dataset_stats)
    stats = with_ranges(config, dataset_stats)
    return make_default_pre_post_processors(config, stats, normalizer_device=config.device)
