"""PEFT as lerobot-train and lerobot-eval use it: adapters of the expert, of the frozen backbone, and both."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from lerobot.configs import PreTrainedConfig
from lerobot.configs.default import PeftConfig
from lerobot.policies.factory import make_policy
from lerobot.utils.constants import OBS_STATE
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers import Qwen3VLModel

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

SCREEN = "observation.images.screen"
TEXT = r"backbone\.text\..*\.(q|v)_proj"
VISION = r"backbone\.vision\..*\.(qkv|linear_fc\d)"
EVERYWHERE = rf"{TEXT}|{VISION}|model\.expert\..*\.(query|key_value)"
LINEAR = {"none": nn.Linear, "4bit": Linear4bit, "8bit": Linear8bitLt}
FRAMES = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(2))  # (B, F, C, H, W)
INSTRUCTIONS = ["go", "go to the red box"]


@pytest.fixture
def adapt(pixel_dataset, make_trainee, tmp_path):
    """A policy wrapped as lerobot-train wraps it, with adapters that have already moved."""

    def adapt(dataset=pixel_dataset, *, targets=None, full=None, **settings) -> PeftModel:
        policy = make_trainee(dataset, **settings)
        policy.save_pretrained(tmp_path / "base")
        policy.config.pretrained_path = tmp_path / "base"
        options = PeftConfig(target_modules=targets, full_training_modules=full, r=4)
        adapted = policy.wrap_with_peft(peft_cli_overrides=asdict(options))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
        return adapted

    return adapt


def save(adapted: PeftModel, folder) -> None:
    """As lerobot-train saves a checkpoint."""
    adapted.save_pretrained(folder)
    adapted.config.save_pretrained(folder)


def load(folder, dataset) -> PeftModel:
    """As lerobot-eval, and lerobot-train when it goes on, load one."""
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_path = folder
    return make_policy(config, ds_meta=dataset.meta)


def trained(policy: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in policy.named_parameters() if p.requires_grad}


def observation() -> dict:
    return {SCREEN: FRAMES, OBS_STATE: torch.linspace(-1, 1, 10).view(2, 5), "task": INSTRUCTIONS}


def decide(policy: nn.Module) -> torch.Tensor:
    noise = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3))
    return policy.predict_action_chunk(observation(), noise=noise)


def train_a_step(adapted: PeftModel, batch: dict, **options) -> None:
    optimizer = torch.optim.AdamW(adapted.get_optim_params(), lr=1e-2, **options)
    adapted.train()
    adapted(batch)[0].backward()
    optimizer.step()


def test_by_default_every_linear_layer_but_the_backbones_is_adapted(adapt):
    adapted = adapt(token_pooling="learned")
    policy = adapted.get_base_model()
    layers = {name for name, module in policy.named_modules() if isinstance(module, LoraLayer)}
    base = QwenVLAPolicy.from_pretrained(policy.config.pretrained_path)
    linear = {name for name, module in base.named_modules() if isinstance(module, nn.Linear)}
    assert layers == {name for name in linear if not name.startswith("backbone.")}
    assert {name.split(".lora_")[0] for name in trained(policy)} == layers


@pytest.mark.parametrize("quantization", ["none", "4bit", "8bit"])
@pytest.mark.parametrize("targets", [TEXT, VISION])
def test_backbone_adapters_learn_and_all_else_stays(adapt, make_batch, pixel_dataset, targets, quantization):
    part = {"quantization": quantization} if targets is TEXT else {"vision_quantization": quantization}
    adapted = adapt(targets=targets, **part)
    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    assert layers and {type(layer.get_base_layer()) for layer in layers} == {LINEAR[quantization]}
    assert {type(layer).__name__ for layer in layers} == {LINEAR[quantization].__name__}  # PEFT's namesakes
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    train_a_step(adapted, make_batch(pixel_dataset, adapted, [0, 12]))
    assert all(p.grad.abs().max() > 0 for p in trained(adapted).values())
    moved = {name for name, p in adapted.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if "lora_" in name}


@pytest.mark.parametrize("mode", ["per_frame", "joint"])
def test_gradient_of_adapters_is_that_of_the_full_model(adapt, backbone_dir, mode):
    """Instruction and pictures in one sequence, read by transformers' own model with the same adapters."""
    backbone = adapt(targets=TEXT, frame_encoding=mode).get_base_model().backbone
    full = Qwen3VLModel.from_pretrained(backbone_dir, dtype=torch.float32)
    layers = r"language_model\.layers\.[0-3]\..*\.(q|v)_proj"
    full = get_peft_model(full, LoraConfig(r=4, target_modules=layers)).get_base_model()
    own = {name.removeprefix("text."): p for name, p in trained(backbone).items()}
    reference = {name.removeprefix("language_model."): p for name, p in trained(full).items()}
    assert own.keys() == reference.keys()
    for name, parameter in own.items():
        reference[name].data.copy_(parameter)
    direction = torch.randn(2, 3, 4, 64)  # (B, F, T, D)
    (backbone.encode(FRAMES, INSTRUCTIONS) * direction).sum().backward()
    for row, instruction in enumerate(INSTRUCTIONS):
        for frames in [range(3)] if mode == "joint" else [[0], [1], [2]]:
            content = [{"type": "text", "text": instruction}, *[{"type": "image"}] * len(frames)]
            prompt = backbone.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
            pictures = [FRAMES[row, frame] for frame in frames]
            inputs = backbone.processor(
                text=[prompt], images=pictures, do_rescale=False, size=backbone.resize, return_tensors="pt"
            )
            hidden = full(**inputs, output_hidden_states=True).hidden_states[4][0]
            seen = hidden[inputs["input_ids"][0] == full.config.image_token_id].unflatten(0, (len(frames), -1))
            (seen * direction[row, list(frames)]).sum().backward()
    for name, parameter in own.items():
        torch.testing.assert_close(parameter.grad, reference[name].grad, atol=1e-4, rtol=1e-3, msg=name)


