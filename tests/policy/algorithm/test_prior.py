import pytest
import torch

from lerobot_qwenvla.policy.algorithm.expert import ActionExpert
from lerobot_qwenvla.policy.algorithm.prior import SMALLEST_STD, GaussianPrior
from lerobot_qwenvla.policy.solvers import evaluation_times, integrate

MEAN, STD = torch.tensor([-1.0, 0.3]), torch.tensor([0.0, 0.6])


def make_prior() -> GaussianPrior:
    prior = GaussianPrior(2)
    prior.fit(MEAN, STD)
    return prior


@pytest.mark.parametrize("time", [0.001, 0.3, 0.9, 1.0])
def test_expected_velocity_is_the_regression_on_x_t_and_leaves_the_rest_of_unit_size(time):
    prior, draw = make_prior(), torch.Generator().manual_seed(0)
    action, noise = (torch.randn(200_000, 2, generator=draw) for _ in range(2))
    action = MEAN + STD.clamp(min=SMALLEST_STD) * action
    x_t, velocity = time * noise + (1 - time) * action, noise - action
    x_mean, x_std, v_slope, v_std = prior.at(torch.tensor([time]))
    torch.testing.assert_close((x_t.mean(0), x_t.std(0)), (x_mean[0], x_std[0]), atol=0.01, rtol=0.01)
    rest = (velocity - (v_slope * (x_t - x_mean) - prior.mean)) / v_std
    torch.testing.assert_close(rest.mean(0), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(rest.std(0), torch.ones(2), atol=0, rtol=0.02)
    assert (rest * (x_t - x_mean) / x_std).mean(0).abs().max() < 0.02  # x_t tells nothing more, but by other channels


def test_an_expert_that_says_nothing_makes_actions_like_those_of_the_recordings():
    expert = ActionExpert(width=32, layers=2, heads=4, chunk_size=1, action=2).eval()
    torch.nn.init.zeros_(expert.action_out.weight)
    torch.nn.init.zeros_(expert.action_out.bias)
    expert.prior.fit(MEAN, STD)
    context, times = expert.context_keys_values(torch.randn(1, 4, 32)), evaluation_times(100, "heun")

    def velocity(x_t: torch.Tensor, i: int) -> torch.Tensor:
        return expert(x_t, expert.modulations(torch.tensor([times[i]])), context)

    with torch.no_grad():
        actions = integrate(
            velocity, torch.randn(20_000, 1, 2, generator=torch.Generator().manual_seed(0)), 100, "heun"
        )
    torch.testing.assert_close(actions.mean(0)[0], MEAN, atol=0.02, rtol=0)
    torch.testing.assert_close(actions.std(0)[0], STD.clamp(min=SMALLEST_STD), atol=0.01, rtol=0)
