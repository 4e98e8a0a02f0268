"""The algorithm: a flow-matching policy on features of frames, apart from LeRobot and from where features come from.

features (B, F, T, D) a camera, words (B, L, D), state (B, S) ─ context ─→ keys and values ─┐
noise (B, chunk, A) ─ expert, once per evaluation of the solver ←───────────────────────────┘ ─→ actions (B, chunk, A)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from lerobot.policies.common.flow_matching import sample_noise
from torch import Tensor, nn

from lerobot_qwenvla.policy.algorithm.context import CameraProjector, ContextProjector, Features, InstructionPooling
from lerobot_qwenvla.policy.algorithm.expert import ActionExpert, KeysValues, Modulations, at_time
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.solvers import evaluation_times, integrate

# Kinds of channels whose losses are logged apart, by how the names of actions begin.
CHANNEL_KINDS = ("mouse", "button", "key", "wheel")

# Changes a velocity: x_t (B, chunk, A), time, and the velocity as a function of x_t → (B, chunk, A).
Steering = Callable[[Tensor, float, Callable[[Tensor], Tensor]], Tensor]


class FlowMatching(nn.Module):
    """Context and expert, how they are trained (`loss`) and how they act (`sample`).

    The device is that of the weights. States and actions are normalised.
    """

    def __init__(self, config: QwenVLAConfig, grids: dict[str, tuple[int, int]], feature_width: int) -> None:
        """`grids` are rows and columns of the tokens of each camera's pictures."""
        super().__init__()
        self.config = config
        cameras = {
            camera: CameraProjector(
                grid,
                width=config.expert_width,
                feature_width=feature_width,
                frames=config.num_frames,
                pooling=config.token_pooling,
            )
            for camera, grid in grids.items()
        }
        self.state_size = config.robot_state_feature.shape[0] if config.robot_state_feature else 0
        self.chunk_shape = config.chunk_size, config.action_feature.shape[0]
        instruction = InstructionPooling(
            width=config.expert_width, feature_width=feature_width, heads=config.expert_heads
        )
        self.context = ContextProjector(cameras, instruction, width=config.expert_width, state=self.state_size)
        self.expert = ActionExpert(
            width=config.expert_width,
            layers=config.expert_layers,
            heads=config.expert_heads,
            chunk_size=config.chunk_size,
            action=config.action_feature.shape[0],
            checkpointing=config.gradient_checkpointing,
        )

    @property
    def device(self) -> torch.device:
        return self.expert.position.device

    @property
    def is_guided(self) -> bool:
        """Whether a sample needs each observation's features twice, read with its instruction and without."""
        return self.config.guidance_scale != 1

    def compile_velocity(self, mode: str) -> None:
        """Compiles one evaluation of the solver, which all of them share, steered or not.

        The whole loop is one graph too, but a compiler unrolls it: it takes three times as long for a tenth more speed.
        """
        self.velocity = torch.compile(self.velocity, mode=mode, fullgraph=True)

    def loss(
        self,
        features: Features,
        state: Tensor | None,
        action: Tensor,
        *,
        noise: Tensor,
        time: Tensor,
        hide_state: Tensor | None = None,
    ) -> Tensor:
        """Squared error of the velocity at times between action and noise, averaged over `noise_draws`.

        In training it is weighted by time, see `time_weighting`.

        Args:
            features: Of B observations.
            state: (B, S).
            action: (B, chunk, A).
            noise, time: (B·K, chunk, A) and (B·K,), the K draws of an observation next to each other.
            hide_state: (B,) bool; if None, all are hidden where `state_dropout` is 1, and else none.

        Returns:
            (B, chunk, A)
        """
        draws = self.config.noise_draws
        context = self.context_keys_values(features, state, hide_state)
        action = action.repeat_interleave(draws, dim=0)  # (B·K, chunk, A)
        t = time[:, None, None]
        x_t = t * noise + (1 - t) * action  # t=1 is noise
        velocity = noise - action
        predicted = self.expert(x_t, self.expert.modulations(time), context).float()
        error = F.mse_loss(predicted, velocity, reduction="none")
        if self.training and self.config.time_weighting == "cosmap":
            error = error * cosmap(t)
        return error.unflatten(0, (-1, draws)).mean(1)

    @torch.no_grad()
    def sample(
        self,
        features: Features,
        state: Tensor | None,
        noise: Tensor | None = None,
        *,
        steering: Steering | None = None,
    ) -> Tensor:
        """Actions for B observations.  # (B, chunk, A)

        Args:
            features: Of B observations; with guidance of 2·B, first conditioned on the instruction.
            state: (B, S).
            noise: Fixes the sample; drawn if None.  # (B, chunk, A)
            steering: Changes every velocity, as real-time chunking does.

        Raises:
            ValueError: `noise` is of another shape.
        """
        rows = len(features) // (1 + self.is_guided)
        if noise is None:
            noise = sample_noise((rows, *self.chunk_shape), self.device)
        if noise.shape != (rows, *self.chunk_shape):
            raise ValueError(f"noise must be {(rows, *self.chunk_shape)}, got {tuple(noise.shape)}")
        # As in training. A CPU that computes bfloat16 fast is the exception, and exact actions are worth more there.
        lower = self.device.type != "cpu" and self.config.dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=lower):
            return self.denoise(noise, self.context_keys_values(features, state), steering)

    def context_keys_values(
        self, features: Features, state: Tensor | None, hide_state: Tensor | None = None
    ) -> KeysValues:
        """Keys and values of features (R·B rows: every one of B observations was read R times) and state (B, S)."""
        rows = len(features)
        if state is not None:
            state = state.repeat(rows // len(state), 1)
        if hide_state is None:
            hide_state = torch.full((rows,), self.config.state_dropout == 1, device=self.device)
        return self.expert.context_keys_values(self.context(features, state, hide_state))

    def denoise(self, noise: Tensor, context: KeysValues, steering: Steering | None = None) -> Tensor:
        """All steps of the solver, from noise to action.  # (B, chunk, A)"""
        modulations = self.solver_modulations()
        times = evaluation_times(self.config.num_inference_steps, self.config.solver)

        def velocity(x_t: Tensor, i: int) -> Tensor:
            def free(x_t: Tensor) -> Tensor:
                v_t = self.velocity(x_t, at_time(modulations, i), context)
                return v_t.clone() if self.config.compile_model else v_t  # CUDA graphs write over their last result

            return steering(x_t, times[i], free) if steering else free(x_t)

        return integrate(velocity, noise, self.config.num_inference_steps, self.config.solver)

    def solver_modulations(self) -> Modulations:
        """Of every time at which the solver evaluates, in its order."""
        times = evaluation_times(self.config.num_inference_steps, self.config.solver)
        return self.expert.modulations(torch.tensor(times, dtype=torch.float32, device=self.device))

    def velocity(self, x_t: Tensor, modulations: Modulations, context: KeysValues) -> Tensor:
        """Velocity of x_t (B, chunk, A) at one time, guided if the context is of 2·B rows; float32."""
        if not self.is_guided:
            return self.expert(x_t, modulations, context).float()
        v_cond, v_uncond = self.expert(x_t.repeat(2, 1, 1), modulations, context).float().chunk(2)
        return v_uncond + self.config.guidance_scale * (v_cond - v_uncond)


def losses_by_kind(by_channel: Tensor, action_names: Sequence[str]) -> dict[str, float]:
    """Means over the channels of each kind that is there.  # by_channel (A,)"""
    kind_of = [name.split(".")[0] for name in action_names]
    kinds = [kind for kind in CHANNEL_KINDS if kind in kind_of]
    if not kinds:
        return {}
    means = [by_channel[[i for i, k in enumerate(kind_of) if k == kind]].mean() for kind in kinds]
    return dict(zip([f"loss_{kind}" for kind in kinds], torch.stack(means).tolist(), strict=True))


def cosmap(time: Tensor) -> Tensor:
    """Weight of the loss at these times, see `time_weighting`; of the same shape."""
    return 2 / (math.pi * (1 - 2 * time + 2 * time.square()))


@dataclass(frozen=True)
class Chance:
    """What chance decides about B samples.

    Attributes:
        noise, time: Of K draws a sample, next to each other, (B·K, chunk, A) and (B·K,); t ~ Beta(1.5, 1), from 0.001.
        state, instruction: Uniform in [0, 1), (B,): what is below the share of hidden ones is hidden.
    """

    noise: Tensor
    time: Tensor
    state: Tensor
    instruction: Tensor


def draw(keys: Sequence[Sequence[int]], draws: int, chunk_shape: tuple[int, int], device: torch.device) -> Chance:
    """Chance for a sample of each key, which decides alone: not the other samples, nor what was drawn before.

    The same sample is the same, thus, whether two processes share a batch or one has it whole.
    """
    generators = [np.random.default_rng(key) for key in keys]  # spreads keys that are near each other
    noise = [each.standard_normal((draws, *chunk_shape), dtype=np.float32) for each in generators]
    uniform = torch.from_numpy(np.stack([each.random(draws + 2, dtype=np.float32) for each in generators]))
    uniform = uniform.to(device)
    time = uniform[:, 2:].flatten() ** (1 / 1.5)  # the distribution function of Beta(1.5, 1) is t^1.5
    return Chance(
        noise=torch.from_numpy(np.concatenate(noise)).to(device),
        time=time * 0.999 + 0.001,
        state=uniform[:, 0],
        instruction=uniform[:, 1],
    )
