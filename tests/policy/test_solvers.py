import math

import pytest
import torch
from lerobot.policies.common.flow_matching import euler_integrate

from lerobot_qwenvla.policy.solvers import evaluation_times, integrate

NOISE = torch.tensor([[[1.0, -2.0]], [[0.5, 3.0]]], dtype=torch.float64)  # (B, chunk, A)
SOLVERS = [("euler", 1), ("heun", 2), ("rk4", 4)]


def field(x_t: torch.Tensor, time: float) -> torch.Tensor:
    """dx/dt = x·cos(t), whose solution is x(t) = x(1)·exp(sin(t) - sin(1))."""
    return x_t * math.cos(time)


def follow(num_steps: int, solver: str) -> torch.Tensor:
    times = evaluation_times(num_steps, solver)
    return integrate(lambda x_t, i: field(x_t, times[i]), NOISE, num_steps, solver)


@pytest.mark.parametrize(("solver", "order"), SOLVERS)
def test_error_shrinks_with_the_solvers_order(solver, order):
    exact = NOISE * math.exp(-math.sin(1.0))
    errors = [(follow(steps, solver) - exact).abs().max().item() for steps in (4, 8)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_euler_is_lerobots():
    def lerobots(x_t: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return field(x_t, time[0].item())

    torch.testing.assert_close(follow(7, "euler"), euler_integrate(lerobots, NOISE, 7), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("solver", "velocities_a_step"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_velocities_are_asked_for_from_noise_to_action(solver, velocities_a_step):
    times, asked = evaluation_times(5, solver), []
    noise = integrate(lambda x_t, i: (asked.append(i), torch.zeros_like(x_t))[1], NOISE, 5, solver)
    assert torch.equal(noise, NOISE)
    assert asked == list(range(5 * velocities_a_step))
    assert len(times) == len(asked) and times[0] == 1.0
    assert times == sorted(times, reverse=True)
    assert min(times) >= -1e-6
