"""`qwenvla-export`: writes the action expert of a checkpoint as ONNX, to run without torch beside any Qwen3-VL runtime.

Takes `--policy.path=CHECKPOINT` as LeRobot's commands do; any setting may be given another value behind it, e.g.
`--policy.num_inference_steps=5`. What is written has been compared with torch; nothing is written otherwise.
"""

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig, parser
from lerobot.utils.constants import ACTION, OBS_STATE
from safetensors import SafetensorError
from torch import Tensor, nn

from lerobot_qwenvla.backbone import UnloadedBackbone
from lerobot_qwenvla.backbone.prefix_cache import pad_words
from lerobot_qwenvla.features.columns import feature_identity
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.algorithm.expert import KeysValues, at_time
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.policy.solvers import evaluation_times, integrate

if TYPE_CHECKING:
    import onnx_ir

WORDS = "words"  # input of that name
PARTS = {"chunk": ("chunk",), "step": ("context", "velocity")}
PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # optional: imported where they are used
CHECKED_BATCHES = (1, 3)
LARGEST_DIFFERENCE = 1e-4

Tensors = dict[str, Tensor]  # inputs or outputs of a graph, by their names in it
Graph = Callable[[Tensors], Tensors]
InputsOf = Callable[[int], Tensors]


@dataclass
class ExportConfig:
    """The policy to export, and:"""

    policy: PreTrainedConfig | None = None
    # "chunk": one graph, from features and noise to actions. "step": one from features to keys and values, and one of
    # the velocity, for a solver, guidance or real-time chunking of your own.
    part: str = "chunk"
    # Folder to write to; or, of a chunk, the file: expert.onnx.
    output: Path | None = None

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]


class Context(nn.Module):
    """Features of every camera (B, F, T, D), of the words (B, L, D), and state (B, S) → keys and values by layer."""

    def __init__(self, policy: QwenVLAPolicy) -> None:
        super().__init__()
        self.context, self.expert = policy.model.context, policy.model.expert
        state = policy.config.robot_state_feature
        self.state_size = state.shape[0] if state else 0

    def forward(self, inputs: Tensors) -> Tensors:
        features = Features({camera: inputs[camera] for camera in self.context.camera_names}, inputs[WORDS])
        rows = features.words.shape[0]
        # A state that is no input is one that the policy always hides.
        hide_state = torch.full((rows,), OBS_STATE not in inputs)
        state = inputs.get(OBS_STATE, torch.zeros(rows, self.state_size))
        outputs = {}
        for i, (keys, values) in enumerate(self.expert.context_keys_values(self.context(features, state, hide_state))):
            outputs |= {f"keys.{i}": keys, f"values.{i}": values}
        return outputs


class Velocity(nn.Module):
    """Velocity at `x_t` (B, chunk, A) and `time` (B,), given keys and values."""

    def __init__(self, policy: QwenVLAPolicy) -> None:
        super().__init__()
        self.expert = policy.model.expert

    def forward(self, inputs: Tensors) -> Tensors:
        modulations = self.expert.modulations(inputs["time"])
        return {"velocity": self.expert(inputs["x_t"], modulations, _keys_values(inputs))}


class SolverStep(nn.Module):
    """One of the solver's steps, from `x_t` (B, chunk, A) at the time `start` (), given keys and values."""

    def __init__(self, policy: QwenVLAPolicy) -> None:
        super().__init__()
        self.expert, self.config = policy.model.expert, policy.config

    def forward(self, inputs: Tensors) -> Tensors:
        steps, solver, keys_values = self.config.num_inference_steps, self.config.solver, _keys_values(inputs)
        # By a clock by which this step is all the way from 1 to 0.
        clock = torch.tensor(evaluation_times(1, solver))
        modulations = self.expert.modulations(inputs["start"] - (1 - clock) / steps)

        def stretched(x_t: Tensor, i: int) -> Tensor:
            return self.expert(x_t, at_time(modulations, i), keys_values) / steps

        return {"x_next": integrate(stretched, inputs["x_t"], 1, solver)}


