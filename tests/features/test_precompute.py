import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy

from lerobot_qwenvla.features.precompute import frame_timestamps, main, precompute_features
from lerobot_qwenvla.features.store import FEATURES_DIR, FeatureStore
from lerobot_qwenvla.features.unfinished import RECIPE, unfinished

ROWS = [0, 3, 8, 9, 13, 26]  # first, middle and last frames of episodes
FRAME_OFFSETS = [-4, -2, 0]
SCREEN = "observation.images.screen"


@pytest.fixture
def precompute(make_settings) -> Callable[..., LeRobotDataset]:
    """Precomputes on the CPU, with settings of the small backbone."""

    def run(
        dataset: LeRobotDataset,
        root: Path,
        *,
        batch_size: int = 4,
        quantization: str = "none",
        uncond: bool = False,
        **settings,
    ):
        return precompute_features(
            dataset, make_settings(**settings), FRAME_OFFSETS, root,
            device="cpu", batch_size=batch_size, quantization=quantization, uncond=uncond,
        )  # fmt: skip

    return run


def table_of(root: Path, camera: str = SCREEN) -> bytes:
    return (root / FEATURES_DIR / f"{camera}.bin").read_bytes()


class Interrupted(LeRobotDataset):
    """Its 15th frame can't be read: by default the process is killed there."""

    interrupt = staticmethod(lambda: os.kill(os.getpid(), signal.SIGKILL))

    def __getitem__(self, row: int) -> dict:
        if row == 14:
            self.interrupt()
        return super().__getitem__(row)


@pytest.fixture
def interrupted(pixel_dataset) -> Interrupted:
    return Interrupted(pixel_dataset.repo_id, root=pixel_dataset.root, video_backend="pyav")


