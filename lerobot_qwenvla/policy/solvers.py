"""Solvers of the flow-matching equation dx/dt = velocity(x, t), from t=1 (noise) to t=0 (action).

Explicit Runge-Kutta methods by their Butcher tableaus. When they ask for a velocity is known beforehand, so what
depends on the time alone can be computed for all times at once, and a loop of them traces as one graph. (LeRobot's
`euler_integrate` makes a tensor of the time on the host at every step.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Velocity = Callable[[Tensor, int], Tensor]  # x_t (B, ...), which of the evaluation times → (B, ...)


@dataclass(frozen=True)
class Tableau:
    """One step of a method: where in the step it evaluates, after which earlier slopes, and how they are weighed."""

    nodes: tuple[float, ...]
    couplings: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


# The error shrinks with the step to the power 1 (euler, which is LeRobot's), 2 (heun) or 4 (rk4).
TABLEAUS = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "heun": Tableau((0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2)),
    "rk4": Tableau(
        (0.0, 1 / 2, 1 / 2, 1.0), ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
}


def evaluation_times(num_steps: int, solver: str) -> list[float]:
    """The times at which `integrate` asks for a velocity, in its order."""
    dt = -1.0 / num_steps
    return [1.0 + (step + node) * dt for step in range(num_steps) for node in TABLEAUS[solver].nodes]


def integrate(velocity: Velocity, noise: Tensor, num_steps: int, solver: str) -> Tensor:
    """Follows the velocity from the noise in `num_steps` equal steps.  # (B, ...)"""
    tableau = TABLEAUS[solver]
    dt = -1.0 / num_steps
    x_t, evaluation = noise, 0
    for _ in range(num_steps):
        slopes: list[Tensor] = []
        for coupling in tableau.couplings:
            slopes.append(velocity(_along(x_t, slopes, coupling, dt), evaluation))
            evaluation += 1
        x_t = _along(x_t, slopes, tableau.weights, dt)
    return x_t


def _along(x_t: Tensor, slopes: Sequence[Tensor], weights: Sequence[float], dt: float) -> Tensor:
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            x_t = x_t + dt * weight * slope
    return x_t
