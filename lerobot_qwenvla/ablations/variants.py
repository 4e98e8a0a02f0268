"""A variant → its training config, checked, and the stages that make its row."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import draccus
import lerobot.policies  # noqa: F401 - so that their types are known
import yaml
from draccus.utils import DraccusException
from lerobot.configs.train import TrainPipelineConfig

from lerobot_qwenvla.ablations.options import AblationConfig, VariantConfig
from lerobot_qwenvla.demo.runner import Stage
from lerobot_qwenvla.demo.stages import FEATURE_SETTINGS, WINDOW, checkpoint_of, evaluated, featured, recorded, trained
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        run: Names its training run; that of an earlier row which is trained alike.
        training: Its whole training config.
        play: Settings of the policy that change when it plays.
        features: Settings in which its features differ from those of the training config; None where it needs none.
        after: Whose policy it goes on training.
    """

    name: str
    run: str
    training: dict[str, Any]
    play: dict[str, Any]
    features: dict[str, Any] | None
    after: "Variant | None"


def read_variants(config: AblationConfig) -> list[Variant]:
    """All rows of the table.

    Raises:
        ValueError: There is none, two have the same name as a file, a setting is unknown or out of its range, or a row
            goes on from one that is not there before it or has other features.
    """
    if not config.variants:
        raise ValueError("no variants: pass a table of them, --config_path=configs/ablations/cpu.yaml")
    base = _read(config.train_config)
    rows: dict[str, Variant] = {}
    for name, variant in config.variants.items():
        try:
            rows[name] = _row(name, variant, config, base, rows)
        except ValueError as error:
            raise ValueError(f"variant {name!r}: {error}") from error
    return list(rows.values())


def _row(
    name: str, variant: VariantConfig, config: AblationConfig, base: dict[str, Any], rows: dict[str, Variant]
) -> Variant:
    training = training_of(config, variant)
    _check(training, variant.play)
    features = None if variant.on_pictures else _features_apart(base["policy"], training["policy"])
    after = rows.get(variant.after)
    if variant.after is not None and after is None:
        raise ValueError(
            f"after: {variant.after!r} is none of the rows before it: {', '.join(rows) or 'there are none'}"
        )
    if after and features not in (None, after.features):
        raise ValueError(f"after: {after.name!r} has other features; give it the same settings, or on_pictures: true")
    if _file_name(name) in map(_file_name, rows):
        raise ValueError("another one is called nearly the same; change its name")
    alike = (row.run for row in rows.values() if (row.training, row.features, row.after) == (training, features, after))
    return Variant(name, next(alike, _file_name(name)), training, variant.play, features, after)


def training_of(config: AblationConfig, variant: VariantConfig) -> dict[str, Any]:
    """The whole training config of a variant."""
    training = merged(_read(variant.train_config or config.train_config), variant.train)
    if variant.episodes is not None:
        if not 1 <= variant.episodes <= config.episodes:
            raise ValueError(f"episodes: {variant.episodes} of the {config.episodes} that are recorded")
        training["dataset"]["episodes"] = list(range(variant.episodes))
    return training


def merged(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of `changes` in the place of theirs, at any depth."""
    result = copy.deepcopy(settings)
    for name, value in changes.items():
        is_group = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if is_group else copy.deepcopy(value)
    return result


def stages(config: AblationConfig, row: Variant, seed: int, variation: str) -> list[Stage]:
    """Everything up to a row's evaluation in a variation, after a training run with this seed."""
    name = f"{_file_name(row.name)}-{variation}-{seed}"
    evaluation = evaluated(config, name, _run(row, seed), variation=variation, **row.play)
    return [*_training_stages(config, row, seed), evaluation]


def _training_stages(config: AblationConfig, row: Variant, seed: int) -> list[Stage]:
    """Up to the training run; writes the row's training config where its command reads it."""
    train_config = config.output_dir / "configs" / f"{row.run}.yaml"
    train_config.parent.mkdir(parents=True, exist_ok=True)
    train_config.write_text(yaml.safe_dump(row.training, sort_keys=False), encoding="utf-8")
    before, settings, data = recorded(config), {}, "dataset"
    if row.features is not None:
        data = "-".join(["features", *(f"{name}={value}" for name, value in row.features.items())])
        before = [*before, featured(config, data, **row.features)]
    if row.after:
        before = _training_stages(config, row.after, seed)
        settings = {"pretrained_path": checkpoint_of(config.output_dir, _run(row.after, seed))}
    own = replace(config, train_config=train_config, seed=seed)
    return [*before, trained(own, _run(row, seed), data, **settings)]


def _run(row: Variant, seed: int) -> str:
    return f"{row.run}-{seed}"


def _read(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; run from the project's folder") from error


def _check(training: dict[str, Any], play: dict[str, Any]) -> None:
    """Raises ValueError where lerobot-train or lerobot-eval would refuse a setting, but before anything is trained."""
    for settings in (training, merged(training, {"policy": play})):
        try:
            parsed = draccus.decode(TrainPipelineConfig, settings)
        except DraccusException as error:
            raise ValueError(" ".join(str(error).split())) from error
        if isinstance(parsed.policy, QwenVLAConfig):
            parsed.policy.validate_settings()


def _features_apart(base: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    """Settings on which the features depend and in which they differ from those of `base`."""
    if policy["type"] != base["type"]:
        raise ValueError(f"policies of type {policy['type']} have no frozen features; set on_pictures: true")
    apart = {name for name in FEATURE_SETTINGS if policy.get(name) != base.get(name)}
    if "joint" not in (policy.get("frame_encoding"), base.get("frame_encoding")):
        apart -= set(WINDOW)
    return {name: policy[name] for name in FEATURE_SETTINGS if name in apart}


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