def export(policy: QwenVLAPolicy, part: str, folder: Path) -> dict[str, float]:
    """Writes a part of a policy on the CPU to `folder`; gives the largest difference from torch of each graph.

    Raises:
        ValueError: The policy needs guidance, which a chunk has not, or a graph differs from torch.
    """
    import onnx_ir

    if part == "chunk" and (guidance := policy.config.guidance_scale) != 1:
        raise ValueError(
            f"the policy has guidance_scale={guidance}, but a chunk is of features read with one instruction; "
            "pass --part=step and combine the velocities, or --policy.guidance_scale=1"
        )
    policy.requires_grad_(False).eval()
    differences = {}
    for name, (model, in_torch, inputs_of) in zip(PARTS[part], _graphs(policy, part), strict=True):
        for value in (*model.graph.inputs, *model.graph.outputs):
            value.shape = onnx_ir.Shape(["batch", *value.shape[1:]])
        model.metadata_props.update(_metadata(policy.config))
        onnx_ir.save(model, path := folder / f"{name}.onnx")
        differences[name] = difference = _difference(path, in_torch, inputs_of)
        if not difference <= LARGEST_DIFFERENCE:  # a NaN is not, either
            path.unlink()
            raise ValueError(f"{name}.onnx differs from torch by {difference:.1e}, more than {LARGEST_DIFFERENCE:.0e}")
    return differences


def _graphs(policy: QwenVLAPolicy, part: str) -> Iterator[tuple["onnx_ir.Model", Graph, InputsOf]]:
    """Each graph of a part: in ONNX, in torch, and random inputs by number of rows."""
    config, context = policy.config, Context(policy)

    def noise(rows: int) -> Tensor:
        return torch.randn(rows, config.chunk_size, *config.action_feature.shape)

    def context_inputs(rows: int) -> Tensors:
        grids = {camera: policy.backbone.token_grid(image.shape) for camera, image in config.image_features.items()}
        shape = rows, config.num_frames
        inputs = {camera: torch.randn(*shape, math.prod(grid), policy.backbone.width) for camera, grid in grids.items()}
        inputs[WORDS] = pad_words([torch.randn(3 + row, policy.backbone.width) for row in range(rows)])
        if config.robot_state_feature and config.state_dropout != 1:
            inputs[OBS_STATE] = 2 * torch.randn(rows, *config.robot_state_feature.shape)  # some beyond STATE_LIMIT
        return inputs

    def with_context(rows: int, **inputs: Tensor) -> Tensors:
        return {"x_t": noise(rows), **inputs, **context(context_inputs(rows))}

    def chunk(inputs: Tensors) -> Tensors:
        return {ACTION: policy.model.denoise(inputs["noise"], _keys_values(context(inputs)))}

    context_model = _to_onnx(context, context_inputs)
    if part == "chunk":
        step = _to_onnx(SolverStep(policy), lambda rows: with_context(rows, start=torch.tensor(1.0)))
        _append_loop(context_model, step, config.num_inference_steps)
        yield context_model, chunk, lambda rows: {**context_inputs(rows), "noise": noise(rows)}
    else:
        yield context_model, context, context_inputs
        velocity, inputs_of = Velocity(policy), lambda rows: with_context(rows, time=torch.rand(rows))
        yield _to_onnx(velocity, inputs_of), velocity, inputs_of


def _to_onnx(module: nn.Module, inputs_of: InputsOf) -> "onnx_ir.Model":
    inputs = inputs_of(2)  # torch takes 0 and 1 for constants
    batch = torch.export.Dim("batch")
    shapes = {name: {0: batch} if value.ndim else {} for name, value in inputs.items()}
    if WORDS in inputs:
        shapes[WORDS][1] = torch.export.Dim("words")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what its own exporter uses
        program = torch.export.export(module, (), {"inputs": inputs}, dynamic_shapes={"inputs": shapes})
        names = {"input_names": list(inputs), "output_names": list(module(inputs))}
        return torch.onnx.export(program, dynamo=True, verbose=False, **names).model


