import shutil

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from torch._dynamo.testing import CompileCounterWithBackend

from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.algorithm.flow_matching import FlowMatching, draw
from lerobot_qwenvla.policy.solvers import TABLEAUS, evaluation_times, integrate

SCREEN = "observation.images.screen"
PICTURES = torch.randn(2, 3, 4, 24, generator=torch.Generator().manual_seed(0))
WORDS = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(2))
FEATURES = Features({SCREEN: PICTURES}, WORDS)
STATE, ACTIONS = torch.rand(2, 5), torch.rand(2, 6, 5)
NOISE = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def make_model(make_config):
    def make(**settings) -> FlowMatching:
        config = make_config(**settings)
        config.input_features = {
            SCREEN: PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
            OBS_STATE: PolicyFeature(FeatureType.STATE, (5,)),
        }
        config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (5,))}
        torch.manual_seed(0)
        model = FlowMatching(config, {SCREEN: (2, 2)}, 24).eval()
        for layer in model.expert.layers:  # zero at first: a fresh layer is the identity
            torch.nn.init.normal_(layer.modulation.weight, std=0.1)
        return model

    return make


def test_loss_is_the_squared_error_of_the_velocity(make_model):
    model = make_model()
    time = torch.tensor([0.2, 0.9])
    x_t = time[:, None, None] * NOISE + (1 - time[:, None, None]) * ACTIONS
    predicted = model.expert(x_t, model.expert.modulations(time), model.context_keys_values(FEATURES, STATE))
    expected = (predicted - (NOISE - ACTIONS)).square()
    torch.testing.assert_close(model.loss(FEATURES, STATE, ACTIONS, noise=NOISE, time=time), expected)


def test_several_draws_give_the_mean_of_their_losses(make_model):
    model, single = make_model(noise_draws=3), make_model()
    single.load_state_dict(model.state_dict())
    noise, time = torch.randn(6, 6, 5), torch.rand(6)
    together = model.loss(FEATURES, STATE, ACTIONS, noise=noise, time=time)
    alone = [single.loss(FEATURES, STATE, ACTIONS, noise=noise[draw::3], time=time[draw::3]) for draw in range(3)]
    torch.testing.assert_close(together, torch.stack(alone).mean(0), atol=1e-5, rtol=1e-4)


def test_time_weights_the_loss_in_training_and_not_in_validation(make_model):
    model, plain = make_model(time_weighting="cosmap"), make_model()
    time = torch.tensor([0.001, 0.5])
    losses = [each.loss(FEATURES, STATE, ACTIONS, noise=NOISE, time=time) for each in (model.train(), plain.train())]
    torch.testing.assert_close((losses[0] / losses[1])[:, 0, 0], torch.tensor([0.638, 1.273]), atol=1e-3, rtol=0)
    model.eval()
    torch.testing.assert_close(model.loss(FEATURES, STATE, ACTIONS, noise=NOISE, time=time), losses[1])


def test_times_are_those_of_the_beta_distribution_and_noise_is_normal():
    chance = draw([[sample] for sample in range(500)], 20, (2, 3), torch.device("cpu"))
    grid = torch.tensor([0.1, 0.3, 0.5, 0.9])
    share_below = (chance.time[:, None] < 0.999 * grid + 0.001).float().mean(0)
    torch.testing.assert_close(share_below, grid**1.5, atol=0.02, rtol=0)  # of Beta(1.5, 1)
    assert chance.noise.shape == (10_000, 2, 3) and chance.time.shape == (10_000,)
    assert chance.noise.mean().abs() < 0.02 and abs(chance.noise.std() - 1) < 0.02
    assert 0.4 < (chance.state < 0.5).float().mean() < 0.6
    assert 0.15 < ((chance.state < 0.5) & (chance.instruction < 0.5)).float().mean() < 0.35


def test_a_sample_has_the_same_chance_beside_others():
    keys = [[7, 3, 40], [7, 3, 41], [7, 4, 40]]
    device = torch.device("cpu")
    together = draw(keys, 2, (6, 5), device)
    alone = [draw([key], 2, (6, 5), device) for key in keys]
    for name in ("noise", "time", "state", "instruction"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(each, name) for each in alone]))
    assert len(together.time.unique()) == 6


@pytest.mark.parametrize("solver", TABLEAUS)
def test_a_sample_is_the_solvers_way_with_context_and_times_computed_anew(make_model, solver):
    model = make_model(solver=solver, num_inference_steps=3)
    times = evaluation_times(3, solver)

    def velocity(x_t: torch.Tensor, i: int) -> torch.Tensor:
        modulations = model.expert.modulations(torch.tensor([times[i]] * 2))
        return model.expert(x_t, modulations, model.context_keys_values(FEATURES, STATE))

    with torch.no_grad():
        expected = integrate(velocity, NOISE, 3, solver)
    torch.testing.assert_close(model.sample(FEATURES, STATE, NOISE), expected, atol=1e-6, rtol=1e-5)


def test_guidance_goes_beyond_what_the_instruction_says(make_model):
    model = make_model(instruction_dropout=0.1, num_inference_steps=1)
    uncond = Features({SCREEN: torch.randn(2, 3, 4, 24)}, torch.randn(2, 7, 24))
    plain = [model.sample(features, STATE, NOISE) for features in (FEATURES, uncond)]
    model.config.guidance_scale = 3.0
    both = Features({SCREEN: torch.cat([PICTURES, uncond.pictures[SCREEN]])}, torch.cat([WORDS, uncond.words]))
    guided = model.sample(both, STATE, NOISE)
    torch.testing.assert_close(guided, plain[1] + 3 * (plain[0] - plain[1]), atol=1e-5, rtol=0)
    assert (plain[0] - plain[1]).abs().max() > 1e-3


def test_noise_of_another_number_of_rows_is_refused(make_model):
    with pytest.raises(ValueError, match=r"noise must be \(2, 6, 5\), got \(4, 6, 5\)"):
        make_model().sample(FEATURES, STATE, NOISE.repeat(2, 1, 1))


def test_a_nan_in_a_hidden_state_reaches_neither_loss_nor_gradient(make_model):
    model = make_model(state_dropout=1.0).train()
    broken = torch.full_like(STATE, torch.nan)
    time = torch.rand(2)
    losses = [model.loss(FEATURES, state, ACTIONS, noise=NOISE, time=time).mean() for state in (STATE, broken)]
    assert torch.equal(*losses)
    losses[1].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("settings", [{}, {"solver": "rk4"}, {"guidance_scale": 2.0, "instruction_dropout": 0.1}])
def test_the_whole_loop_is_one_graph(make_model, settings):
    model = make_model(num_inference_steps=3, **settings)
    readings = 1 + model.is_guided
    features = Features({SCREEN: PICTURES.repeat(readings, 1, 1, 1)}, WORDS.repeat(readings, 1, 1))
    eager = model.sample(features, STATE, NOISE)
    counter = CompileCounterWithBackend("eager")
    model.denoise = torch.compile(model.denoise, backend=counter, fullgraph=True)
    torch.testing.assert_close(model.sample(features, STATE, NOISE), eager, atol=1e-6, rtol=1e-5)
    model.sample(features, STATE, torch.randn_like(NOISE))
    assert counter.frame_count == 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_is_eager(make_model):
    model = make_model(num_inference_steps=3, solver="rk4", compile_model=True)
    eager = model.sample(FEATURES, STATE, NOISE)
    model.compile_velocity("default")
    torch.testing.assert_close(model.sample(FEATURES, STATE, NOISE), eager, atol=1e-5, rtol=1e-4)
