"""The policy behind the server: observations join their episodes, and several are decided about at once."""

import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc import RTCConfig, RTCProcessor
from lerobot.processor import PolicyAction, PolicyProcessorPipeline
from lerobot.utils.constants import OBS_STATE
from torch import Tensor

from lerobot_qwenvla.backbone.prompt import HIDDEN_INSTRUCTION
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.algorithm.flow_matching import Steering, draw
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.policy.observation import Observation as Batch
from lerobot_qwenvla.policy.rtc import steering
from lerobot_qwenvla.serving.session import Sighting
from lerobot_qwenvla.serving.wire.messages import Observation

logger = logging.getLogger(__name__)

WARM_UP = "warm-up"  # a session of its own


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be decided.

    Attributes:
        running: Of the chunk that the client performs, what it has not performed yet, (L, A), None if nothing.
        delay: How many of them it will perform while this is decided.
    """

    sighting: Sighting
    running: Tensor | None = None
    delay: int = 0


@dataclass(frozen=True, eq=False)
class Decision:
    """A chunk: as the policy made it, normalised, and as it is performed, both (chunk, A)."""

    normalised: Tensor
    actions: np.ndarray


class Engine:
    """`see` and `decide` may each run in a thread of their own, but neither in two."""

    def __init__(
        self,
        policy: QwenVLAPolicy,
        preprocessor: PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
        postprocessor: PolicyProcessorPipeline[PolicyAction, PolicyAction],
        *,
        seed: int = 0,
        rtc: RTCConfig | None = None,
    ) -> None:
        """The preprocessor works on the CPU; `rtc` makes a chunk continue the running one, None decides anew."""
        self.policy, self.preprocessor, self.postprocessor = policy.eval(), preprocessor, postprocessor
        self.seed = seed
        self.memory = policy.perception.memory
        self.rtc = RTCProcessor(rtc) if rtc is not None and rtc.enabled else None

    @classmethod
    def load(cls, path: str, config: QwenVLAConfig, **settings: Any) -> Self:
        """The policy of a checkpoint, with its processors.

        Raises:
            ValueError: It can't be loaded as this config says.
        """
        policy = QwenVLAPolicy.from_pretrained(path, config=config)
        # On a GPU every observation would wait for the decision that is being made there.
        overrides = {"device_processor": {"device": "cpu"}}
        processors = make_pre_post_processors(config, path, preprocessor_overrides=overrides)
        return cls(policy, *processors, **settings)

    def warm_up(self) -> None:
        """Decides once about nothing, which loads and compiles what the first decision would wait for."""
        config = self.policy.config
        images = {name: np.zeros((*each.shape[1:], 3), np.uint8) for name, each in config.image_features.items()}
        size = config.robot_state_feature.shape[0] if config.robot_state_feature else 0
        nothing = Observation(0, 0.0, True, "", images, np.zeros(size, np.float32))
        [decision] = self.decide([Question(self.see(WARM_UP, nothing))])
        self.forget(WARM_UP)
        if isinstance(decision, Exception):
            raise decision

    @torch.no_grad()
    def see(self, session: Hashable, observation: Observation, received_s: float = 0.0) -> Sighting:
        """An observation joins the frames of its session.

        Raises:
            ValueError: The policy can't look at it.
        """
        images = {
            camera: torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
            for camera, image in observation.images.items()
        }
        state = {OBS_STATE: torch.from_numpy(observation.state)} if observation.state.size else {}
        batch = self.preprocessor({**images, **state, "task": observation.instruction})
        seen = Batch.from_batch(batch, self.policy.config, self.policy.backbone.token_grid)
        windows = self.memory.push(seen.images, [session], [observation.timestep])
        return Sighting(observation, seen.instructions[0], seen.state, windows, received_s)

    def forget(self, session: Hashable) -> None:
        """Ends a session's episode; a decision about it goes on."""
        self.memory.reset(session)

    @torch.no_grad()
    def decide(self, questions: Sequence[Question]) -> list[Decision | Exception]:
        """Decisions about all at once, each the same as if it were alone; in the place of one that fails, its error."""
        groups = defaultdict(list)
        for row, question in enumerate(questions):
            groups[self._kind(question)].append(row)
        decisions: list[Decision | Exception] = [RuntimeError()] * len(questions)
        for rows in groups.values():
            for row, decision in zip(rows, self._decide_or_fail([questions[row] for row in rows]), strict=True):
                decisions[row] = decision
        return decisions

    def _kind(self, question: Question) -> Hashable:
        """Questions of one kind can be rows of a batch."""
        pictures = tuple((camera, rows[0][-1].grid) for camera, rows in question.sighting.windows.items())
        return pictures, self._guide_length(question), question.delay if self._guide_length(question) else 0

    def _guide_length(self, question: Question) -> int:
        if self.rtc is None or question.running is None:
            return 0
        return min(len(question.running), self.rtc.rtc_config.execution_horizon)

    def _decide_or_fail(self, questions: list[Question]) -> list[Decision | Exception]:
        try:
            return self._decide(questions)
        except Exception as error:
            if len(questions) == 1:
                logger.exception("A decision failed")
                return [error]
            # So that one does not fail for another's sake, be it for want of memory.
            return [decision for question in questions for decision in self._decide_or_fail([question])]

    def _decide(self, questions: list[Question]) -> list[Decision | Exception]:
        sightings = [question.sighting for question in questions]
        model = self.policy.model
        keys = [[self.seed, each.observation.timestep] for each in sightings]
        noise = draw(keys, 1, model.chunk_shape, model.device).noise
        states = [each.state for each in sightings]
        state = None if states[0] is None else torch.cat(states).to(model.device)
        chunk = model.sample(self._features(sightings), state, noise, steering=self._steering(questions))
        actions = self.postprocessor(chunk).float().cpu().numpy()
        return [
            Decision(normalised, each) if np.isfinite(each).all() else ValueError("no finite actions for this state")
            for normalised, each in zip(chunk, actions, strict=True)
        ]

    def _features(self, sightings: list[Sighting]) -> Features:
        windows = {camera: [each.windows[camera][0] for each in sightings] for camera in sightings[0].windows}
        device = self.policy.model.device
        for frame in (frame for rows in windows.values() for row in rows for frame in row):
            frame.image = None if frame.image is None else frame.image.to(device)
        instructions = [each.instruction for each in sightings]
        readings = instructions + [HIDDEN_INSTRUCTION] * (len(sightings) * self.policy.model.is_guided)
        pictures = self.memory.encode(windows, readings)
        return Features(pictures, self.memory.words(readings, device))

    def _steering(self, questions: list[Question]) -> Steering | None:
        length = self._guide_length(questions[0])
        if not length:
            return None
        return steering(
            self.rtc,
            inference_delay=questions[0].delay,
            prev_chunk_left_over=torch.stack([question.running[:length] for question in questions]),
            execution_horizon=None,
        )
