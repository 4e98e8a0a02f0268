"""The messages of LeRobot's asynchronous inference, unpacked once and checked, and the answers to them."""

import io
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lerobot.async_inference.helpers import TimedAction
from lerobot.utils.constants import OBS_IMAGES, OBS_STATE

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.observation import TokenGrid
from lerobot_qwenvla.serving.wire.pickles import Array, Record, read_pickle

# What a client may say in the place of the path of the policy.
SERVED = "served"
MAX_PICTURE_BYTES = 8 << 20  # of all cameras together: one of 1920×1080 is 6.2 MB
MAX_SETUP_BYTES = 256 << 10
MAX_OTHER_BYTES = 64 << 10  # what an observation has besides pictures
MAX_INSTRUCTION = 1_000  # characters
MAX_TIMESTEP = 10**9


@dataclass(frozen=True)
class Setup:
    """What a client has declared.

    Attributes:
        state_names: Keys of an observation's numbers, in the order of the policy's state.
        cameras: Of those that the policy looks at: name in the policy's inputs → shape (H, W, 3).
        actions_per_chunk: How many actions it wants at once.
        max_bytes: Of an observation.
    """

    state_names: tuple[str, ...]
    cameras: dict[str, tuple[int, int, int]]
    actions_per_chunk: int
    max_bytes: int


@dataclass(frozen=True)
class Observation:
    """What a client has seen.

    Attributes:
        timestep: Last action it has performed, or 0.
        timestamp_s: When, by its own clock.
        must_go: Whether it says that it has no action left.
        images: Camera → (H, W, 3) uint8.
        state: (S,) float32.
    """

    timestep: int
    timestamp_s: float
    must_go: bool
    instruction: str
    images: dict[str, np.ndarray]
    state: np.ndarray


def read_setup(data: bytes, config: QwenVLAConfig, token_grid: TokenGrid, path: str) -> Setup:
    """A client's declaration, which must suit the policy that was loaded from `path`.

    Raises:
        ValueError: It doesn't, or is none.
    """
    if len(data) > MAX_SETUP_BYTES:
        raise ValueError(f"policy instructions of {len(data)} bytes, at most {MAX_SETUP_BYTES}")
    fields = _fields(data, "RemotePolicyConfig")
    if fields.get("policy_type") != "qwenvla" or fields.get("pretrained_name_or_path") not in (path, SERVED):
        raise ValueError(
            "this server serves one policy, chosen when it was started: pass --policy_type=qwenvla "
            f"--pretrained_name_or_path={SERVED}"
        )
    wanted = fields.get("actions_per_chunk")
    if type(wanted) is not int or wanted < 1:
        raise ValueError("actions_per_chunk must be at least 1")
    features = fields.get("lerobot_features")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise ValueError("lerobot_features must be a dict of features")
    shapes = {name: _shape(name, feature) for name, feature in features.items() if name.startswith(f"{OBS_IMAGES}.")}
    picture_bytes = sum(map(math.prod, shapes.values()))
    if picture_bytes > MAX_PICTURE_BYTES:
        raise ValueError(
            f"pictures of {picture_bytes} bytes an observation, at most {MAX_PICTURE_BYTES}; send smaller ones"
        )
    cameras = {name: shape for name, shape in shapes.items() if name in config.image_features}
    if not cameras:
        raise ValueError(f"the policy looks at {sorted(config.image_features)}, the robot has {sorted(shapes)[:8]}")
    for name, (height, width, channels) in cameras.items():
        trained = config.image_features[name].shape
        if channels != 3 or token_grid((channels, height, width)) != token_grid(trained):
            raise ValueError(
                f"{name}: pictures of {(height, width, channels)}, the policy was trained on {tuple(trained)} "
                "(channels, height, width); let the robot's camera have its aspect ratio"
            )
    return Setup(
        state_names=_state_names(features.get(OBS_STATE), config),
        cameras=cameras,
        actions_per_chunk=min(wanted, config.chunk_size),
        max_bytes=picture_bytes + MAX_OTHER_BYTES,
    )


