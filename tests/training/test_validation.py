import json
import re

import pytest
from lerobot.configs import PreTrainedConfig

from lerobot_qwenvla.training.validation import ValidateConfig, best, validate


@pytest.fixture(scope="module")
def run(start, train_arguments, tmp_path_factory):
    """Folder of a run with averages, and the validation losses it logged."""
    output_dir = tmp_path_factory.mktemp("validation") / "run"
    log = start("qwenvla-train", *train_arguments(output_dir), "--ema.enable=true", "--ema.decay=0.5").wait()
    return output_dir, [float(loss) for loss in re.findall(r"eval_loss=([\d.]+)", log)]


def test_a_checkpoint_has_the_loss_that_its_run_logged_each_time(run):
    output_dir, logged = run
    losses = validate(ValidateConfig(output_dir))
    again = [losses[f"{step:06}/pretrained_model"]["loss"] for step in (4, 8, 12)]
    assert again == pytest.approx(logged, abs=5e-5)  # they are rounded
    assert validate(ValidateConfig(output_dir)) == losses
    assert json.loads((output_dir / "validation.json").read_text()) == losses


def test_so_has_one_that_was_trained_on_pictures(start, train_arguments, pictures, tmp_path):
    settings = {"dataset.root": pictures.root, "steps": 1, "eval_steps": 1}
    log = start("lerobot-train", *train_arguments(tmp_path / "run", **settings)).wait()
    [[losses]] = [validate(ValidateConfig(tmp_path / "run")).values()]
    assert f"eval_loss={losses['loss']:.4f}" in log


def test_averages_are_validated_too_and_parts_add_up(run):
    losses = validate(ValidateConfig(run[0]))
    assert len(losses) == 6
    for each in losses.values():
        parts = 2 * each["loss_mouse"] + each["loss_button"] + each["loss_key"]
        assert parts / 4 == pytest.approx(each["loss"], rel=1e-5)
    averaged, last = (losses[f"000012/pretrained_model{suffix}"]["loss"] for suffix in ("_ema", ""))
    assert averaged != last


def test_best_leads_to_the_weights_with_the_lowest_loss(run):
    losses = validate(ValidateConfig(run[0]))
    link = run[0] / "checkpoints" / "best"
    lowest = min(losses, key=lambda name: losses[name]["loss"])
    assert link.resolve() == (run[0] / "checkpoints" / lowest).resolve()
    assert PreTrainedConfig.from_pretrained(link).type == "qwenvla"
    assert best({"a": {"loss": 2.0}, "b": {"loss": 1.0}, "c": {"loss": 1.0}}) == "b"


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--output_dir must be that of a training run"):
        validate(ValidateConfig(tmp_path))


def test_a_run_that_held_nothing_out_is_refused(start, train_arguments, tmp_path):
    settings = {"steps": 1, "eval_steps": 0, "dataset.eval_split": 0.0}
    start("lerobot-train", *train_arguments(tmp_path / "run", **settings)).wait()
    with pytest.raises(ValueError, match=r"held no episode out: train with --dataset\.eval_split"):
        validate(ValidateConfig(tmp_path / "run"))
