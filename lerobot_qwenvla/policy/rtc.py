"""LeRobot's real-time chunking: continuing the chunk that is being executed, and what its remainder tells of time."""

from functools import partial

import torch.nn.functional as F
from lerobot.policies.rtc import RTCProcessor
from torch import Tensor

from lerobot_qwenvla.policy.algorithm.flow_matching import Steering


def steering(
    processor: RTCProcessor,
    *,
    inference_delay: int,
    prev_chunk_left_over: Tensor | None,
    execution_horizon: int | None,
) -> Steering | None:
    """Velocities that lead to a chunk which continues what is left of the last one; None where nothing is left.

    LeRobot's processor asks for the velocity before it makes x_t require gradients, and so takes the velocity for a
    constant: it pushes x_t where the network expects noise, and the pushes add up from chunk to chunk. Here the
    correction goes through the network, as in equation 2 of Black et al. 2025, Real-Time Execution of Action Chunking
    Flow Policies.
    """
    if prev_chunk_left_over is None:
        return None
    step = partial(
        processor.denoise_step,
        prev_chunk_left_over=prev_chunk_left_over,
        inference_delay=inference_delay,
        execution_horizon=execution_horizon,
    )
    return lambda x_t, time, velocity: step(
        x_t=x_t, time=time, original_denoise_step_partial=lambda x_t: velocity(x_t.requires_grad_())
    )


def executed_steps(chunk: Tensor, left_over: Tensor) -> int | None:
    """How many of a chunk's actions were executed when this is left of it; None if it is of another chunk.

    LeRobot's engine does not say which step an observation is of, but passes the last chunk's remainder, cut or padded
    with zeros to a fixed length. Where it begins in the chunk is the number of steps since the chunk's observation.

    Args:
        chunk: (chunk, A), as the policy returned it.
        left_over: (L, A).
    """
    length, horizon = len(chunk), len(left_over)
    padded = F.pad(chunk, (0, 0, 0, horizon))  # (chunk + L, A)
    remainders = padded.unfold(0, horizon, 1)  # (chunk + 1, A, L)
    matches = (remainders == left_over.T).all(2).all(1)
    return int(matches.int().argmax()) if matches.any() and length else None
