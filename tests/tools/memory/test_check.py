import sys

import pytest

from lerobot_qwenvla.tools.memory import check


def run(monkeypatch: pytest.MonkeyPatch, backbone_dir, *arguments: str) -> str | int | None:
    """What the command exits with: nothing, or what it complains of."""
    settings = [
        "--policy.type=qwenvla", "--policy.device=cpu", f"--policy.backbone={backbone_dir}", "--policy.vlm_layer=1",
        "--policy.image_size=64", "--policy.expert_layers=1", "--policy.expert_width=64", "--policy.expert_heads=4",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["qwenvla-memory-check", *settings, *arguments])
    try:
        check.main()
    except SystemExit as exit_:
        return exit_.code


def test_a_run_on_features_is_checked_without_and_with_weights(monkeypatch, backbone_dir, feature_dataset, capsys):
    dataset = [f"--dataset.repo_id={feature_dataset.repo_id}", f"--dataset.root={feature_dataset.root}"]
    as_computed = ["--policy.quantization=none", "--policy.dtype=float32", "--policy.vlm_layer=4"]
    assert run(monkeypatch, backbone_dir, *dataset, *as_computed, "--batch_size=2", "--measure=true") is None
    printed = capsys.readouterr().out
    assert "training, batch of 16" in printed and "fits" in printed
    assert (
        "Measured on cpu" in printed and printed.count("training, batch of") > 1
    )  # computed, and then beside measured
    [vision] = [line for line in printed.splitlines() if "vision tower" in line]
    assert "0.0" in vision  # never loaded


def test_a_card_that_is_too_small_is_told_with_what_would_help(monkeypatch, backbone_dir, capsys):
    least = ["--policy.num_frames=1", "--policy.gradient_checkpointing=true", "--policy.token_pooling=average"]
    assert run(monkeypatch, backbone_dir, *least, "--card_gb=0.72", "--batch_size=32") is None
    printed = capsys.readouterr().out
    assert "too large" in printed
    assert "any one of" in printed and "--batch_size=" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy.backbone=nowhere"], "--policy.backbone=nowhere: "),
        (["--policy.quantization=3bit"], "--policy.quantization must be one of none, 4bit, 8bit, got '3bit'"),
        (["--card_gb=0"], "--card_gb must be above 0, got 0"),
        (["--dataset.repo_id=a/b", "--dataset.root=nowhere"], "--dataset.root=nowhere: no such folder"),
        (["--dataset.repo_id=a/b"], "Cannot reach "),
    ],
)
def test_bad_input_is_one_clear_line(monkeypatch, tmp_path, backbone_dir, arguments, message):
    monkeypatch.chdir(tmp_path)
    complaint = run(monkeypatch, backbone_dir, *arguments)
    assert complaint.startswith(f"qwenvla-memory-check: {message}")
    assert "\n" not in complaint
