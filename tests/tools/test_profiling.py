import json
import sys

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from matplotlib.image import imread

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.profiling import COLORS, PARTS, main, profile


@pytest.fixture(scope="module")
def make_policy(make_config):
    def make(cameras: int = 1, **overrides) -> QwenVLAPolicy:
        camera = PolicyFeature(FeatureType.VISUAL, (3, 64, 64))
        inputs = {f"{OBS_IMAGES}.{i}": camera for i in range(cameras)}
        inputs[OBS_STATE] = PolicyFeature(FeatureType.STATE, (5,))
        outputs = {ACTION: PolicyFeature(FeatureType.ACTION, (5,))}
        return QwenVLAPolicy(make_config(input_features=inputs, output_features=outputs, **overrides))

    return make


def run(monkeypatch, *arguments: str) -> str | int | None:
    """What the command exits with: nothing, or what it complains of."""
    monkeypatch.setattr(sys, "argv", ["qwenvla-profile", *arguments])
    try:
        main()
    except SystemExit as exit_:
        return exit_.code


@pytest.mark.parametrize("encoding", ["per_frame", "joint"])
@pytest.mark.parametrize("cameras", [1, 2])
def test_parts_add_up_and_a_cached_decision_looks_at_one_frame(make_policy, cameras, encoding):
    result = profile(make_policy(cameras, frame_encoding=encoding), repeats=2, task="go")
    frames = {kind: (d.frames_new, d.frames_remembered) for kind, d in result.decisions.items()}
    assert frames == {"cached": (cameras, 2 * cameras), "uncached": (3 * cameras, 0)}
    for decision in result.decisions.values():
        assert decision.parts_ms.keys() == COLORS.keys()
        assert all(ms > 0 for ms in decision.parts_ms.values())
        assert sum(decision.parts_ms.values()) == pytest.approx(decision.decision_ms)
    assert result.instruction_ms > 0
    assert 0 < result.solver_step_ms < result.decisions["cached"].decision_ms


def test_a_policy_without_history_has_nothing_to_remember(make_policy):
    decisions = profile(make_policy(num_frames=1), repeats=1, task="go").decisions.values()
    assert [(d.frames_new, d.frames_remembered) for d in decisions] == [(1, 0), (1, 0)]


@pytest.mark.parametrize(("quantization", "nf4"), [("none", 0), ("4bit", 4 * 7)])  # 4 layers: 4 of attention, 3 of MLP
def test_layers_in_four_bits_are_counted(make_policy, quantization, nf4):
    result = profile(make_policy(quantization=quantization), repeats=1, task="go")
    assert result.nf4_layers == nf4 < result.linear_layers


def test_profiling_leaves_the_policy_as_it_was(make_policy):
    policy = make_policy(guidance_scale=2.0, instruction_dropout=0.1)
    observation = {f"{OBS_IMAGES}.0": torch.rand(1, 3, 64, 64), OBS_STATE: torch.rand(1, 5), "task": ["go"]}
    noise = torch.randn(1, 6, 5)
    methods = [getattr(owner, name) for owner, name, _ in PARTS.values()]
    before = policy.predict_action_chunk(observation, noise=noise)
    profile(policy, repeats=1, task="go")
    assert [getattr(owner, name) for owner, name, _ in PARTS.values()] == methods
    assert torch.equal(policy.predict_action_chunk(observation, noise=noise), before)


def test_command_profiles_a_policy_of_settings(backbone_dir, tmp_path, monkeypatch, capsys):
    settings = [
        "--policy.type=qwenvla", f"--policy.backbone={backbone_dir}", "--policy.vlm_layer=4", "--policy.image_size=64",
        "--policy.expert_layers=2", "--policy.expert_width=64", "--policy.expert_heads=4", "--policy.device=cpu",
    ]  # fmt: skip
    assert run(monkeypatch, *settings, "--repeats=1", f"--output={tmp_path / 'out'}") is None
    written = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert written["decisions"]["cached"]["parts_ms"].keys() == COLORS.keys()
    assert written["nf4_layers"] == 28  # the policy's own default
    height, width, _ = imread(tmp_path / "out" / "profile.png").shape
    assert width > 2 * height
    printed = capsys.readouterr().out
    assert all(part in printed for part in COLORS)
    assert "28 of " in printed


def test_command_profiles_a_checkpoint_with_other_settings(make_policy, tmp_path, monkeypatch):
    make_policy().save_pretrained(tmp_path / "checkpoint")
    checkpoint = f"--policy.path={tmp_path / 'checkpoint'}"
    assert run(monkeypatch, checkpoint, "--policy.quantization=4bit", "--repeats=1", f"--output={tmp_path}") is None
    assert json.loads((tmp_path / "profile.json").read_text())["nf4_layers"] == 28


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


def test_no_repeats_are_refused(make_policy):
    with pytest.raises(ValueError, match="--repeats must be at least 1, got 0"):
        profile(make_policy(), repeats=0, task="go")
