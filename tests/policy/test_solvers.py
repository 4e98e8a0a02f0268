import math

import pytest
import torch
from lerobot.policies.common.flow_matching import euler_integrate

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.solvers import integrate

NOISE = torch.tensor([[[1.0, -2.0]], [[0.5, 3.0]]], dtype=torch.float64)  # (B, chunk, A)


def field(x_t: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """dx/dt = x·cos(t), whose solution is x(t) = x(1)·exp(sin(t) - sin(1))."""
    return x_t * time.double().cos()[:, None, None]


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_error_shrinks_with_the_solvers_order(solver, order):
    exact = NOISE * math.exp(-math.sin(1.0))
    errors = [(integrate(field, NOISE, steps, solver) - exact).abs().max().item() for steps in (4, 8)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_euler_is_lerobots():
    assert torch.equal(integrate(field, NOISE, 7, "euler"), euler_integrate(field, NOISE, 7))


@pytest.mark.parametrize(("solver", "velocities_a_step"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_goes_from_noise_at_one_to_action_at_zero(solver, velocities_a_step):
    times = []

    def velocity(x_t, time):
        assert time.shape == (2,)
        times.append(time[0].item())
        return torch.zeros_like(x_t)

    assert torch.equal(integrate(velocity, NOISE, 5, solver), NOISE)
    assert len(times) == 5 * velocities_a_step
    assert times[0] == 1.0
    assert times == sorted(times, reverse=True)
    assert min(times) >= -1e-6


def test_an_unknown_solver_is_refused():
    with pytest.raises(ValueError, match=r"--policy\.solver must be one of euler, heun, rk4, got 'midpoint'"):
        QwenVLAConfig(solver="midpoint", device="cpu").validate_settings()
