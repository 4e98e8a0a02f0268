"""The card of a policy on the Hub: what it reached, what it learned from, its settings, how to run it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

TEMPLATE = Path(__file__).with_name("card.md.jinja")
QWEN = "Qwen/Qwen3-VL-2B-Instruct"
MOST_INSTRUCTIONS = 8
# Of the run, the machine or the dataset, not of the policy.
NOT_SETTINGS = (
    "input_features", "output_features", "action_names", "batches_trained", "device", "repo_id", "push_to_hub",
    "pretrained_path", "private", "tags", "license",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """How often a policy succeeded, with the interval of that rate."""

    title: str
    rate: float
    interval_95: tuple[float, float]
    episodes: int


def make_card(
    config: QwenVLAConfig,
    repo_id: str,
    training: TrainPipelineConfig | None = None,
    meta: LeRobotDatasetMetadata | None = None,
    results: Sequence[Result] = (),
) -> ModelCard:
    """The card of a policy that learned from the dataset `repo_id`, which `meta` describes."""
    title = config.repo_id or (training.job_name if training else None) or "QwenVLA"
    is_on_hub = not Path(config.backbone).exists()
    card_data = ModelCardData(
        license=config.license or "apache-2.0",
        library_name="lerobot",
        pipeline_tag="robotics",
        tags=sorted({"robotics", "lerobot", "qwenvla", *(config.tags or [])}),
        datasets=repo_id,
        base_model=config.backbone if is_on_hub else None,
        model_name=title if results else None,
        eval_results=[
            EvalResult(
                task_type="robotics", dataset_type="miniworld", dataset_name=result.title, metric_type="success_rate",
                metric_value=round(result.rate, 4),
            )
            for result in results
        ]
        or None,
    )  # fmt: skip
    return ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        title=title,
        config=config,
        qwen=config.backbone if is_on_hub else QWEN,
        backbone_is_on_hub=is_on_hub,
        results=results,
        data=_data(meta) if meta else None,
        repo_id=repo_id,
        training=training,
        settings=changed_settings(config),
        where=config.repo_id or "USER/POLICY",
    )


def changed_settings(config: QwenVLAConfig) -> dict[str, Any]:
    """Settings that are not the defaults."""
    default = QwenVLAConfig(device=config.device)
    names = [field.name for field in fields(config) if field.name not in NOT_SETTINGS]
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(default, name)}


def _data(meta: LeRobotDatasetMetadata) -> dict[str, Any]:
    instructions = list(meta.tasks.index)
    return {
        "repo_id": meta.repo_id,
        "episodes": meta.total_episodes,
        "frames": meta.total_frames,
        "fps": meta.fps,
        "instructions": instructions[:MOST_INSTRUCTIONS],
        "more": max(0, len(instructions) - MOST_INSTRUCTIONS),
    }
