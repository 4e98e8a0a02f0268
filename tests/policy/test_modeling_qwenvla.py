import numpy as np
import pytest
import torch
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE
from safetensors.torch import load_file, save_file
from torch.utils.data import default_collate

from lerobot_qwenvla.modeling_qwenvla import QwenVLAPolicy

SCREEN = "observation.images.screen"


def episode(steps: int, batch: int) -> list[dict]:
    """Observations as lerobot-eval passes them: one picture per environment and step."""
    generator = torch.Generator().manual_seed(1)
    return [
        {
            SCREEN: torch.rand(batch, 3, 64, 64, generator=generator),
            OBS_STATE: torch.rand(batch, 5, generator=generator),
            "task": ["go to the red box", "go"][:batch],
        }
        for _ in range(steps)
    ]


def test_cached_frames_give_the_same_actions_as_encoding_all_of_them(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, n_action_steps=1)
    observations = episode(steps=9, batch=2)
    noise = torch.randn(2, 6, 5)
    for step, observation in enumerate(observations):
        cached = policy.select_action(observation, noise=noise)
        frames = [observations[max(0, step + offset)][SCREEN] for offset in (-4, -2, 0)]
        uncached = policy.predict_action_chunk({**observation, SCREEN: torch.stack(frames, dim=1)}, noise=noise)[:, 0]
        torch.testing.assert_close(cached, uncached, atol=1e-4, rtol=0)
    assert policy.cache.misses == 18
    assert policy.cache.hits > 0


def test_environments_in_a_batch_act_as_each_would_alone(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    observations = episode(steps=7, batch=2)
    noise = torch.randn(2, 6, 5)
    together = torch.stack([policy.select_action(o, noise=noise) for o in observations])
    for env in range(2):
        policy.reset()
        alone = [
            policy.select_action({key: value[env : env + 1] for key, value in o.items()}, noise=noise[env : env + 1])
            for o in observations
        ]
        torch.testing.assert_close(together[:, env], torch.cat(alone), atol=1e-4, rtol=0)


def test_looks_again_after_n_action_steps(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, n_action_steps=3)
    seen = []
    for observation in episode(steps=7, batch=1):
        policy.select_action(observation)
        seen.append(policy.cache.misses)
    assert seen == [1, 1, 1, 3, 3, 3, 6]  # frames 0, then 1 and 3, then 2, 4 and 6


def test_reset_forgets_the_episode(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    observations = episode(steps=5, batch=1)
    noise = torch.randn(1, 6, 5)
    first = [policy.select_action(o, noise=noise) for o in observations]
    policy.reset()
    second = [policy.select_action(o, noise=noise) for o in observations]
    torch.testing.assert_close(torch.stack(first), torch.stack(second), rtol=0, atol=0)


@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_saved_and_loaded_policy_gives_identical_actions(pixel_dataset, make_trainee, tmp_path, quantization):
    policy = make_trainee(pixel_dataset, quantization=quantization)
    policy.save_pretrained(tmp_path)
    loaded = QwenVLAPolicy.from_pretrained(tmp_path)
    observation, noise = episode(1, 2)[0], torch.randn(2, 6, 5)
    before = policy.predict_action_chunk(observation, noise=noise)
    assert torch.equal(before, loaded.predict_action_chunk(observation, noise=noise))
    assert loaded.config.backbone == policy.config.backbone


def test_checkpoint_holds_what_was_trained_and_nothing_else(pixel_dataset, make_trainee, tmp_path):
    policy = make_trainee(pixel_dataset, quantization="4bit")
    policy.save_pretrained(tmp_path)
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    assert set(load_file(tmp_path / "model.safetensors")) == set(trained)
    trained_bytes = sum(p.numel() * p.element_size() for p in trained.values())
    assert (tmp_path / "model.safetensors").stat().st_size < 1.2 * trained_bytes


def test_checkpoint_without_one_of_its_weights_is_refused(pixel_dataset, make_trainee, tmp_path):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["expert.position"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"expert\.position"):
        QwenVLAPolicy.from_pretrained(tmp_path)


def test_folder_that_is_no_checkpoint_is_refused(pixel_dataset, make_trainee, tmp_path):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model.safetensors: missing"):
        QwenVLAPolicy.from_pretrained(tmp_path)


def test_no_gradient_reaches_the_backbone(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset)
    loss, _ = policy(make_batch(pixel_dataset, policy, [0, 12]))
    loss.backward()
    assert all(p.grad is None for p in policy.backbone.parameters())
    assert all(p.grad is not None for module in (policy.expert, policy.context) for p in module.parameters())


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_padded_actions_do_not_count(pixel_dataset, make_trainee, make_batch, reduction):
    policy = make_trainee(pixel_dataset)
    batch = make_batch(pixel_dataset, policy, [7, 8])  # two and one actions before the end of the episode
    assert batch["action_is_pad"].sum(1).tolist() == [4, 5]
    losses = []
    for padding in (0.0, 100.0):
        torch.manual_seed(0)
        batch[ACTION][batch["action_is_pad"]] = padding
        losses.append(policy(batch, reduction=reduction)[0])
    # The expert is causal, so that what stands behind an action cannot change it.
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0].shape == (() if reduction == "mean" else (2,))


def test_the_state_matters_unless_it_is_always_hidden(pixel_dataset, make_trainee):
    observation, noise = episode(1, 2)[0], torch.randn(2, 6, 5)
    elsewhere = {**observation, OBS_STATE: -observation[OBS_STATE]}
    for dropout in (0.0, 0.5, 1.0):
        policy = make_trainee(pixel_dataset, state_dropout=dropout)
        chunks = []
        for seen in (observation, elsewhere):
            policy.reset()
            chunks.append(policy.predict_action_chunk(seen, noise=noise))
        assert torch.equal(*chunks) == (dropout == 1.0)


def test_hidden_states_do_not_reach_the_loss(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset, state_dropout=0.5).train()
    batch = make_batch(pixel_dataset, policy, [1] * 64)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(policy(batch, reduction="none")[0])
        batch[OBS_STATE] = -batch[OBS_STATE]
    unchanged = (losses[0] == losses[1]).float().mean()
    assert 0.25 < unchanged < 0.75


def test_every_trained_parameter_is_in_one_optimizer_group(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, optimizer_projector_lr_scale=0.5)
    groups = policy.get_optim_params()
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in policy.parameters() if p.requires_grad)
    assert {group["lr"] for group in groups} == {1e-4, 5e-5}
    undecayed = {id(p) for group in groups if group.get("weight_decay") == 0.0 for p in group["params"]}
    assert all(id(p) in undecayed for name, p in policy.named_parameters() if p.requires_grad and p.ndim < 2)


