import json
import sys

import pytest
from matplotlib.image import imread

from lerobot_qwenvla.tools.decision_profile import PARTS
from lerobot_qwenvla.tools.profiling import main


def run(monkeypatch, *arguments: str) -> str | int | None:
    """What the command exits with: nothing, or what it complains of."""
    monkeypatch.setattr(sys, "argv", ["qwenvla-profile", *arguments])
    try:
        main()
    except SystemExit as exit_:
        return exit_.code


def test_command_profiles_a_policy_of_settings(backbone_dir, tmp_path, monkeypatch, capsys):
    settings = [
        "--policy.type=qwenvla", f"--policy.backbone={backbone_dir}", "--policy.vlm_layer=4", "--policy.image_size=64",
        "--policy.expert_layers=2", "--policy.expert_width=64", "--policy.expert_heads=4", "--policy.device=cpu",
    ]  # fmt: skip
    assert run(monkeypatch, *settings, "--repeats=1", f"--output={tmp_path / 'out'}") is None
    written = json.loads((tmp_path / "out" / "profile.json").read_text(encoding="utf-8"))
    assert written["decisions"]["cached"]["parts"].keys() == set(PARTS)
    assert written["nf4_layers"] == 28  # the policy's own default
    height, width, _ = imread(tmp_path / "out" / "profile.png").shape
    assert width > 2 * height
    printed = capsys.readouterr().out
    assert all(part in printed for part in PARTS)
    assert "28 of " in printed


def test_command_profiles_a_checkpoint_with_other_settings(make_policy, tmp_path, monkeypatch, capsys):
    make_policy().save_pretrained(tmp_path / "checkpoint")
    other = ["--policy.quantization=4bit", "--policy.dequantize=true"]
    checkpoint = f"--policy.path={tmp_path / 'checkpoint'}"
    assert run(monkeypatch, checkpoint, *other, "--repeats=1", f"--output={tmp_path}") is None
    assert json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["dequantize"] is True
    assert "4-bit weights made whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "pass --policy.path=CHECKPOINT of a qwenvla policy, or --policy.type=qwenvla"),
        (["--policy.type=act", "--policy.device=cpu"], "pass --policy.path=CHECKPOINT of a qwenvla policy"),
        (["--policy.path=/no/such"], "--policy.path=/no/such: "),
        (["--policy.type=qwenvla", "--policy.backbone=/no/such"], "--policy.backbone=/no/such: "),
    ],
)
def test_bad_input_is_one_line(monkeypatch, arguments, complaint):
    message = run(monkeypatch, *arguments)
    assert message.startswith(f"qwenvla-profile: {complaint}")
    assert len(message.splitlines()) == 1
