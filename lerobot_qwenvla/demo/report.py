"""`report.html`: one page, one file, with everything a person wants to see of a demo run."""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from lerobot.configs.train import TRAIN_CONFIG_NAME
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from matplotlib.figure import Figure

from lerobot_qwenvla.demo.figures import frame_strip, loss_curve, predicted_against_recorded, read_losses


def write_report(out: Path) -> Path:
    """Writes the page of a finished demo run to its folder, and returns its path."""
    summary = json.loads((out / "summary.json").read_text())
    seed = summary["train_seed"]
    checkpoint = Path(summary["checkpoint"])
    training = json.loads((checkpoint / TRAIN_CONFIG_NAME).read_text())
    dataset = LeRobotDataset(training["dataset"]["repo_id"], root=out / "dataset", video_backend="pyav")
    rollouts = _rollouts(out / f"evaluate-{seed}" / "eval_info.json", summary["eval_seeds"])
    environment = Environment(
        loader=PackageLoader("lerobot_qwenvla.demo", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.jinja").render(
        summary=summary,
        instruction=dataset.meta.tasks.index[0],
        frame_strip=_svg(frame_strip(dataset, episode=0)),
        loss_curve=_svg(loss_curve(*read_losses(out / "logs" / f"train-{seed}.log", training["log_freq"]))),
        prediction=_svg(predicted_against_recorded(checkpoint)),
        rollouts=rollouts,
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _rollouts(eval_info: Path, seeds: list[int]) -> list[dict[str, Any]]:
    metrics = json.loads(eval_info.read_text())["per_task"][0]["metrics"]
    return [
        {
            "seed": seed,
            "success": bool(success),
            "source": "data:video/mp4;base64," + base64.b64encode(Path(path).read_bytes()).decode(),
        }
        for seed, success, path in zip(seeds, metrics["successes"], metrics["video_paths"], strict=False)
    ]


def _svg(figure: Figure) -> str:
    """Figure as an inline SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]


if __name__ == "__main__":
    print(write_report(Path(sys.argv[1])))
