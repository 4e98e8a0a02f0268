"""The demo's success for several training seeds, over the same recordings: all results, not the best.

    python benchmarks/demo_seeds.py 1 2 3

Prints one JSON line. What was done before, by `make demo` too, is not done again.
"""

import argparse
import json

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import run_stages
from lerobot_qwenvla.demo.stages import demo_stages
from lerobot_qwenvla.demo.summary import summarize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="+")
    results = {}
    for seed in parser.parse_args().seeds:
        config = DemoConfig(seed=seed)
        summary = summarize(config, run_stages(demo_stages(config), config.output_dir))
        results[seed] = summary["success"]["policy"]
    baselines = {player: summary["success"][player] for player in ("scripted", "random")}
    print(json.dumps({"episodes": len(summary["eval_seeds"]), "policy_success": results, **baselines}))


if __name__ == "__main__":
    main()