def _append_loop(context: "onnx_ir.Model", step: "onnx_ir.Model", steps: int) -> None:
    """Makes the graph of the context one of a chunk, which repeats the solver's step from time 1 to 0.

    A loop of torch would be unrolled, and the expert with it: as many copies as the solver asks for velocities.
    """
    import onnx_ir as ir

    graph, body = context.graph, step.graph
    x_t, _, *keys_values = body.inputs
    ir.convenience.replace_all_uses_with(keys_values, graph.outputs)
    del body.inputs[2:]
    noise = ir.Value(name="noise", shape=x_t.shape, type=x_t.type)
    action = ir.Value(name=ACTION, shape=x_t.shape, type=x_t.type)
    starts = ir.node("Constant", [], {"value": ir.tensor(1 - np.arange(steps, dtype=np.float32) / steps)})
    loop = {"body": body, "num_scan_inputs": 1}
    graph.extend([starts, ir.node("Scan", [noise, *starts.outputs], loop, outputs=[action])])
    graph.inputs.append(noise)
    graph.outputs[:] = [action]
    ir.passes.common.NameFixPass()(context)


def _difference(path: Path, in_torch: Graph, inputs_of: InputsOf) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for rows in CHECKED_BATCHES:
        expected = in_torch(inputs := inputs_of(rows))
        outputs = session.run(list(expected), {name: value.numpy() for name, value in inputs.items()})
        differences += [np.abs(got - expected[name].numpy()).max() for name, got in zip(expected, outputs, strict=True)]
    return float(np.max(differences))


def _metadata(config: QwenVLAConfig) -> dict[str, str]:
    """What a caller has to know: which features to compute, of which frames, and what the numbers mean."""
    names = ("num_frames", "frame_skip", "chunk_size", "n_action_steps", "num_inference_steps", "solver")
    identity = feature_identity(config.backbone_settings, config.frame_offsets)
    settings = {**identity, **{name: getattr(config, name) for name in names}}
    note = "state and action are normalised: by policy_preprocessor and policy_postprocessor of the checkpoint"
    return {"policy": config.type, "normalization": note, **{name: str(value) for name, value in settings.items()}}


def _keys_values(tensors: Tensors) -> KeysValues:
    layers = sum(name.startswith("keys.") for name in tensors)
    return [(tensors[f"keys.{i}"], tensors[f"values.{i}"]) for i in range(layers)]


def _destinations(part: str, output: Path | None) -> dict[str, Path]:
    if part not in PARTS:
        raise ValueError(f"--part must be one of {', '.join(PARTS)}, got {part!r}")
    if output is None:
        raise ValueError("pass --output, the folder to write to")
    is_file = part == "chunk" and output.suffix == ".onnx"
    paths = {name: output if is_file else output / f"{name}.onnx" for name in PARTS[part]}
    for path in paths.values():
        if not path.parent.is_dir():
            raise ValueError(f"--output={output}: there is no folder {path.parent}; make it first")
        if path.exists():
            raise ValueError(f"{path} exists; remove it or choose another --output")
    return paths


def _load_policy() -> QwenVLAPolicy:
    path = parser.get_path_arg("policy")
    if not path:
        raise ValueError("pass --policy.path=CHECKPOINT, the pretrained_model folder or Hub name of a qwenvla policy")
    try:
        config = PreTrainedConfig.from_pretrained(path, cli_overrides=parser.get_cli_overrides("policy"))
        if not isinstance(config, QwenVLAConfig):
            raise ValueError(f"a {config.type} policy; only qwenvla can be exported")
        if config.use_peft:
            raise ValueError("adapters without their base; merge them first (docs/lora.md)")
        config.device, config.compile_model = "cpu", False
        return QwenVLAPolicy.from_pretrained(path, config=config, backbone=UnloadedBackbone(config.backbone_settings))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"--policy.path={path}: {' '.join(str(error).split())}") from error


@parser.wrap()
def _run(config: ExportConfig) -> None:
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise ValueError(f"{', '.join(missing)} missing: pip install 'lerobot_policy_qwenvla[export]'")
    paths = _destinations(config.part, config.output)
    folder = next(iter(paths.values())).parent
    with TemporaryDirectory(dir=folder, prefix=".qwenvla-export-") as unfinished:
        differences = export(_load_policy(), config.part, Path(unfinished))
        for name, path in paths.items():
            (Path(unfinished) / f"{name}.onnx").rename(path)
            megabytes = path.stat().st_size / 1e6
            print(f"{path}: {megabytes:.1f} MB, differs from torch by at most {differences[name]:.1e}")


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-export: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
