"""`qwenvla-demo`: from recorded play to a policy that drives, on two CPU cores; what is done already is skipped."""

import json
import sys
from typing import Any

import draccus
from draccus.utils import DraccusException

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import run_command, run_stages
from lerobot_qwenvla.demo.stages import demo_stages
from lerobot_qwenvla.demo.summary import success_table, summarize


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
    seconds = run_stages(demo_stages(config), config.output_dir)
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
    print(f"\n{success_table(summary)}\n\nOpen {config.output_dir / 'report.html'}")


if __name__ == "__main__":
    main()
