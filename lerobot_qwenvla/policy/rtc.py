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
) -> Steering:
    """Velocities that lead to a chunk which continues what is left of the last one."""
    step = partial(
        processor.denoise_step,
        prev_chunk_left_over=prev_chunk_left_over,
        inference_delay=inference_delay,
        execution_horizon=execution_horizon,
    )
    return lambda x_t, time, velocity: step(x_t=x_t, time=time, original_denoise_step_partial=velocity)


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
