"""The peak of a training step and of a decision, measured with real weights; and what those weights are stored as."""

import ctypes
import gc
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from torch import nn

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.memory.computed import Training
from lerobot_qwenvla.tools.memory.hollow import hollow_policy
from lerobot_qwenvla.tools.memory.steps import decision, running_optimizer, training_step
from lerobot_qwenvla.tools.parameters import components, is_nf4

PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Measured:
    """Bytes on the device beyond what was there before the policy, and how many 4-bit layers were verified."""

    weights_bytes: int
    training_peak_bytes: int
    decision_peak_bytes: int
    four_bit_layers: int


def measure(training: Training, dataset_meta: LeRobotDatasetMetadata | None = None) -> Measured:
    """Loads the policy, and runs a training step and a decision on its device.

    On CUDA the bytes are torch's `max_memory_allocated`; on the CPU the high-water mark of the process's resident
    set, which counts the libraries' own working memory too.

    Raises:
        ValueError: As the policy itself; the CPU is not Linux's; or the weights are not stored as computed.
    """
    device = torch.device(training.config.device)
    before = _used_bytes(device)
    policy = QwenVLAPolicy(training.config, dataset_meta=dataset_meta)
    four_bit_layers = verify_weights(policy)
    if device.type == "cpu":
        _copy_out_of_file(policy)
    weights = _used_bytes(device) - before
    training_peak = _training_peak_bytes(policy, training.batch_size, device) - before
    # After training, as a decision loads the backbone that training on precomputed features does without; and beyond
    # what is used then, as libraries keep some of their working memory.
    after = _used_bytes(device)
    _reset_peak(device)
    decision(policy)
    return Measured(weights, training_peak, weights + _peak_bytes(device) - after, four_bit_layers)


def verify_weights(policy: QwenVLAPolicy) -> int:
    """Checks that the loaded weights are stored as computed; returns how many layers are 4-bit.

    Raises:
        ValueError: A layer of a 4-bit part is not NF4 with nested scales, or a part has another size than computed.
    """
    backbone, config = policy.backbone, policy.config
    four_bit_layers = 0
    for part, quantization in ((backbone.vision, config.vision_quantization), (backbone.text, config.quantization)):
        if part is None or quantization != "4bit":
            continue
        for name, layer in part.named_modules():
            if isinstance(layer, nn.Linear):
                if not is_nf4(layer):
                    stored = getattr(layer.weight, "quant_state", None)
                    what = f"{type(part).__name__}.{name} is a {type(layer).__name__} with {stored}"
                    raise ValueError(f"{what}, must be NF4 with nested scales")
                four_bit_layers += 1
    computed = components(hollow_policy(config, precomputed=backbone.vision is None))
    for expected, loaded in zip(computed, components(policy), strict=True):
        if loaded != expected:
            raise ValueError(f"the loaded weights are not as computed: got {loaded}, must be {expected}")
    return four_bit_layers


def _training_peak_bytes(policy: QwenVLAPolicy, batch_size: int, device: torch.device) -> int:
    optimizer = running_optimizer(policy)
    _reset_peak(device)
    training_step(policy, optimizer, batch_size)
    return _peak_bytes(device)


def _copy_out_of_file(policy: QwenVLAPolicy) -> None:
    """On the CPU weights that keep their type stay pages of their file: resident once touched, with all else read."""
    for parameter in policy.backbone.parameters():
        parameter.data = parameter.data.clone()


def _used_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    gc.collect()
    _give_free_memory_back()
    return _resident_bytes("VmRSS")


def _peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident_bytes("VmHWM")


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    gc.collect()
    _give_free_memory_back()
    (PROCESS / "clear_refs").write_text("5")  # "reset the peak resident set size to the current", see proc(5)


def _give_free_memory_back() -> None:
    """Frees count at once: glibc keeps freed memory for itself, where it would hide what is allocated next."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _resident_bytes(field: str) -> int:
    if not (PROCESS / "clear_refs").exists():
        raise ValueError("measuring on a CPU needs Linux; pass --policy.device=cuda, or --measure=false")
    kilobytes = re.search(rf"^{field}:\s+(\d+) kB$", (PROCESS / "status").read_text(), flags=re.M)[1]
    return int(kilobytes) * 1024
