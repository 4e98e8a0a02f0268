"""What qwenvla-export writes is the policy, without torch."""

import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools import export_onnx
from lerobot_qwenvla.tools.export_onnx import WORDS, export, main

SCREEN, MAP = f"{OBS_IMAGES}.screen", f"{OBS_IMAGES}.map"
BATCH = 3


def observed(policy: QwenVLAPolicy) -> tuple[dict, dict[str, np.ndarray]]:
    """A batch for the policy, and the inputs of its graphs."""
    pictures = {
        camera: torch.rand(BATCH, policy.config.num_frames, *feature.shape)
        for camera, feature in policy.config.image_features.items()
    }
    tasks = ["go", "stop", "turn"]
    state = {OBS_STATE: 2 * torch.randn(BATCH, 5)} if policy.config.robot_state_feature else {}
    features = {camera: policy.backbone.encode(frames, tasks) for camera, frames in pictures.items()}
    words = {WORDS: policy.backbone.words(tasks, "cpu")}
    inputs = {name: value.numpy() for name, value in {**features, **words, **state}.items()}
    return {**pictures, **state, "task": tasks}, inputs


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_exported_chunk_is_the_policys_chunk(make_policy, tmp_path):
    cameras = {SCREEN: (64, 64), MAP: (96, 32)}
    policy = make_policy(cameras, state=0, solver="heun", num_inference_steps=3, token_pooling="learned")
    assert export(policy, "chunk", tmp_path)["chunk"] < 1e-5
    batch, inputs = observed(policy)
    noise = torch.randn(BATCH, 6, 5)
    expected = policy.predict_action_chunk(batch, noise=noise).numpy()
    chunk = session(tmp_path / "chunk.onnx")
    for rows in (1, BATCH):
        fed = {name: value[:rows] for name, value in {**inputs, "noise": noise.numpy()}.items()}
        np.testing.assert_allclose(chunk.run([ACTION], fed)[0], expected[:rows], atol=1e-5)
    noted = chunk.get_modelmeta().custom_metadata_map
    assert (noted["solver"], noted["chunk_size"], noted["vlm_layer"]) == ("heun", "6", "4")


def test_steps_by_hand_make_the_policys_chunk(make_policy, tmp_path):
    policy = make_policy({SCREEN: (64, 64)}, 5, guidance_scale=2.0, instruction_dropout=0.1)
    export(policy, "step", tmp_path)
    context, velocity = session(tmp_path / "context.onnx"), session(tmp_path / "velocity.onnx")
    batch, told = observed(policy)
    hidden = [""] * BATCH
    untold = {
        **told,
        SCREEN: policy.backbone.encode(batch[SCREEN], hidden).numpy(),
        WORDS: policy.backbone.words(hidden, "cpu").numpy(),
    }
    names = [output.name for output in context.get_outputs()]
    keys_values = [dict(zip(names, context.run(names, inputs), strict=True)) for inputs in (told, untold)]
    noise = torch.randn(BATCH, 6, 5)
    x_t, steps = noise.numpy(), policy.config.num_inference_steps
    for step in range(steps):
        time = np.full(BATCH, 1 - step / steps, dtype=np.float32)
        towards, away = (velocity.run(["velocity"], {"x_t": x_t, "time": time, **kv})[0] for kv in keys_values)
        x_t = x_t - (away + 2 * (towards - away)) / steps
    np.testing.assert_allclose(x_t, policy.predict_action_chunk(batch, noise=noise).numpy(), atol=1e-5)


def test_command_exports_a_checkpoint_whose_state_is_hidden(make_policy, tmp_path, monkeypatch, capsys):
    policy = make_policy({SCREEN: (64, 64)}, 5, state_dropout=1.0, compile_model=True)
    policy.save_pretrained(tmp_path / "checkpoint")
    output = tmp_path / "expert.onnx"
    checkpoint = f"--policy.path={tmp_path / 'checkpoint'}"
    assert run(monkeypatch, checkpoint, "--policy.num_inference_steps=2", f"--output={output}") is None
    assert f"{output}: " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "expert.onnx"}
    chunk = session(output)
    assert [value.name for value in chunk.get_inputs()] == [SCREEN, WORDS, "noise"]
    batch, inputs = observed(policy)
    policy = QwenVLAPolicy.from_pretrained(tmp_path / "checkpoint", config=policy.config)
    policy.config.num_inference_steps = 2
    noise = torch.randn(BATCH, 6, 5)
    fed = {SCREEN: inputs[SCREEN], WORDS: inputs[WORDS], "noise": noise.numpy()}
    with torch.compiler.set_stance("force_eager"):
        expected = policy.predict_action_chunk(batch, noise=noise).numpy()
    np.testing.assert_allclose(chunk.run([ACTION], fed)[0], expected, atol=1e-5)


def test_graph_that_differs_from_torch_is_not_kept(make_policy, tmp_path, monkeypatch):
    monkeypatch.setattr(export_onnx, "LARGEST_DIFFERENCE", 0.0)
    with pytest.raises(ValueError, match=r"context\.onnx differs from torch by \d.*, more than 0e\+00"):
        export(make_policy({SCREEN: (64, 64)}, 5), "step", tmp_path)
    assert list(tmp_path.iterdir()) == []


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str | None:
    """The command's complaint, if it has one."""
    monkeypatch.setattr(sys, "argv", ["qwenvla-export", *arguments])
    try:
        return main()
    except SystemExit as exit_:
        return exit_.code


@pytest.fixture(scope="module")
def guided(make_policy, tmp_path_factory) -> Path:
    """A checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints") / "guided"
    make_policy({SCREEN: (64, 64)}, 5, guidance_scale=2.0, instruction_dropout=0.1).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--part=chunk"], "pass --output"),
        (["--part=all", "--output=."], "--part must be one of chunk, step, got 'all'"),
        (["--output=."], "pass --policy.path=CHECKPOINT"),
        (["--output=.", "--policy.path=/no/such"], "--policy.path=/no/such: "),
        (["--output=.", "--policy.path=."], "--policy.path=.: config.json not found"),
        (["--output=nowhere/expert.onnx"], "--output=nowhere/expert.onnx: there is no folder nowhere; make it first"),
        (["--output=precious.onnx"], "precious.onnx exists; remove it or choose another --output"),
        (["--output=guided.onnx", "--policy.path=guided"], "the policy has guidance_scale=2.0, but a chunk"),
        (["--output=.", "--policy.path=broken"], "--policy.path=broken: broken/model.safetensors: missing"),
        (["--output=.", "--policy.path=guided", "--policy.use_peft=true"], "--policy.path=guided: adapters"),
        (["--output=.", "--policy.path=guided", "--policy.expert_layers=4"], "--policy.path=guided: guided/model"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(guided, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    Path("precious.onnx").write_text("mine")
    shutil.copytree(guided, "guided")
    shutil.copytree(guided, "broken")
    Path("broken/model.safetensors").unlink()
    message = run(monkeypatch, *arguments)
    assert message.startswith(f"qwenvla-export: {complaint}")
    assert len(message.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"precious.onnx", "guided", "broken"}
    assert Path("precious.onnx").read_text() == "mine"


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    expected = "qwenvla-export: onnxruntime missing: pip install 'lerobot_policy_qwenvla[export]'"
    assert run(monkeypatch, "--output=.") == expected
