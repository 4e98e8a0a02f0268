"""What lerobot-train itself promises holds for our policy: resuming, several processes, validation."""

import re

import pytest
import torch
from safetensors.torch import load_file


def training_losses(log: str) -> list[str]:
    """Of a run that logs every step, as it logs them."""
    return re.findall(r"step:\d+ .*?\bloss:([\d.]+)", log)


def validation_losses(log: str) -> list[str]:
    return re.findall(r"eval_loss=([\d.]+)", log)


def weights(output_dir) -> dict[str, torch.Tensor]:
    return load_file(output_dir / "checkpoints" / "last" / "pretrained_model" / "model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(start, train_arguments, tmp_path_factory):
    """Log and folder of a run of one process."""
    output_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
    return start("lerobot-train", *train_arguments(output_dir)).wait(), output_dir


def test_a_killed_run_goes_on_with_the_losses_of_an_uninterrupted_one(start, train_arguments, tmp_path, uninterrupted):
    output_dir, done = tmp_path / "run", 4  # of the six batches of an epoch; after it, qwenvla-train resumes exactly
    killed = start("lerobot-train", *train_arguments(output_dir))
    killed.wait_for_log("step:6 ")
    killed.kill()
    config = output_dir / "checkpoints" / f"{done:06}" / "pretrained_model" / "train_config.json"
    log = start("lerobot-train", f"--config_path={config}", "--resume=true").wait()
    expected, expected_dir = uninterrupted
    assert training_losses(log) == training_losses(expected)[done:]
    assert validation_losses(log) == validation_losses(expected)[done // 4 :]
    assert all(torch.equal(weights(output_dir)[name], value) for name, value in weights(expected_dir).items())


def test_validating_changes_nothing_in_the_run(start, train_arguments, tmp_path, uninterrupted):
    log = start("lerobot-train", *train_arguments(tmp_path / "run", eval_steps=0, save_freq=0)).wait()
    expected, expected_dir = uninterrupted
    assert training_losses(log) == training_losses(expected) and not validation_losses(log)
    assert all(torch.equal(weights(tmp_path / "run")[name], value) for name, value in weights(expected_dir).items())


def test_two_processes_train_as_one_with_twice_the_batch(start_two, train_arguments, tmp_path, uninterrupted):
    log = start_two("lerobot-train", *train_arguments(tmp_path / "run", batch_size=2)).wait()
    expected, expected_dir = uninterrupted
    for losses in (training_losses, validation_losses):
        got, wanted = ([float(loss) for loss in losses(text)] for text in (log, expected))
        assert got == pytest.approx(wanted, abs=2e-3)  # they are rounded
    # A tenth of one of Adam's updates, which makes as much of a gradient that is mostly rounding as of any other.
    torch.testing.assert_close(weights(tmp_path / "run"), weights(expected_dir), atol=1e-4, rtol=0)
