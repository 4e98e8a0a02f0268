"""The demo's success with other settings of the policy, over the same recordings: all results, not the best.

    python benchmarks/demo_variants.py average learned joint joint-cached 64px

Prints one JSON line. What was done before, by `make demo` too, is not done again.
"""

import argparse
import json

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import Stage, run_stages
from lerobot_qwenvla.demo.stages import FEATURE_SETTINGS, evaluated, featured, recorded, trained
from lerobot_qwenvla.demo.summary import read_successes, wilson_interval

# Settings of the policy in training, and those changed for the evaluation.
VARIANTS = {
    "default": ({}, {}),
    "average": ({"token_pooling": "average"}, {}),
    "learned": ({"token_pooling": "learned"}, {}),
    "joint": ({"frame_encoding": "joint"}, {}),
    # Trained jointly, and then every frame is encoded by itself and remembered.
    "joint-cached": ({"frame_encoding": "joint"}, {"frame_encoding": "per_frame"}),
    "64px": ({"image_size": 64}, {}),
    "heun": ({}, {"solver": "heun", "num_inference_steps": 5}),
}


def stages(name: str, demo: DemoConfig) -> list[Stage]:
    """The demo's stages up to the recordings, features where they differ from the demo's, training, evaluation."""
    training, evaluation = VARIANTS[name]
    run = "-".join([*(f"{setting}={value}" for setting, value in training.items()), str(demo.seed)])
    features = "features" if training.keys().isdisjoint(FEATURE_SETTINGS) else f"features-{run}"
    return [
        *recorded(demo),
        featured(demo, features, **training),
        trained(demo, run, features, **training),
        evaluated(demo, f"{name}-{demo.seed}", run, **evaluation),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    demo, results = DemoConfig(), {}
    for name in parser.parse_args().variants:
        *_, evaluation = variant = stages(name, demo)
        run_stages(variant, demo.output_dir)
        successes = read_successes(evaluation.output)
        results[name] = {
            "success": sum(successes) / len(successes),
            "interval_95": wilson_interval(sum(successes), len(successes)),
        }
    print(json.dumps({"episodes": demo.eval_episodes, "train_seed": demo.seed, **results}))


if __name__ == "__main__":
    main()
