"""LeRobot's own ACT on the demo's task: the same recordings, screen, window of actions, and seeds of evaluation.

    python benchmarks/demo_act.py

Prints one JSON line. What was done before, by `make demo` too, is not done again. ACT keeps LeRobot's settings but for
those in `SETTINGS`.
"""

import argparse
import json

import yaml

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import Stage, program, run_stages
from lerobot_qwenvla.demo.stages import evaluated, recorded
from lerobot_qwenvla.evaluation.success import read_successes, success_rate

SETTINGS = {
    # From scratch, as our expert: no ImageNet weights to download. The rate of 1e-5 is for finetuning those.
    "pretrained_backbone_weights": "null",
    "optimizer_lr": 1e-4,
    "optimizer_lr_backbone": 1e-4,
    # Episodes last four seconds on average; the default of 100 actions without a look would be ten.
    "chunk_size": 16,
    "n_action_steps": 4,
    "device": "cpu",
    "push_to_hub": "false",
}

# With LeRobot's default of 8, 600 steps are not enough: 7 of 50 episodes.
BATCH_SIZE = 16


def stages(demo: DemoConfig, steps: int) -> list[Stage]:
    """The demo's stages up to the recordings, ACT's training on their pictures, its evaluation."""
    run = f"act-{steps}-steps-{demo.seed}"
    train_dir = demo.output_dir / f"train-{run}"
    dataset = yaml.safe_load(demo.train_config.read_text())["dataset"]
    # What the policy is shown: the demo hides mouse and keys from QwenVLA, so ACT does not see them either.
    screen = f"{{observation.images.screen: {{type: VISUAL, shape: [3, {demo.canvas}, {demo.canvas}]}}}}"
    command = [
        program("lerobot-train"), "--policy.type=act", f"--policy.input_features={screen}",
        *(f"--policy.{name}={value}" for name, value in SETTINGS.items()),
        f"--dataset.repo_id={dataset['repo_id']}", f"--dataset.root={demo.output_dir / 'dataset'}",
        "--dataset.video_backend=pyav", f"--output_dir={train_dir}", f"--seed={demo.seed}", f"--steps={steps}",
        f"--batch_size={BATCH_SIZE}",
        "--num_workers=1", "--log_freq=20", "--save_freq=0", "--env_eval_freq=0",
    ]  # fmt: skip
    return [*recorded(demo), Stage(train_dir.name, command, train_dir), evaluated(demo, run)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=DemoConfig.seed)
    args = parser.parse_args()
    demo = DemoConfig(seed=args.seed)
    *_, training, evaluation = act = stages(demo, args.steps)
    seconds = run_stages(act, demo.output_dir)
    successes = read_successes(evaluation.output)
    result = {
        "policy": "act",
        "episodes": len(successes),
        **success_rate(successes),
        "steps": args.steps,
        "train_seed": args.seed,
        "train_seconds": seconds[training.name],
        "evaluate_seconds": seconds[evaluation.name],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
