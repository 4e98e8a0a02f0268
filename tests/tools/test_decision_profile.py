import pytest
import torch
from lerobot.utils.constants import OBS_IMAGES, OBS_STATE
from torch import nn

from lerobot_qwenvla.tools.decision_profile import PARTS, profile

TWO_CAMERAS = {f"{OBS_IMAGES}.screen": (64, 64), f"{OBS_IMAGES}.map": (96, 32)}


@pytest.mark.parametrize("encoding", ["per_frame", "joint"])
@pytest.mark.parametrize("guidance", [{}, {"guidance_scale": 2.0, "instruction_dropout": 0.1}])
def test_a_cached_decision_looks_at_one_frame_of_each_camera(make_policy, encoding, guidance):
    result = profile(make_policy(TWO_CAMERAS, frame_encoding=encoding, **guidance), repeats=2, task="go")
    frames = {kind: (d.frames_new, d.frames_remembered) for kind, d in result.decisions.items()}
    assert frames == {"cached": (2, 4), "uncached": (6, 0)}
    assert result.instruction_ms > 0 and result.solver_step_ms > 0


def test_parts_leave_the_rest_of_the_whole(make_policy):
    for decision in profile(make_policy(), repeats=2, task="go").decisions.values():
        assert tuple(decision.parts) == PARTS
        assert all(0 < part.p50_ms <= part.p99_ms for part in decision.parts.values())
        parts_ms = sum(part.p50_ms for part in decision.parts.values())
        assert parts_ms + decision.other_ms == pytest.approx(max(parts_ms, decision.whole.p50_ms))


def test_a_policy_without_history_has_nothing_to_remember(make_policy):
    decisions = profile(make_policy(num_frames=1, state=0), repeats=1, task="go").decisions.values()
    assert [(d.frames_new, d.frames_remembered) for d in decisions] == [(1, 0), (1, 0)]


# 4 layers: 4 of attention, 3 of MLP.
@pytest.mark.parametrize(("dequantize", "nf4"), [(False, 4 * 7), (True, 0)])
def test_layers_in_four_bits_are_counted_after_their_use(make_policy, dequantize, nf4):
    result = profile(make_policy(quantization="4bit", dequantize=dequantize), repeats=1, task="go")
    assert result.nf4_layers == nf4 < result.linear_layers
    assert result.dequantize is dequantize and result.compile_mode is None


def test_profiling_leaves_the_policy_as_it_was(make_policy):
    policy = make_policy(guidance_scale=2.0, instruction_dropout=0.1)
    observation = {f"{OBS_IMAGES}.screen": torch.rand(1, 3, 64, 64), OBS_STATE: torch.rand(1, 5), "task": ["go"]}
    noise = torch.randn(1, 6, 5)
    before = policy.predict_action_chunk(observation, noise=noise)
    profile(policy, repeats=1, task="go")
    hooks = [module for module in policy.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert hooks == []
    assert torch.equal(policy.predict_action_chunk(observation, noise=noise), before)


def test_parts_are_of_the_sizes_of_a_decision(make_policy):
    """What the vision tower and the text layers are given in a decision, they are given to be timed."""
    policy = make_policy(TWO_CAMERAS, guidance_scale=2.0, instruction_dropout=0.1)
    shapes: dict[nn.Module, list] = {policy.backbone.vision.blocks[0]: [], policy.backbone.text.layers[0]: []}
    for module, seen in shapes.items():
        module.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(tuple(args[0].shape)))
    profile(policy, repeats=1, task="go")
    vision, text = shapes.values()
    cameras = len(TWO_CAMERAS)
    # The last decision, its parts, and the instruction at the end.
    assert vision[-2 * cameras : -cameras] == vision[-cameras:]
    assert text[-2 * cameras - 1 : -cameras - 1] == text[-cameras - 1 : -1]


def test_no_repeats_are_refused(make_policy):
    with pytest.raises(ValueError, match="--repeats must be at least 1, got 0"):
        profile(make_policy(), repeats=0, task="go")