def _shape(name: str, feature: dict[str, Any]) -> tuple[int, int, int]:
    shape = feature.get("shape")
    if not (isinstance(shape, tuple | list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
        raise ValueError(f"{name[:60]}: must have a shape (height, width, channels)")
    return tuple(shape)


def _state_names(feature: dict[str, Any] | None, config: QwenVLAConfig) -> tuple[str, ...]:
    size = config.robot_state_feature.shape[0] if config.robot_state_feature else 0
    if not size:
        return ()
    names = feature.get("names") if feature else []
    if not isinstance(names, list) or len(names) != size or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the policy was trained with a state of {size} numbers, the robot has another")
    # LeRobot's robots call a channel mouse.x.vel that is mouse.x in a dataset.
    plain, trained = [name.removesuffix(".vel") for name in names], config.action_names or []
    if plain != trained and sorted(plain) == sorted(trained):
        raise ValueError("the robot's channels are in another order than the policy's; it would press other keys")
    return tuple(names)


def read_observation(data: bytes, setup: Setup) -> Observation:
    """An observation as it was declared.

    Raises:
        ValueError: It is something else.
    """
    fields = _fields(data, "TimedObservation")
    timestep, timestamp_s, must_go = (fields.get(name) for name in ("timestep", "timestamp", "must_go"))
    if type(timestep) is not int or not 0 <= timestep <= MAX_TIMESTEP:
        raise ValueError(f"timestep must be an integer from 0 to {MAX_TIMESTEP}")
    if type(timestamp_s) is not float or not math.isfinite(timestamp_s) or type(must_go) is not bool:
        raise ValueError("timestamp must be a finite float, must_go a bool")
    values = fields.get("observation")
    if not isinstance(values, dict):
        raise ValueError("observation must be a dict")
    instruction = values.get("task", "")
    if not isinstance(instruction, str) or len(instruction) > MAX_INSTRUCTION:
        raise ValueError(f"task must be a text of at most {MAX_INSTRUCTION} characters")
    images = {}
    for camera, shape in setup.cameras.items():
        image = values.get(camera.removeprefix(f"{OBS_IMAGES}."))
        array = image.array if isinstance(image, Array) else None
        if array is None or array.dtype != np.uint8 or array.shape != shape:
            got = "no picture" if array is None else f"{array.dtype} {array.shape}"
            raise ValueError(f"{camera}: got {got}, declared were bytes of {shape}")
        images[camera] = array
    numbers = [values.get(name) for name in setup.state_names]
    if not all(isinstance(number, float | int) for number in numbers):
        raise ValueError("a number of the state is missing, or is none")
    state = np.array(numbers, np.float64)
    # In float32 too, in which the policy computes: what normalisation makes of larger ones means nothing.
    if not (np.abs(state) < 1e6).all():
        raise ValueError("a number of the state is not finite, or a million or more")
    return Observation(timestep, timestamp_s, must_go, instruction, images, state.astype(np.float32))


def _fields(data: bytes, record: str) -> dict[str, Any]:
    try:
        value = read_pickle(data)
    except ValueError as error:
        raise ValueError(f"no {record} of LeRobot's client: {error}") from error
    if not isinstance(value, Record) or value.name != record or value.fields is None:
        raise ValueError(f"no {record} of LeRobot's client")
    return value.fields


class _ActionPickler(pickle.Pickler):
    """Tensors as arrays: of itself, torch writes a tensor's whole storage with 400 bytes around it."""

    def reducer_override(self, value: Any) -> tuple[Callable, tuple[np.ndarray]] | Any:
        return (torch.from_numpy, (value.numpy(),)) if isinstance(value, torch.Tensor) else NotImplemented


def write_actions(actions: np.ndarray, timestep: int, timestamp_s: float, fps: float) -> bytes:
    """What LeRobot's client unpickles: the actions that follow an observation.

    The first is labelled `timestep` + 1, as `timestep` is an action that was performed already: labelled with it, the
    client would drop it and perform all others one step early.

    Args:
        actions: (n, A).
        timestep, timestamp_s: Of the observation.
        fps: Actions a second.
    """
    chunk = [
        TimedAction(timestamp_s + (i + 1) / fps, timestep + 1 + i, torch.from_numpy(action))
        for i, action in enumerate(actions)
    ]
    file = io.BytesIO()
    _ActionPickler(file, protocol=4).dump(chunk)
    return file.getvalue()
