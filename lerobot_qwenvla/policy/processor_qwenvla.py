"""Pre- and post-processing of the `qwenvla` policy, and what normalisation needs to know of a dataset."""

from typing import Any

import torch
from lerobot.configs import NormalizationMode, PolicyFeature
from lerobot.processor import (
    NormalizerProcessorStep,
    PolicyAction,
    PolicyProcessorPipeline,
    TransitionKey,
    create_transition,
    make_default_pre_post_processors,
)
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

Statistics = dict[str, dict[str, Any]]

# The two numbers a mode normalises by. LeRobot silently leaves values as they are where a feature has no statistics.
NEEDED = {
    NormalizationMode.MIN_MAX: ("min", "max"),
    NormalizationMode.MEAN_STD: ("mean", "std"),
    NormalizationMode.QUANTILES: ("q01", "q99"),
    NormalizationMode.QUANTILE10: ("q10", "q90"),
}


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


def check_statistics(config: QwenVLAConfig, stats: Statistics | None) -> None:
    """Checks that state and action can be normalised as the config says.

    Raises:
        ValueError: A statistic is missing, not finite, or of another size than its feature.
    """
    for key, feature, names in _normalised(config):
        for name in names:
            value = (stats or {}).get(key, {}).get(name)
            if value is None:
                raise ValueError(
                    f"the dataset has no {name!r} of {key!r}, which {config.normalization_mapping[feature.type].value} "
                    f"normalisation needs (it has {sorted((stats or {}).get(key, {}))}); compute the statistics again "
                    "(lerobot-edit-dataset --operation.type recompute_stats), or set "
                    f"--policy.normalization_mapping to a mode it has the statistics of"
                )
            value = torch.as_tensor(value)
            if tuple(value.shape) != tuple(feature.shape) or not value.isfinite().all():
                raise ValueError(
                    f"the dataset's {name!r} of {key!r} must be {tuple(feature.shape)} finite numbers, "
                    f"got {value.tolist()}; compute the statistics again"
                )


def with_ranges(config: QwenVLAConfig, stats: Statistics | None) -> Statistics:
    """Gives channels that never move but for rounding, like a key never pressed, a range of one unit.

    LeRobot would divide by 1e-8, and a key that is pressed after all would be a number in the billions. A key that
    less than one step in a hundred presses has no range in quantiles either.
    """
    stats = {key: dict(values) for key, values in (stats or {}).items()}
    for key, _, (low, high) in _normalised(config):
        lowest, highest = (torch.as_tensor(stats[key][name], dtype=torch.float32) for name in (low, high))
        rounding = 1e-6 * lowest.abs().clamp(min=1.0)
        if high == "std":
            stats[key][high] = torch.where(highest <= rounding, 1.0, highest)
        else:
            stats[key][high] = torch.where(highest - lowest <= rounding, lowest + 1.0, highest)
    return stats


def action_moments(config: QwenVLAConfig, stats: Statistics) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation (A,) of normalised actions; None if the dataset has none of its own.

    Args:
        config: With the action and how it is normalised.
        stats: As `with_ranges` made them.
    """
    action = stats.get(ACTION, {})
    if not {"mean", "std"} <= action.keys():
        return None
    normalizer = NormalizerProcessorStep({ACTION: config.action_feature}, config.normalization_mapping, stats)
    mean, std = (torch.as_tensor(action[name], dtype=torch.float32) for name in ("mean", "std"))
    low, high = normalizer(create_transition(action=torch.stack((mean, mean + std))))[TransitionKey.ACTION]
    return low, high - low


def _normalised(config: QwenVLAConfig) -> list[tuple[str, PolicyFeature, tuple[str, str]]]:
    features = {ACTION: config.action_feature, OBS_STATE: config.robot_state_feature}
    return [
        (key, feature, NEEDED[mode])
        for key, feature in features.items()
        if feature and (mode := config.normalization_mapping.get(feature.type)) in NEEDED
    ]
