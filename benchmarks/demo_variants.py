"""The demo's success with other settings of the policy, over the demo's recordings: all results, not the best.

    make demo && python benchmarks/demo_variants.py average learned joint joint-cached 64px

Prints one JSON line. Variants that were trained and evaluated before are not run again.
"""

import argparse
import json
from pathlib import Path

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import Stage, program, run_stages
from lerobot_qwenvla.demo.summary import wilson_interval

# Settings of training, settings of evaluation, and whether features must be computed anew.
VARIANTS = {
    "default": ([], [], False),
    "average": (["--policy.token_pooling=average"], [], False),
    "learned": (["--policy.token_pooling=learned"], [], False),
    "joint": (["--policy.frame_encoding=joint"], [], True),
    # Trained jointly, and then every frame is encoded by itself and cached.
    "joint-cached": (["--policy.frame_encoding=joint"], ["--policy.frame_encoding=per_frame"], True),
    "64px": (["--policy.image_size=64"], [], True),
    "heun": ([], ["--policy.solver=heun", "--policy.num_inference_steps=5"], False),
}


def stages(name: str, demo: DemoConfig, folder: Path) -> list[Stage]:
    """Features where they differ from the demo's, training, evaluation."""
    training, evaluation, needs_features = VARIANTS[name]
    trained_as = "-".join(setting.removeprefix("--policy.") for setting in training) or "default"
    config = [f"--config_path={demo.train_config}", f"--policy.backbone={demo.output_dir / 'backbone'}", *training]
    features, train_dir = demo.output_dir / "features", folder / f"train-{trained_as}"
    stages = []
    if needs_features:
        features = folder / f"features-{trained_as}"
        command = [program("qwenvla-cache-features"), *config, f"--dataset.root={demo.output_dir / 'dataset'}"]
        stages.append(Stage(features.name, [*command, f"--features_root={features}"], features, independent=True))
    command = [program("lerobot-train"), *config, f"--dataset.root={features}", f"--output_dir={train_dir}"]
    stages.append(Stage(train_dir.name, [*command, f"--seed={demo.seed}"], train_dir, independent=True))
    command = [
        program("lerobot-eval"), f"--policy.path={train_dir / 'checkpoints' / 'last' / 'pretrained_model'}",
        *evaluation, "--env.type=miniworld", f"--env.task={demo.task}", f"--env.canvas_w={demo.canvas}",
        f"--env.canvas_h={demo.canvas}", f"--eval.n_episodes={demo.eval_episodes}",
        f"--eval.batch_size={demo.eval_batch_size}", "--eval.use_async_envs=false",
        f"--seed={demo.eval_first_seed}", f"--output_dir={folder / f'evaluate-{name}'}",
    ]  # fmt: skip
    return [*stages, Stage(f"evaluate-{name}", command, folder / f"evaluate-{name}", independent=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/demo-variants"))
    args, demo, results = parser.parse_args(), DemoConfig(), {}
    for name in args.variants:
        run_stages(stages(name, demo, args.output_dir), args.output_dir)
        evaluation = json.loads((args.output_dir / f"evaluate-{name}" / "eval_info.json").read_text())
        successes = [bool(s) for task in evaluation["per_task"] for s in task["metrics"]["successes"]]
        results[name] = {
            "success": sum(successes) / len(successes),
            "interval_95": wilson_interval(sum(successes), len(successes)),
        }
    print(json.dumps({"episodes": demo.eval_episodes, "train_seed": demo.seed, **results}))


if __name__ == "__main__":
    main()
