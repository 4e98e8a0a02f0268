"""`report.html`: one page, one file, with everything a person wants to see of a demo run; and `playing.webp`."""

import json
import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from lerobot.configs.train import TRAIN_CONFIG_NAME
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_qwenvla.demo.animation import read_rollouts, write_animation
from lerobot_qwenvla.demo.figures import frame_strip, predicted_against_recorded
from lerobot_qwenvla.evaluation.report.curves import curves_figure, read_curves
from lerobot_qwenvla.evaluation.report.page import data_url, svg

# Episodes side by side in the moving picture: as many as a README is wide.
ANIMATED_EPISODES = 3


def write_report(out: Path) -> Path:
    """Writes the page and the moving picture of a finished demo run to its folder, and returns the path of the page."""
    summary = json.loads((out / "summary.json").read_text())
    seed = summary["train_seed"]
    checkpoint = Path(summary["checkpoint"])
    training = json.loads((checkpoint / TRAIN_CONFIG_NAME).read_text())
    dataset = LeRobotDataset(training["dataset"]["repo_id"], root=out / "dataset", video_backend="pyav")
    instruction = dataset.meta.tasks.index[0]
    rollouts = read_rollouts(out / f"evaluate-{seed}", summary["eval_seeds"])
    title = f"{summary['task']}, on seeds never recorded"
    write_animation(rollouts[:ANIMATED_EPISODES], title, out / "playing.webp")
    environment = Environment(
        loader=PackageLoader("lerobot_qwenvla.demo", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.jinja").render(
        summary=summary,
        instruction=instruction,
        frame_strip=svg(frame_strip(dataset, episode=0)),
        loss_curve=svg(curves_figure(read_curves(out / "logs" / f"train-{seed}.log", training["log_freq"]))),
        prediction=svg(predicted_against_recorded(checkpoint)),
        rollouts=[(rollout, data_url(rollout.video)) for rollout in rollouts],
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write_report(Path(sys.argv[1])))