@contextmanager
def largest_file(max_bytes: int) -> Iterator[None]:
    """Within it no file can grow beyond this, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail() -> None:
    raise OSError("the disk of pictures is gone")


# --- What a policy makes of them ---


@pytest.mark.parametrize(("quantization", "tolerance"), [("none", 1e-5), ("8bit", 1e-3)])
def test_policy_acts_on_features_as_on_pictures(
    pixel_dataset, precompute, make_trainee, make_batch, tmp_path, quantization, tolerance
):
    features = precompute(pixel_dataset, tmp_path / "features", quantization=quantization)
    noise = torch.randn(len(ROWS), 6, 5)
    of_pictures, of_features = (
        policy.predict_action_chunk(make_batch(dataset, policy, ROWS), noise=noise)
        for dataset, policy in ((each, make_trainee(each)) for each in (pixel_dataset, features))
    )
    assert (of_pictures - of_features).norm() < tolerance * (of_pictures - noise).norm()


def test_frames_encoded_together_are_stored_together(
    pixel_dataset, precompute, make_config, make_settings, make_trainee, make_batch, tmp_path
):
    joint = {"frame_encoding": "joint"}
    pixels = LeRobotDataset(
        pixel_dataset.repo_id,
        root=pixel_dataset.root,
        delta_timestamps=frame_timestamps(pixel_dataset.meta, make_settings(**joint), FRAME_OFFSETS),
        video_backend="pyav",
    )
    features = precompute(pixels, tmp_path / "joint", **joint)
    noise = torch.randn(len(ROWS), 6, 5)
    chunks = []
    for dataset in (pixel_dataset, features):
        policy = make_trainee(dataset, **joint)
        chunks.append(policy.predict_action_chunk(make_batch(dataset, policy, ROWS), noise=noise))
    torch.testing.assert_close(*chunks, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"computed with frame_offsets=\[-4, -2, 0\], but the policy has \[-2, 0\]"):
        make_policy(make_config(num_frames=2, **joint), ds_meta=features.meta)


def test_bfloat16_features_are_stored_as_they_are(pixel_dataset, precompute, tmp_path):
    features = precompute(pixel_dataset, tmp_path / "features", dtype="bfloat16")
    rows = torch.arange(len(pixel_dataset))[:, None]
    read = FeatureStore.of_dataset(features.meta, "per_frame").read({SCREEN: rows})[SCREEN]
    assert read.dtype == torch.bfloat16
    assert read.shape == (27, 1, 4, 64)  # 64 pixels are 2×2 tokens
    assert len(table_of(features.root)) == read.nbytes


def test_hiding_instructions_needs_features_read_without(feature_dataset, make_config):
    with pytest.raises(ValueError, match=r"instruction_dropout=0.1 hides instructions.*--features_uncond=true"):
        make_policy(make_config(instruction_dropout=0.1), ds_meta=feature_dataset.meta)


@pytest.mark.parametrize("mode", ["per_frame", "joint"])
def test_hidden_and_guided_features_are_those_of_pictures(
    pixel_dataset, precompute, make_settings, make_trainee, make_batch, tmp_path, mode
):
    timestamps = frame_timestamps(pixel_dataset.meta, make_settings(frame_encoding=mode), FRAME_OFFSETS)
    pixels = LeRobotDataset(
        pixel_dataset.repo_id, root=pixel_dataset.root, delta_timestamps=timestamps, video_backend="pyav"
    )
    features = precompute(pixels, tmp_path / "features", uncond=True, frame_encoding=mode)
    settings = {"frame_encoding": mode, "instruction_dropout": 0.5, "guidance_scale": 2.0}
    noise, time = torch.randn(len(ROWS), 6, 5), torch.rand(len(ROWS))
    chunks, losses = [], []
    for dataset in (pixel_dataset, features):
        policy = make_trainee(dataset, **settings)
        batch = make_batch(dataset, policy, ROWS)
        chunks.append(policy.predict_action_chunk(batch, noise=noise))
        losses.append(policy.train()({**batch, "noise": noise, "time": time}, reduction="none")[0])
    torch.testing.assert_close(*chunks, atol=1e-4, rtol=0)
    torch.testing.assert_close(*losses, atol=1e-4, rtol=0)
    assert (losses[0] - policy({**batch, "noise": noise, "time": time}, reduction="none")[0]).abs().max() > 1e-3


def test_a_policy_trained_on_features_has_the_inputs_of_one_trained_on_pictures(
    pixel_dataset, feature_dataset, make_config
):
    policies = [make_policy(make_config(), ds_meta=dataset.meta) for dataset in (pixel_dataset, feature_dataset)]
    assert policies[0].config.input_features == policies[1].config.input_features
    assert policies[0].backbone.vision is not None
    assert policies[1].backbone.vision is None  # not even read


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


# --- The dataset ---


def test_feature_dataset_has_no_video_and_all_else_unchanged(pixel_dataset, feature_dataset):
    assert feature_dataset.meta.camera_keys == []
    for row in (0, 10, 26):
        for key in ("action", "observation.state", "timestamp", "task"):
            before, after = pixel_dataset[row][key], feature_dataset[row][key]
            assert before == after if isinstance(before, str) else torch.equal(before, after)


def test_each_camera_has_a_table_of_its_own(precompute, tmp_path):
    shapes = {"observation.images.left": (64, 64, 3), "observation.images.right": (48, 96, 3)}
    image = {"dtype": "image", "names": ["height", "width", "channels"]}
    dataset = LeRobotDataset.create(
        "tests/two",
        fps=10,
        features={camera: {**image, "shape": shape} for camera, shape in shapes.items()},
        root=tmp_path / "two",
        use_videos=False,
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        pictures = {camera: rng.integers(0, 255, shape, dtype=np.uint8) for camera, shape in shapes.items()}
        dataset.add_frame({**pictures, "task": ""})
    dataset.save_episode()
    dataset.finalize()
    dataset = LeRobotDataset("tests/two", root=tmp_path / "two")
    features = precompute(dataset, tmp_path / "features")
    store = FeatureStore.of_dataset(features.meta, "per_frame")
    read = store.read(dict.fromkeys(shapes, torch.tensor([[0, 4]])))
    assert {camera: tuple(of.shape) for camera, of in read.items()} == {
        "observation.images.left": (1, 2, 4, 64),
        "observation.images.right": (1, 2, 2, 64),  # 32×64 pixels
    }


def test_existing_folder_is_never_overwritten(pixel_dataset, precompute, tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(ValueError, match=r"exists; remove it or choose another --features_root"):
        precompute(pixel_dataset, tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


# --- Interruptions ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a new process would import everything again, which takes long")
def test_a_killed_run_goes_on_and_nothing_tells(pixel_dataset, interrupted, precompute, tmp_path, caplog):
    caplog.set_level("INFO")
    whole = precompute(pixel_dataset, tmp_path / "whole")
    root = tmp_path / "features"
    process = multiprocessing.get_context("fork").Process(target=precompute, args=(interrupted, root))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not root.exists()
    draft = tmp_path / ".features.unfinished" / "dataset"
    assert len(table_of(draft)) == 12 / 27 * len(table_of(whole.root))  # three batches of four
    with (draft / FEATURES_DIR / f"{SCREEN}.bin").open("ab") as file:
        file.write(b"half of a row")

    interrupted.interrupt = lambda: None
    caplog.clear()
    resumed = precompute(interrupted, root)
    assert "Going on after 12 of 27 frames" in caplog.text
    assert "Writing features of 0.0 GB (15 frames of 1 kB)" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "whole"]
    assert table_of(resumed.root) == table_of(whole.root)
    for file in ("meta/info.json", "data/chunk-000/file-000.parquet", str(RECIPE)):
        assert (resumed.root / file).read_bytes() == (whole.root / file).read_bytes()


def test_an_error_keeps_what_was_computed(pixel_dataset, interrupted, feature_dataset, precompute, tmp_path):
    interrupted.interrupt = fail
    root = tmp_path / "features"
    with pytest.raises(OSError, match="the disk of pictures is gone"):
        precompute(interrupted, root)
    assert not root.exists()
    with pytest.raises(ValueError, match=r"unfinished run with .*vlm_layer=4 instead of 3; run that again"):
        precompute(pixel_dataset, root, vlm_layer=3)
    with pytest.raises(ValueError, match=r"unfinished run with .*features_quantization='none' instead of '8bit'"):
        precompute(pixel_dataset, root, quantization="8bit")
    table = np.frombuffer(table_of(precompute(pixel_dataset, root, batch_size=5).root), np.float32)
    np.testing.assert_allclose(table, np.frombuffer(table_of(feature_dataset.root), np.float32), atol=1e-4)


def test_a_disk_that_fills_up_loses_nothing(pixel_dataset, precompute, command, tmp_path, backbone_dir):
    root, row_bytes = tmp_path / "features", 4 * 4 * 64 * 4  # tokens of 128 × 128 pixels, their width, float32
    options = [
        "--policy.type=qwenvla", f"--policy.backbone={backbone_dir}", "--policy.vlm_layer=4", "--policy.device=cpu",
        "--policy.quantization=none", "--policy.dtype=float32", "--policy.image_size=128", "--batch_size=4",
        f"--features_root={root}", "--num_workers=0", "--dataset.video_backend=pyav",
    ]  # fmt: skip
    with largest_file(20 * row_bytes + 100), pytest.raises(SystemExit, match="make room, and the same command goes on"):
        command(*options)
    assert not root.exists()
    [left] = tmp_path.glob(f".features.unfinished/**/{SCREEN}.bin")
    assert left.stat().st_size >= 20 * row_bytes
    command(*options)
    assert table_of(root) == table_of(precompute(pixel_dataset, tmp_path / "whole", image_size=128).root)


@pytest.mark.parametrize("file", ["meta/tasks.parquet", "meta/stats.json"])
def test_an_unfinished_run_of_another_dataset_is_refused(pixel_dataset, interrupted, precompute, tmp_path, file):
    interrupted.interrupt = fail
    with pytest.raises(OSError, match="gone"):
        precompute(interrupted, tmp_path / "features")
    other = shutil.copytree(pixel_dataset.root, tmp_path / "other")
    moved = LeRobotDataset(pixel_dataset.repo_id, root=other, video_backend="pyav")
    (other / file).write_bytes((other / file).read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"unfinished run with dataset metadata='\w+' instead of '\w+'"):
        precompute(moved, tmp_path / "features")


def test_what_another_version_left_unfinished_is_refused(pixel_dataset, precompute, tmp_path):
    left = tmp_path / ".features.unfinished" / "dataset"
    (left / FEATURES_DIR).mkdir(parents=True)
    (left / FEATURES_DIR / f"{SCREEN}.npy").write_bytes(b"hours of work")
    with pytest.raises(ValueError, match=r"unfinished run with .*remove the folder to start afresh"):
        precompute(pixel_dataset, tmp_path / "features")
    assert (left / FEATURES_DIR / f"{SCREEN}.npy").read_bytes() == b"hours of work"


def test_two_runs_at_once_are_refused(pixel_dataset, precompute, tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        unfinished(tmp_path / "features", {}, lambda folder: (folder / "meta").mkdir(parents=True)),
    ):
        with pytest.raises(ValueError, match=r"another process is computing .*features; wait until it is done"):
            precompute(pixel_dataset, tmp_path / "features")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_failure_before_the_first_frame_leaves_nothing(pixel_dataset, precompute, backbone_dir, tmp_path):
    broken = shutil.copytree(backbone_dir, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        precompute(pixel_dataset, tmp_path / "out" / "features", backbone=str(broken))
    assert list((tmp_path / "out").iterdir()) == []


def test_what_the_disk_has_no_room_for_is_not_begun(pixel_dataset, precompute, tmp_path):
    with pytest.raises(ValueError, match=r"need [\d.]+ GB \(27 frames of \d+ kB\), .* GB free; .*_quantization=8bit"):
        precompute(pixel_dataset, tmp_path / "features", image_size=2_000_000)
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_not_finite_are_refused(pixel_dataset, precompute, backbone_dir, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(backbone_dir, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "language_model.layers.0.mlp.down_proj" in name)
    save_file({**weights, name: weights[name] * float("inf")}, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"screen: among the features of frames 0 to 3 are infinite ones or NaN"):
        precompute(pixel_dataset, tmp_path / "features", backbone=str(broken))


# --- The command ---


@pytest.fixture
def command(monkeypatch, pixel_dataset, backbone_dir) -> Callable[..., None]:
    def run(*options: str) -> None:
        dataset = [f"--dataset.repo_id={pixel_dataset.repo_id}", f"--dataset.root={pixel_dataset.root}"]
        monkeypatch.setattr(sys, "argv", ["qwenvla-precompute-features", *dataset, *options])
        main()

    return run


def test_command_writes_what_its_options_say(command, backbone_dir, tmp_path, capsys):
    settings = {"backbone": backbone_dir, "vlm_layer": 2, "quantization": "none", "image_size": 32, "device": "cpu"}
    command(
        "--policy.type=qwenvla", *(f"--policy.{name}={value}" for name, value in settings.items()),
        f"--features_root={tmp_path / 'features'}", "--features_quantization=8bit", "--num_workers=0",
        "--dataset.video_backend=pyav",
    )  # fmt: skip
    assert f"Train on it with --dataset.repo_id=tests/pixels --dataset.root={tmp_path}" in capsys.readouterr().out
    columns = json.loads((tmp_path / "features" / "meta" / "info.json").read_text())["features"]
    info = columns["observation.features.screen"]["info"]
    assert info.items() >= {"vlm_layer": 2, "features_quantization": "8bit", "features_shape": [1, 64]}.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "pass --policy.type=qwenvla"),
        (["--policy.type=act"], "pass --policy.type=qwenvla"),
        (["--policy.type=qwenvla"], "pass --features_root"),
        (["--policy.type=qwenvla", "--features_root=x", "--policy.vlm_layer=0"], "vlm_layer must be at least 1"),
        (["--policy.type=qwenvla", "--features_root=x", "--policy.backbone=nowhere/x"], "no folder"),
    ],
)
def test_command_says_in_one_line_what_is_wrong(command, options, message):
    with pytest.raises(SystemExit) as stopped:
        command(*options)
    assert str(stopped.value).startswith("qwenvla-precompute-features: ")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_quantization_of_features_is_one_of_two(pixel_dataset, precompute, tmp_path):
    with pytest.raises(ValueError, match=r"--features_quantization must be one of none, 8bit, got '4bit'"):
        precompute(pixel_dataset, tmp_path / "features", quantization="4bit")