def test_a_key_never_pressed_in_training_does_not_blow_up(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset)
    batch = make_batch(pixel_dataset, policy, [3, 4])
    noise = torch.randn(2, 6, 5)
    quiet = policy.predict_action_chunk(batch, noise=noise)
    batch[OBS_STATE][:, -1, -1] = 2e8  # what min-max normalisation makes of the first press
    pressed = policy.predict_action_chunk(batch, noise=noise)
    assert (quiet - pressed).abs().max() < 1.0


def test_a_single_batch_is_overfitted(feature_dataset, make_trainee, make_batch):
    policy = make_trainee(feature_dataset, expert_layers=4, expert_width=128, num_inference_steps=20)
    batch = make_batch(feature_dataset, policy, list(range(8)))
    groups = policy.get_optim_params()
    optimizer = torch.optim.AdamW(groups)
    steps = 1200
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [2e-3] * len(groups), total_steps=steps)
    losses = []
    for _ in range(steps):
        loss, _ = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert sum(losses[-50:]) / 50 < 0.02
    real = ~batch["action_is_pad"]
    error = (policy.predict_action_chunk(batch) - batch[ACTION]).abs()[real]
    assert error.mean() < 0.1


def test_policy_without_a_camera_is_refused(pixel_dataset, make_config):
    config = make_config()
    config.input_features = {
        OBS_STATE: make_policy(make_config(), ds_meta=pixel_dataset.meta).config.robot_state_feature
    }
    with pytest.raises(ValueError, match=r"at least one camera.*observation.state"):
        make_policy(config, ds_meta=pixel_dataset.meta)


def test_two_cameras_of_different_shape_and_no_state(make_config, tmp_path):
    features = {
        "observation.images.left": {"dtype": "image", "shape": (64, 64, 3), "names": ["height", "width", "channels"]},
        "observation.images.wide": {"dtype": "image", "shape": (32, 128, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
    }
    dataset = LeRobotDataset.create("tests/two", fps=10, features=features, root=tmp_path / "two", use_videos=False)
    for i in range(4):
        frame = {"observation.images.left": np.full((64, 64, 3), 9 * i, np.uint8)}
        frame |= {"observation.images.wide": np.full((32, 128, 3), 7 * i, np.uint8)}
        dataset.add_frame({**frame, "action": np.full(2, i, np.float32), "task": "go"})
    dataset.save_episode()
    dataset.finalize()
    policy = make_policy(make_config(), ds_meta=dataset.meta)
    timed = LeRobotDataset(
        "tests/two", root=dataset.root, delta_timestamps=resolve_delta_timestamps(policy.config, dataset.meta)
    )
    preprocessor, _ = make_pre_post_processors(policy.config, dataset_stats=dataset.meta.stats)
    batch = preprocessor(default_collate([timed[0], timed[3]]))
    loss, _ = policy(batch)
    loss.backward()
    observation = {
        "observation.images.left": torch.rand(2, 3, 64, 64),
        "observation.images.wide": torch.rand(2, 3, 32, 128),
        "task": ["go", "stop"],
    }
    assert policy.select_action(observation).shape == (2, 2)
