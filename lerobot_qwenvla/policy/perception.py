"""From observations to features: looked up where they were computed before, remembered where a policy runs."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.backbone.prompt import HIDDEN_INSTRUCTION
from lerobot_qwenvla.features.frame_memory import FrameMemory
from lerobot_qwenvla.features.store import FeatureStore
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.observation import Observation


class Perception:
    """The backbone of a policy, and what there is of its features already.

    Attributes:
        store: Features of the dataset it trains on, None where that has pictures.
        memory: Frames of the running episodes.
    """

    def __init__(self, config: QwenVLAConfig, backbone: FrozenBackbone, store: FeatureStore | None) -> None:
        """Raises ValueError where instructions are to be hidden that all of the store's features have read."""
        if store is not None and config.instruction_dropout and not store.has_uncond:
            raise ValueError(
                f"--policy.instruction_dropout={config.instruction_dropout} hides instructions that these precomputed "
                "features have read; compute them again with --features_uncond=true, or set it to 0"
            )
        self.config, self.backbone, self.store = config, backbone, store
        self.memory = FrameMemory(backbone, config.frame_offsets)

    def for_training(self, observation: Observation, hide_instruction: Tensor | None = None) -> Features:
        """Features of B observations with all their frames, read without instruction where `hide_instruction` (B,).

        Raises:
            ValueError: A camera is missing.
        """
        if observation.feature_rows:
            return self._stored(observation.feature_rows, observation.instructions, hide_instruction)
        cameras = self.config.image_features.keys()
        if observation.images.keys() < cameras:
            raise ValueError(f"training needs {sorted(cameras)}, the batch has {sorted(observation.images)}")
        instructions = _hide(observation.instructions, hide_instruction)
        pictures = {camera: self.backbone.encode(frames, instructions) for camera, frames in observation.images.items()}
        return Features(pictures, self.backbone.words(instructions, _device(pictures)))

    def for_decision(
        self, observation: Observation, steps: Sequence[int], sessions: Sequence[Hashable], *, guided: bool
    ) -> Features:
        """Features of B observations; if guided of 2·B, read with the instruction, and again without."""
        instructions = _readings(observation, guided)
        if observation.feature_rows:
            rows = {camera: each.repeat(1 + guided, 1) for camera, each in observation.feature_rows.items()}
            hidden = torch.arange(len(instructions)) >= len(observation) if guided else None
            return self._stored(rows, instructions, hidden)
        if observation.is_current:
            windows = self.memory.push(observation.images, sessions, steps)
            pictures = self.memory.encode(windows, instructions)
            return Features(pictures, self.memory.words(instructions, _device(pictures)))
        readings = 1 + guided
        pictures = {
            camera: self.backbone.encode(frames.repeat(readings, 1, 1, 1, 1), instructions)
            for camera, frames in observation.images.items()
        }
        return Features(pictures, self.backbone.words(instructions, _device(pictures)))

    def remember(
        self,
        observation: Observation,
        steps: Sequence[int],
        sessions: Sequence[Hashable],
        *,
        guided: bool,
        steps_to_decision: int,
    ) -> None:
        """Keeps the frame of a step that needs no decision, for those that will look back to it."""
        if not observation.is_current:  # the next decision gets all its frames
            return
        windows = self.memory.push(observation.images, sessions, steps)
        if self.config.frame_caching == "eager" and self._will_be_looked_at(steps_to_decision):
            self.memory.encode_current(windows, _readings(observation, guided))

    def _will_be_looked_at(self, steps_to_decision: int) -> bool:
        """Whether the next decision, or one of those after it, looks back to the current frame."""
        ages = [-offset for offset in self.config.frame_offsets]
        every = self.config.n_action_steps
        return any(age >= steps_to_decision and (age - steps_to_decision) % every == 0 for age in ages)

    def _stored(self, rows: dict[str, Tensor], instructions: list[str], hidden: Tensor | None) -> Features:
        if self.store is None:
            raise ValueError(
                f"got rows of precomputed features ({sorted(rows)}) but not the dataset they are "
                "of; pass pictures, or make the policy with LeRobot's make_policy(config, ds_meta=...)"
            )
        pictures = self.store.read(rows, hidden)
        return Features(pictures, self.store.words(_hide(instructions, hidden), _device(pictures)))


def _device(pictures: dict[str, Tensor]) -> torch.device:
    return next(iter(pictures.values())).device


def _hide(instructions: list[str], hidden: Tensor | None) -> list[str]:
    if hidden is None:
        return instructions
    return [HIDDEN_INSTRUCTION if h else text for text, h in zip(instructions, hidden.tolist(), strict=True)]


def _readings(observation: Observation, guided: bool) -> list[str]:
    return observation.instructions + [HIDDEN_INSTRUCTION] * (len(observation) * guided)
