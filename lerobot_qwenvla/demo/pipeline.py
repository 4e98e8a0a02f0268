"""`qwenvla-demo`: from recorded play to a policy that drives, on two CPU cores.

Every stage is a command that one can run by hand; what is done already is skipped.
"""

import json
import sys
from typing import Any

import draccus
import yaml
from draccus.utils import DraccusException

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import Stage, program, run_command, run_stages
from lerobot_qwenvla.demo.summary import summarize
from lerobot_qwenvla.policy.configuration_qwenvla import FEATURE_SETTINGS, JOINT_FEATURE_SETTINGS


def stages(config: DemoConfig) -> list[Stage]:
    """The commands of the demo, in order."""
    out = config.output_dir
    train_dir = out / f"train-{config.seed}"
    eval_dir = out / f"evaluate-{config.seed}"
    checkpoint = train_dir / "checkpoints" / "last" / "pretrained_model"
    training = yaml.safe_load(config.train_config.read_text())
    # What frozen features depend on; other settings of the run can change without encoding the frames again.
    policy = {**training["policy"], "backbone": out / "backbone"}
    settings = (*FEATURE_SETTINGS, *JOINT_FEATURE_SETTINGS, "device")
    frozen = [f"--policy.{name}={policy[name]}" for name in settings if name in policy]
    env = ["--env.type=miniworld", f"--env.task={config.task}"]
    env += [f"--env.canvas_w={config.canvas}", f"--env.canvas_h={config.canvas}"]
    eval_seeds = [f"--episodes={config.eval_episodes}", f"--first_seed={config.eval_first_seed}"]
    return [
        Stage("backbone", [program("qwenvla-tiny-backbone"), str(out / "backbone")], out / "backbone"),
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
                f"--repo_id={training['dataset']['repo_id']}", f"--root={out / 'dataset'}",
            ],
            out / "dataset",
        ),
        Stage(
            "features",
            [
                program("qwenvla-cache-features"), "--policy.type=qwenvla", *frozen,
                f"--dataset.repo_id={training['dataset']['repo_id']}", f"--dataset.root={out / 'dataset'}",
                f"--features_root={out / 'features'}", "--batch_size=64", "--num_workers=1",
            ],
            out / "features",
        ),
        Stage(
            f"train-{config.seed}",
            [
                program("lerobot-train"), f"--config_path={config.train_config}",
                f"--policy.backbone={out / 'backbone'}", f"--dataset.root={out / 'features'}",
                f"--output_dir={train_dir}", f"--seed={config.seed}",
            ],
            train_dir,
            inputs=(config.train_config,),
        ),
        Stage(
            f"evaluate-{config.seed}",
            [
                program("lerobot-eval"), f"--policy.path={checkpoint}", *env,
                f"--eval.n_episodes={config.eval_episodes}", f"--eval.batch_size={config.eval_batch_size}",
                "--eval.use_async_envs=false", f"--seed={config.eval_first_seed}", f"--output_dir={eval_dir}",
            ],
            eval_dir,
        ),
        Stage(
            "baselines",
            [
                sys.executable, "-m", "lerobot_qwenvla.demo.baselines", f"--output={out / 'baselines.json'}",
                f"--task={config.task}", f"--canvas={config.canvas}", *eval_seeds,
            ],
            out / "baselines.json",
            independent=True,
        ),
    ]  # fmt: skip


def run(config: DemoConfig) -> dict[str, Any]:
    """Runs the demo, writes its summary and report, and returns the summary.

    Raises:
        ValueError: The training config is missing, the policy would be evaluated on recorded seeds, or a stage failed.
    """
    if not config.train_config.is_file():
        raise ValueError(f"{config.train_config}: missing; run from the project's folder, or pass --train_config")
    if config.eval_first_seed < config.episodes:
        raise ValueError(
            f"--eval_first_seed={config.eval_first_seed} is among the {config.episodes} recorded seeds; "
            f"choose {config.episodes} or more"
        )
    seconds = run_stages(stages(config), config.output_dir)
    summary = summarize(config, seconds)
    (config.output_dir / "summary.json").write_text(json.dumps(summary, indent=2))
    report = [sys.executable, "-m", "lerobot_qwenvla.demo.report", str(config.output_dir)]
    run_command(report, config.output_dir / "logs" / "report.log")
    return summary


def main() -> None:
    try:
        config = draccus.parse(DemoConfig, prog="qwenvla-demo")
        summary = run(config)
    except (ValueError, DraccusException) as error:
        sys.exit(f"qwenvla-demo: {error}")
    except KeyboardInterrupt:
        sys.exit("\nqwenvla-demo: interrupted; the same command goes on where it stopped")
    success = summary["success"]
    print(
        f"\nOn {config.eval_episodes} seeds never trained on, the policy reaches the goal in {success['policy']:.0%}, "
        f"random actions in {success['random']:.0%}, the scripted expert in {success['expert']:.0%}.\n"
        f"Open {config.output_dir / 'report.html'}"
    )


if __name__ == "__main__":
    main()
