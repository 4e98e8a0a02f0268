"""The commands `make demo` is made of; each can be run by hand, and the benchmarks put them together in other ways."""

import sys
from pathlib import Path
from typing import Any

import yaml
from lerobot.utils.constants import CHECKPOINTS_DIR, LAST_CHECKPOINT_LINK, PRETRAINED_MODEL_DIR

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import Stage, program
from lerobot_qwenvla.miniworld.tasks import RECORDED

# Settings of the policy that frozen features depend on; after a change of others the same features are trained on.
FEATURE_SETTINGS = (
    "backbone", "backbone_revision", "vlm_layer", "quantization", "vision_quantization", "dtype", "image_size",
    "frame_encoding", "num_frames", "frame_skip",
)  # fmt: skip
# Which frames a decision looks at: features depend on it where the frames are read together.
WINDOW = ("num_frames", "frame_skip")


def demo_stages(config: DemoConfig) -> list[Stage]:
    """The whole demo, in order."""
    run = str(config.seed)
    return [*recorded(config), featured(config), trained(config, run), evaluated(config, run), baselines(config)]


def recorded(config: DemoConfig) -> list[Stage]:
    """The backbone, and a dataset of pictures: what every training run begins with."""
    out = config.output_dir
    small = Stage("backbone", [program("qwenvla-tiny-backbone"), str(out / "backbone")], out / "backbone")
    return [
        *([] if config.backbone else [small]),
        Stage(
            "record",
            [
                program("qwenvla-record"), f"--output={out / 'recordings'}", f"--task={config.task}",
                f"--episodes={config.episodes}", f"--canvas={config.canvas}",
            ],
            out / "recordings",
            resumes=True,
        ),
        Stage(
            "convert",
            [
                program("recordings-to-lerobot"), "convert", f"--input={out / 'recordings'}",
                f"--repo_id={_training(config)['dataset']['repo_id']}", f"--root={out / 'dataset'}",
            ],
            out / "dataset",
        ),
    ]  # fmt: skip


def featured(config: DemoConfig, name: str = "features", **settings: Any) -> Stage:
    """Frozen features of the recorded frames, for training runs with these settings of the policy."""
    out, training = config.output_dir, _training(config)
    policy = {**training["policy"], "backbone": backbone_of(config), **settings}
    names = [name for name in FEATURE_SETTINGS if name not in WINDOW or policy.get("frame_encoding") == "joint"]
    frozen = {setting: policy[setting] for setting in (*names, "device") if setting in policy}
    command = [
        program("qwenvla-precompute-features"), "--policy.type=qwenvla", *_options(frozen),
        f"--dataset.repo_id={training['dataset']['repo_id']}", f"--dataset.root={out / 'dataset'}",
        f"--features_root={out / name}", "--batch_size=64", f"--num_workers={training['num_workers']}",
    ]  # fmt: skip
    return Stage(name, command, out / name)


def trained(config: DemoConfig, run: str, data: str = "features", **settings: Any) -> Stage:
    """A training run on features, with these settings of the policy; or on pictures, of any policy of LeRobot."""
    out = config.output_dir
    trainer = "lerobot-train"
    if _training(config)["policy"]["type"] == "qwenvla":
        trainer, settings = "qwenvla-train", {"backbone": backbone_of(config), **settings}
    command = [
        program(trainer), f"--config_path={config.train_config}", *_options(settings),
        f"--dataset.root={out / data}", f"--output_dir={out / f'train-{run}'}", f"--seed={config.seed}",
    ]  # fmt: skip
    return Stage(f"train-{run}", command, out / f"train-{run}", inputs=(config.train_config,))


def evaluated(
    config: DemoConfig, name: str, run: str | None = None, *, variation: str = RECORDED, **settings: Any
) -> Stage:
    """The policy of a training run, by default the one of the same name, plays episodes that were never recorded."""
    out = config.output_dir
    command = [
        program("lerobot-eval"), f"--policy.path={checkpoint_of(out, run or name)}", *_options(settings),
        "--env.type=miniworld", f"--env.task={config.task}", f"--env.canvas_w={config.canvas}",
        f"--env.canvas_h={config.canvas}", f"--env.variation={variation}", f"--eval.n_episodes={config.eval_episodes}",
        f"--eval.batch_size={config.eval_batch_size}", "--eval.use_async_envs=false",
        f"--seed={config.eval_first_seed}", f"--output_dir={out / f'evaluate-{name}'}",
    ]  # fmt: skip
    return Stage(f"evaluate-{name}", command, out / f"evaluate-{name}")


def baselines(config: DemoConfig, name: str = "baselines") -> Stage:
    """Random actions and the scripted player on the same episodes."""
    output = config.output_dir / f"{name}.json"
    command = [
        sys.executable, "-m", "lerobot_qwenvla.demo.baselines", f"--output={output}", f"--task={config.task}",
        f"--canvas={config.canvas}", f"--episodes={config.eval_episodes}", f"--first_seed={config.eval_first_seed}",
    ]  # fmt: skip
    return Stage(name, command, output, independent=True)


def backbone_of(config: DemoConfig) -> str | Path:
    """What the policies look through."""
    return config.backbone or config.output_dir / "backbone"


def checkpoint_of(output_dir: Path, run: str) -> Path:
    """Folder of the policy that a training run ended with."""
    return output_dir / f"train-{run}" / CHECKPOINTS_DIR / LAST_CHECKPOINT_LINK / PRETRAINED_MODEL_DIR


def _training(config: DemoConfig) -> dict[str, Any]:
    return yaml.safe_load(config.train_config.read_text())


def _options(settings: dict[str, Any]) -> list[str]:
    return [f"--policy.{name}={value}" for name, value in settings.items()]
