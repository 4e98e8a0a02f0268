"""Solvers of the flow-matching equation dx/dt = velocity(x, t), from t=1 (noise) to t=0 (action)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from lerobot.policies.common.flow_matching import euler_integrate
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # x_t (B, ...), time (B,) → (B, ...)


def integrate(velocity: Velocity, noise: Tensor, num_steps: int, solver: str) -> Tensor:
    """Follows the velocity from the noise in `num_steps` equal steps.

    The error shrinks with the step to the power 1 (euler, which is LeRobot's), 2 (heun) or 4 (rk4).
    """
    if solver == "euler":
        return euler_integrate(velocity, noise, num_steps)
    step = {"heun": _heun_step, "rk4": _rk4_step}[solver]
    times = torch.linspace(1.0, 0.0, num_steps + 1, device=noise.device)
    x_t = noise
    for start, end in pairwise(times):
        x_t = step(velocity, x_t, start.expand(noise.shape[0]), end.expand(noise.shape[0]), end - start)
    return x_t


def _heun_step(velocity: Velocity, x_t: Tensor, start: Tensor, end: Tensor, dt: Tensor) -> Tensor:
    first = velocity(x_t, start)
    second = velocity(x_t + dt * first, end)
    return x_t + dt * (first + second) / 2


def _rk4_step(velocity: Velocity, x_t: Tensor, start: Tensor, end: Tensor, dt: Tensor) -> Tensor:
    middle = (start + end) / 2
    first = velocity(x_t, start)
    second = velocity(x_t + dt / 2 * first, middle)
    third = velocity(x_t + dt / 2 * second, middle)
    fourth = velocity(x_t + dt * third, end)
    return x_t + dt * (first + 2 * second + 2 * third + fourth) / 6
