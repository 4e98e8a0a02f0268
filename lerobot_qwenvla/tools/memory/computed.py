"""The peak of a training step and of a decision, computed without weights and without a GPU."""

from dataclasses import dataclass

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.tools.memory.hollow import hollow_policy
from lerobot_qwenvla.tools.memory.live_bytes import LiveBytes
from lerobot_qwenvla.tools.memory.steps import decision, running_optimizer, training_step
from lerobot_qwenvla.tools.parameters import stored_tensors


@dataclass(frozen=True)
class Training:
    """A training run, as far as its memory goes."""

    config: QwenVLAConfig
    batch_size: int
    precomputed: bool = False

    def peak_bytes(self) -> int:
        """The most a training step holds: weights, gradients, moments, batch and activations."""
        policy = hollow_policy(self.config, precomputed=self.precomputed)
        with LiveBytes(stored_tensors(policy)) as memory:
            training_step(policy, running_optimizer(policy), self.batch_size)
        return memory.peak_bytes


def decision_peak_bytes(config: QwenVLAConfig) -> int:
    """The most that deciding for one observation holds: weights, frames and activations."""
    policy = hollow_policy(config)
    with LiveBytes(stored_tensors(policy)) as memory:
        decision(policy)
    return memory.peak_bytes
