"""The most memory that training and deciding hold: computed with hollow weights, or measured with real ones."""

import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor
from torch.autograd.profiler import profile
from torch.optim import AdamW, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from lerobot_qwenvla.backbone.quantization import stored_tensors
from lerobot_qwenvla.features.columns import column_of_camera
from lerobot_qwenvla.features.store import FeatureStore
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.memory.hollow import hollow_policy, verify_weights

# Of the usual length: its keys and values stand before every picture.
INSTRUCTION = "Walk to the red box behind the house and pick up what lies next to it."


@dataclass(frozen=True)
class Training:
    """A training run, as far as its memory goes."""

    config: QwenVLAConfig
    batch_size: int
    precomputed: bool = False

    def peak_bytes(self) -> int:
        """The most a training step holds, computed: weights, gradients, moments, batch and activations."""
        policy = hollow_policy(self.config, precomputed=self.precomputed)
        with LiveBytes(stored_tensors(policy)) as memory:
            _train(policy, _running_optimizer(policy), self.batch_size)
        return memory.peak_bytes


def decision_peak_bytes(config: QwenVLAConfig) -> int:
    """The most that deciding for one observation holds, computed: weights, frames and activations."""
    policy = hollow_policy(config)
    with LiveBytes(stored_tensors(policy)) as memory:
        _decide(policy)
    return memory.peak_bytes


@dataclass(frozen=True)
class Measured:
    """The most bytes that torch held on the policy's device, and how many 4-bit layers were verified."""

    decision_peak_bytes: int
    training_peak_bytes: int
    four_bit_layers: int


def measure(training: Training, dataset_meta: LeRobotDatasetMetadata | None = None) -> Measured:
    """Loads the policy, and takes a training step and a decision on its device.

    Raises:
        ValueError: As the policy itself, or the weights are not stored as computed.
    """
    policy = _used_policy(training.config, dataset_meta)
    optimizer = _running_optimizer(policy)
    moments = [moment for state in optimizer.state.values() for moment in state.values()]
    training_peak = _peak_bytes(
        [*stored_tensors(policy), *moments], lambda: _train(policy, optimizer, training.batch_size)
    )
    verify_weights(policy)
    deciding = _used_policy(training.config)
    decision_peak = _peak_bytes(stored_tensors(deciding), lambda: _decide(deciding))
    return Measured(decision_peak, training_peak, verify_weights(deciding))


def _train(policy: QwenVLAPolicy, optimizer: Optimizer, batch_size: int) -> None:
    """Forward, backward and optimizer as lerobot-train takes them, in the precision it takes from `config.dtype`."""
    config = policy.config
    store = policy.perception.store
    batch = _observations(config, batch_size, precomputed=store is not None)
    if isinstance(store, FeatureStore):  # which knows the instructions of its dataset only
        batch["task"] = [store.longest_instruction] * batch_size
    batch[ACTION] = torch.zeros(batch_size, config.chunk_size, *config.action_feature.shape, device=config.device)
    policy.train()
    with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
        loss, _ = policy(batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), config.optimizer_grad_clip_norm)
    optimizer.step()
    optimizer.zero_grad()


def _running_optimizer(policy: QwenVLAPolicy) -> AdamW:
    """AdamW in the middle of training: with the moments that it makes at its first step."""
    # foreach is what torch chooses on CUDA; it takes more memory than parameter by parameter.
    optimizer = AdamW(policy.get_optim_params(), foreach=True)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def _decide(policy: QwenVLAPolicy) -> None:
    policy.predict_action_chunk(_observations(policy.config, 1, precomputed=False))


def _observations(config: QwenVLAConfig, batch_size: int, *, precomputed: bool) -> dict[str, Any]:
    """Black pictures (B, F, C, H, W), or rows (B, F) of precomputed features; and the state (B, F, S)."""
    rows = batch_size, config.num_frames
    batch: dict[str, Any] = {"task": [INSTRUCTION] * batch_size}
    for camera, feature in config.image_features.items():
        if precomputed:
            batch[column_of_camera(camera)] = torch.zeros(rows, dtype=torch.long, device=config.device)
        else:
            batch[camera] = torch.zeros(*rows, *feature.shape, device=config.device)
    if config.robot_state_feature:
        batch[OBS_STATE] = torch.zeros(*rows, *config.robot_state_feature.shape, device=config.device)
    return batch


def _used_policy(config: QwenVLAConfig, dataset_meta: LeRobotDatasetMetadata | None = None) -> QwenVLAPolicy:
    """A policy that holds nothing but its weights, as they are after a first use, which may pack 4-bit ones anew."""
    policy = QwenVLAPolicy(config, dataset_meta=dataset_meta).to(config.device)
    if policy.perception.store is None:
        _decide(policy)
        policy.reset()  # forgets the frames
        policy.to(config.device)  # and the instruction
    return policy


def _peak_bytes(held: Iterable[Tensor], work: Callable[[], None]) -> int:
    """What is held before work, and the most that torch gives out besides while it runs."""
    held = list(held)
    gc.collect()  # what is garbage already must not be freed by this work
    held_bytes, device = LiveBytes(held).live_bytes, held[0].device
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return held_bytes + torch.cuda.max_memory_allocated(device) - before
    with profile(profile_memory=True) as profiler:
        work()
    changes_bytes = [event.nbytes() for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    return held_bytes + max(accumulate(changes_bytes))


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors alive, and the most there were, of those there already and those made while it is on.

    A storage counts once, however many tensors look at it. What a kernel allocates for itself and frees before it
    returns is not seen. (torch's `MemTracker` wants to hook into every parameter, which frozen ones refuse.)
    """

    def __init__(self, existing: Iterable[Tensor]) -> None:
        super().__init__()
        self.live_bytes = self.peak_bytes = 0
        self._storages: set[int] = set()
        for tensor in existing:
            self._count(tensor)

    def __torch_dispatch__(self, op: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = op(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._storages:
            return
        self._storages.add(id(storage))
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._discount, id(storage), storage.nbytes())

    def _discount(self, key: int, size_bytes: int) -> None:
        self._storages.discard(key)
        self.live_bytes -= size_bytes