CASES = {
    "expert": {},
    "backbone": {"targets": TEXT, "full": ["context", "expert"], "quantization": "4bit"},
    "everywhere": {"targets": EVERYWHERE, "quantization": "8bit", "dtype": "bfloat16"},
}


@pytest.mark.parametrize("case", CASES)
def test_checkpoint_holds_what_was_trained_and_acts_the_same(adapt, make_batch, pixel_dataset, tmp_path, case):
    adapted = adapt(**CASES[case])
    train_a_step(adapted, make_batch(pixel_dataset, adapted, [0, 12]))
    save(adapted, tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    of_dataset = sum(buffer.numel() for name, buffer in weights.items() if name.endswith((".mean", ".std")))
    assert sum(p.numel() for p in weights.values()) - of_dataset == sum(p.numel() for p in trained(adapted).values())
    assert all("lora_" in name for name in weights if "backbone" in name)
    loaded = load(tmp_path / "adapter", pixel_dataset)
    assert torch.equal(decide(loaded), decide(adapted))
    for name, parameter in trained(adapted).items():
        assert torch.equal(parameter, trained(loaded)[name]), name
    assert not torch.equal(decide(loaded), decide(QwenVLAPolicy.from_pretrained(tmp_path / "base")))


def test_adapters_of_the_expert_can_be_merged_into_a_plain_checkpoint(adapt, tmp_path):
    adapted = adapt()
    before = decide(adapted)
    merged = adapted.merge_and_unload()
    merged.config.use_peft = False
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(decide(QwenVLAPolicy.from_pretrained(tmp_path / "merged")), before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_optimizer_gets_what_is_trained(adapt, case):
    adapted = adapt(optimizer_projector_lr_scale=0.5, **CASES[case])
    groups = adapted.get_optim_params()
    names = {parameter: name for name, parameter in trained(adapted).items()}
    assert sorted(names[p] for group in groups for p in group["params"]) == sorted(names.values())
    for group in groups:
        for parameter in group["params"]:
            name = names[parameter]
            assert group["lr"] == (5e-5 if re.search(r"\.(context|action_in|action_out)\.", name) else 1e-4)
            no_decay = parameter.ndim < 2 or name.endswith(("embedding", "position"))
            assert group.get("weight_decay") == (0.0 if no_decay else None)


@pytest.mark.parametrize("fused", [False, True])
def test_instructions_are_read_again_once_adapters_have_changed(adapt, make_batch, pixel_dataset, tmp_path, fused):
    adapted = adapt(targets=TEXT)
    with adapted.disable_adapter():
        base = decide(adapted)
    before = decide(adapted)
    train_a_step(adapted, make_batch(pixel_dataset, adapted, [0, 12]), fused=fused)
    after = decide(adapted)
    assert not torch.equal(base, before) and not torch.equal(before, after)
    save(adapted, tmp_path / "adapter")
    assert torch.equal(decide(load(tmp_path / "adapter", pixel_dataset)), after)
    used = QwenVLAPolicy.from_pretrained(tmp_path / "base")
    assert torch.equal(decide(used), base)
    assert torch.equal(decide(PeftModel.from_pretrained(used, tmp_path / "adapter")), after)
    with adapted.disable_adapter():
        assert torch.equal(decide(adapted), base)
    assert torch.equal(decide(adapted), after)
    assert torch.equal(decide(adapted.unload()), base)


def test_an_instruction_is_read_once_while_adapters_stay(adapt):
    adapted = adapt(targets=TEXT)
    lengths = []
    adapted.get_base_model().backbone.text.embed_tokens.register_forward_hook(
        lambda module, inputs, output: lengths.append(output.shape[-2])
    )
    for _ in range(3):
        adapted.reset()
        decide(adapted)
    between = 2
    assert [length for length in lengths if length != between] == [9]  # both in one padded batch


def test_cached_frames_give_the_same_actions_as_encoding_all_of_them(adapt):
    adapted = adapt(targets=rf"{TEXT}|{VISION}", n_action_steps=1)
    noise = torch.randn(2, 6, 5)
    seen = torch.rand(7, 2, 3, 64, 64)
    for step, frames in enumerate(seen):
        cached = adapted.select_action({**observation(), SCREEN: frames}, noise=noise)
        window = torch.stack([seen[max(0, step + offset)] for offset in (-4, -2, 0)], dim=1)
        uncached = adapted.predict_action_chunk({**observation(), SCREEN: window}, noise=noise)[:, 0]
        torch.testing.assert_close(cached, uncached, atol=1e-4, rtol=0)


def test_expert_is_adapted_on_precomputed_features_and_acts_on_pictures(
    adapt, make_batch, feature_dataset, pixel_dataset, tmp_path
):
    adapted = adapt(feature_dataset)
    train_a_step(adapted, make_batch(feature_dataset, adapted, [0, 12]))
    save(adapted, tmp_path / "adapter")
    assert torch.equal(decide(load(tmp_path / "adapter", pixel_dataset)), decide(adapted))


@pytest.mark.parametrize("training", [{"targets": TEXT}, {"targets": "all-linear"}, {"full": ["backbone.text"]}])
def test_training_the_backbone_on_precomputed_features_is_refused(adapt, feature_dataset, training):
    with pytest.raises(ValueError, match=r"--peft\.target_modules=.*precomputed features, not pictures"):
        adapt(feature_dataset, **training)


@pytest.mark.parametrize("target", ["patch_embed.proj", "pos_embed"])
def test_adapters_that_would_not_be_used_are_refused(adapt, target):
    with pytest.raises(ValueError, match=rf"includes backbone\.vision\.{target}, which can't have adapters"):
        adapt(targets=[target, "q_proj"])


def test_training_the_whole_backbone_in_full_is_refused(adapt):
    with pytest.raises(ValueError, match=r"--peft\.full_training_modules=.*names the whole backbone"):
        adapt(full=["backbone"])


def test_documented_targets_are_the_ones_tested_here():
    page = Path(__file__).parents[2] / "docs" / "lora.md"
    assert set(re.findall(r"--peft\.target_modules='([^']*)'", page.read_text(encoding="utf-8"))) == {TEXT, EVERYWHERE}
