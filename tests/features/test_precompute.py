import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy

from lerobot_qwenvla.features.precompute import cache_features, camera_timestamps

ROWS = [0, 3, 8, 9, 13, 26]  # first, middle and last frames of episodes


def test_precomputed_features_are_those_of_the_pictures(pixel_dataset, feature_dataset, make_trainee, make_batch):
    from_pixels, from_features = make_trainee(pixel_dataset), make_trainee(feature_dataset)
    noise = torch.randn(len(ROWS), 6, 5)
    chunks = [
        policy.predict_action_chunk(make_batch(dataset, policy, ROWS), noise=noise)
        for policy, dataset in ((from_pixels, pixel_dataset), (from_features, feature_dataset))
    ]
    torch.testing.assert_close(*chunks, atol=1e-2, rtol=0)  # features are stored in half precision


def test_frames_encoded_together_are_stored_together(pixel_dataset, make_config, make_trainee, make_batch, tmp_path):
    joint = {"frame_encoding": "joint"}
    pixels = LeRobotDataset(
        pixel_dataset.repo_id,
        root=pixel_dataset.root,
        delta_timestamps=camera_timestamps(pixel_dataset.meta, make_config(**joint)),
        video_backend="pyav",
    )
    features = cache_features(pixels, make_config(**joint), tmp_path / "joint")
    noise = torch.randn(len(ROWS), 6, 5)
    chunks = []
    for dataset in (pixel_dataset, features):
        policy = make_trainee(dataset, **joint)
        chunks.append(policy.predict_action_chunk(make_batch(dataset, policy, ROWS), noise=noise))
    torch.testing.assert_close(*chunks, atol=1e-2, rtol=0)
    with pytest.raises(ValueError, match="computed with num_frames=3, but the policy has 2"):
        make_policy(make_config(num_frames=2, **joint), ds_meta=features.meta)


def test_hiding_instructions_needs_pictures(feature_dataset, make_config):
    with pytest.raises(ValueError, match=r"instruction_dropout=0.1 hides instructions.*train on the pictures"):
        make_policy(make_config(instruction_dropout=0.1), ds_meta=feature_dataset.meta)


def test_a_policy_trained_on_features_has_the_inputs_of_one_trained_on_pictures(
    pixel_dataset, feature_dataset, make_config
):
    policies = [make_policy(make_config(), ds_meta=dataset.meta) for dataset in (pixel_dataset, feature_dataset)]
    assert policies[0].config.input_features == policies[1].config.input_features
    assert policies[0].backbone.vision is not None
    assert policies[1].backbone.vision is None  # not even read


def test_feature_dataset_has_no_video_and_all_else_unchanged(pixel_dataset, feature_dataset):
    assert feature_dataset.meta.camera_keys == []
    for row in (0, 10, 26):
        for key in ("action", "observation.state", "timestamp", "task"):
            before, after = pixel_dataset[row][key], feature_dataset[row][key]
            assert before == after if isinstance(before, str) else torch.equal(before, after)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"vlm_layer": 3}, "computed with vlm_layer=4, but the policy has 3; pass --policy.vlm_layer=4"),
        ({"quantization": "4bit"}, "computed with quantization='none', but the policy has '4bit'"),
    ],
)
def test_features_of_another_backbone_are_refused(feature_dataset, make_config, setting, message):
    with pytest.raises(ValueError, match=message):
        make_policy(make_config(**setting), ds_meta=feature_dataset.meta)


def test_missing_or_short_feature_file_is_refused(feature_dataset, make_config, tmp_path):
    root = shutil.copytree(feature_dataset.root, tmp_path / "features")
    table = root / "features" / "observation.images.screen.npy"
    damaged = LeRobotDataset(feature_dataset.repo_id, root=root)
    np.save(table, np.load(table)[:5])
    with pytest.raises(ValueError, match=r"features of 5 frames for a dataset of 27"):
        make_policy(make_config(), ds_meta=damaged.meta)
    table.unlink()
    with pytest.raises(ValueError, match=r"screen.npy: missing; run qwenvla-cache-features again"):
        make_policy(make_config(), ds_meta=damaged.meta)


def test_existing_folder_is_never_overwritten(pixel_dataset, make_config, tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(ValueError, match=r"exists; remove it or choose another --features_root"):
        cache_features(pixel_dataset, make_config(), tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_failure_half_way_leaves_nothing(pixel_dataset, make_config, backbone_dir, tmp_path):
    broken = shutil.copytree(backbone_dir, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        cache_features(pixel_dataset, make_config(backbone=str(broken)), tmp_path / "out" / "features")
    assert list((tmp_path / "out").iterdir()) == []


def test_command_says_what_is_missing(pixel_dataset):
    command = [sys.executable, "-m", "lerobot_qwenvla.features.precompute", "--dataset.repo_id=tests/pixels"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert "qwenvla-cache-features: pass --policy.type=qwenvla" in run.stderr
