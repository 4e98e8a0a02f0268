"""`qwenvla-report`: one page, one file, about a training run of lerobot-train, without an account anywhere.

Curves, predicted beside recorded actions of a held-out episode, where the policy looks there, and its rollouts; with
`--wandb=true` the same in the W&B run that lerobot-train has logged its curves to.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import draccus
from draccus.utils import DraccusException
from jinja2 import Environment, PackageLoader, StrictUndefined
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.factory import make_train_eval_datasets
from lerobot.utils.constants import CHECKPOINTS_DIR, LAST_CHECKPOINT_LINK, PRETRAINED_MODEL_DIR
from matplotlib.figure import Figure

from lerobot_qwenvla.evaluation.attention.command import figure_of, look
from lerobot_qwenvla.evaluation.comparison import POLICY
from lerobot_qwenvla.evaluation.decisions import decide
from lerobot_qwenvla.evaluation.figures import episode_figure
from lerobot_qwenvla.evaluation.loading import Subject, load_checkpoint, read_training
from lerobot_qwenvla.evaluation.metrics import binary_channels
from lerobot_qwenvla.evaluation.report.curves import curves_figure, read_curves
from lerobot_qwenvla.evaluation.report.page import data_url, svg
from lerobot_qwenvla.evaluation.report.wandb_run import log_to_wandb
from lerobot_qwenvla.features.columns import feature_columns

SEED = 0  # of the noise
MOST_FILMS = 6


@dataclass
class ReportConfig:
    # What the training run was given as --output_dir.
    output_dir: Path
    # What the run printed; if None, train.log in its folder (lerobot-train ... 2>&1 | tee .../train.log).
    train_log: Path | None = None
    # Folder of a dataset of pictures, for a run on precomputed features: attention can only be shown on pictures.
    pictures: Path | None = None
    # What lerobot-eval was given as --output_dir, for its films.
    eval_dir: Path | None = None
    # Also logs what is shown to the W&B run of the training run.
    wandb: bool = False


def write_report(config: ReportConfig) -> Path:
    """Writes report.html to the folder of the run, and returns its path.

    Raises:
        ValueError: There is no checkpoint, or it does not fit the datasets.
    """
    checkpoint = config.output_dir / CHECKPOINTS_DIR / LAST_CHECKPOINT_LINK / PRETRAINED_MODEL_DIR
    if not checkpoint.is_dir():
        raise ValueError(f"{checkpoint}: no checkpoint; --output_dir must be that of a training run")
    training = read_training(checkpoint)
    figures: dict[str, Figure] = {}
    notes: list[str] = []
    log = config.train_log or config.output_dir / "train.log"
    if curves := read_curves(log, training.log_freq) if log.is_file() else {}:
        figures["curves"] = curves_figure(curves)
    else:
        notes.append(f"No curves: {log} has none. Keep what lerobot-train prints there, with tee, say.")
    episode, is_held_out = _episode(training)
    subject = load_checkpoint(checkpoint, training.dataset, [episode])
    figures["predicted and recorded actions"] = prediction_figure(subject, is_held_out)
    figures |= _attention_figures(config, checkpoint, training, subject, notes)
    films = films_of(config.eval_dir) if config.eval_dir else {}
    page = _page(config.output_dir, training, figures, films, notes)
    path = config.output_dir / "report.html"
    path.write_text(page, encoding="utf-8")
    if config.wandb:
        log_to_wandb(training, config.output_dir, figures, films)
    return path


def prediction_figure(subject: Subject, is_held_out: bool) -> Figure:
    """What the policy would do in the subject's one episode, beside what was recorded."""
    told = {POLICY: {}}
    parts = subject.policy, subject.preprocessor, subject.postprocessor, subject.dataset, told
    decisions = decide(*parts, seed=SEED, batch_size=16)
    config, fps = subject.policy.config, subject.dataset.fps
    executed = decisions.executed(decisions.predicted[POLICY], config.n_action_steps)
    names = config.action_names or [f"action.{i}" for i in range(decisions.true.shape[2])]
    return episode_figure(
        executed.predicted[0],
        executed.true[0],
        names=names,
        is_binary=binary_channels(names, decisions.true[~decisions.is_pad]),
        fps=fps,
        title=f"Episode {subject.episodes[0]}, {'held out' if is_held_out else 'of the training data'}; "
        f"looking again every {config.n_action_steps / fps:g} s",
    )


def films_of(eval_dir: Path) -> dict[str, Path]:
    """Films of a lerobot-eval run, with how they ended.

    Raises:
        ValueError: There is none.
    """
    path = eval_dir / "eval_info.json"
    if not path.is_file():
        raise ValueError(f"{path}: missing; --eval_dir must be the --output_dir of lerobot-eval")
    films = {}
    for task in json.loads(path.read_text(encoding="utf-8"))["per_task"]:
        metrics = task["metrics"]
        for i, (video, success) in enumerate(zip(metrics["video_paths"], metrics["successes"], strict=False)):
            films[f"{task['task_group']} {i}: {'success' if success else 'no success'}"] = Path(video)
    return dict(list(films.items())[:MOST_FILMS])


def _episode(training: TrainPipelineConfig) -> tuple[int, bool]:
    """The first episode that was held out, or else of all; and whether it was held out."""
    seen, held_out = make_train_eval_datasets(training)
    return ((held_out or seen).episodes or [0])[0], held_out is not None


def _attention_figures(
    config: ReportConfig, checkpoint: Path, training: TrainPipelineConfig, subject: Subject, notes: list[str]
) -> dict[str, Figure]:
    if feature_columns(subject.dataset.meta.features):
        if config.pictures is None:
            notes.append("No attention: the run trained on precomputed features; pass --pictures=DATASET.")
            return {}
        source = DatasetConfig(
            training.dataset.repo_id, root=str(config.pictures), video_backend=training.dataset.video_backend
        )
        subject = load_checkpoint(checkpoint, source, subject.episodes)
    seen = look(subject, subject.episodes[0], batch_size=16, seed=SEED)
    offsets = subject.policy.config.frame_offsets
    return {f"attention, {camera.split('.')[-1]}": figure_of(seen, camera, offsets) for camera in seen.shares.pictures}


def _page(
    output_dir: Path,
    training: TrainPipelineConfig,
    figures: dict[str, Figure],
    films: dict[str, Path],
    notes: list[str],
) -> str:
    loader = PackageLoader("lerobot_qwenvla.evaluation.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    data = training.dataset
    return environment.get_template("run.html.jinja").render(
        name=output_dir.name,
        facts=f"{training.steps} steps of {training.batch_size} samples of {data.repo_id}, seed {training.seed}",
        notes=notes,
        figures={name: svg(figure) for name, figure in figures.items()},
        films={name: data_url(path) for name, path in films.items()},
        settings=draccus.dump(training, indent=2),
    )


def main() -> None:
    try:
        config = draccus.parse(ReportConfig, prog="qwenvla-report")
        print(write_report(config))
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-report: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
