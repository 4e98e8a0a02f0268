"""`report.html`: one page, one file, with everything a person wants to see of a demo run; and `playing.webp`."""

import base64
import io
import json
import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from lerobot.configs.train import TRAIN_CONFIG_NAME
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from matplotlib.figure import Figure

from lerobot_qwenvla.demo.animation import read_rollouts, write_animation
from lerobot_qwenvla.demo.figures import frame_strip, loss_curve, predicted_against_recorded, read_losses

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
    write_animation(rollouts[:ANIMATED_EPISODES], instruction, out / "playing.webp")
    environment = Environment(
        loader=PackageLoader("lerobot_qwenvla.demo", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.jinja").render(
        summary=summary,
        instruction=instruction,
        frame_strip=_svg(frame_strip(dataset, episode=0)),
        loss_curve=_svg(loss_curve(*read_losses(out / "logs" / f"train-{seed}.log", training["log_freq"]))),
        prediction=_svg(predicted_against_recorded(checkpoint)),
        rollouts=[(rollout, _data_url(rollout.video)) for rollout in rollouts],
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _data_url(video: Path) -> str:
    return "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()


def _svg(figure: Figure) -> str:
    """Figure as an inline SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]


if __name__ == "__main__":
    print(write_report(Path(sys.argv[1])))
