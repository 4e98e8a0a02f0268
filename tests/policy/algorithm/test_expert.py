import torch

from lerobot_qwenvla.policy.algorithm.expert import ActionExpert, ExpertLayer

ACTIONS = 3


def make_expert(layers: int = 4) -> ActionExpert:
    torch.manual_seed(0)
    expert = ActionExpert(width=32, layers=layers, heads=4, chunk_size=6, action=ACTIONS)
    for name, parameter in expert.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return expert.eval()


def velocity(expert: ActionExpert, x_t: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return expert(x_t, expert.modulations(time), expert.context_keys_values(context))


X_T, CONTEXT, TIME = torch.randn(2, 6, ACTIONS), torch.randn(2, 9, 32), torch.tensor([0.1, 0.9])


def test_an_action_does_not_depend_on_later_ones():
    expert = make_expert()
    changed = X_T.clone()
    changed[:, 4:] += torch.randn(2, 2, ACTIONS)
    before, after = velocity(expert, X_T, TIME, CONTEXT), velocity(expert, changed, TIME, CONTEXT)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


def test_every_context_token_and_the_time_matter():
    expert = make_expert()
    before = velocity(expert, X_T, TIME, CONTEXT)
    for token in range(CONTEXT.shape[1]):
        changed = CONTEXT.clone()
        changed[:, token] += 1.0
        assert (velocity(expert, X_T, TIME, changed) - before).abs().max() > 1e-5
    assert (velocity(expert, X_T, TIME + 0.05, CONTEXT) - before).abs().max() > 1e-4


def test_a_fresh_layer_is_the_identity():
    layer = ExpertLayer(32, 4)
    torch.testing.assert_close(layer(CONTEXT, layer.modulation(torch.randn(2, 32)), None), CONTEXT)


def test_layers_alternate_between_context_and_chunk():
    expert = make_expert()
    assert len(expert.context_keys_values(CONTEXT)) == 2


def test_neighbouring_times_modulate_differently():
    modulations = make_expert().modulations(torch.linspace(0, 1, 101)).layers
    assert all(layer.shape == (101, 6 * 32) for layer in modulations)
    assert (modulations[0][1:] - modulations[0][:-1]).norm(dim=-1).min() > 0.01


def test_one_time_for_all_rows_is_the_same_time_for_each():
    expert = make_expert()
    each = velocity(expert, X_T, torch.tensor([0.3, 0.3]), CONTEXT)
    torch.testing.assert_close(velocity(expert, X_T, torch.tensor([0.3]), CONTEXT), each)


def test_draws_of_an_observation_do_not_see_each_other():
    expert = make_expert()
    x_t, time = torch.randn(6, 6, ACTIONS), torch.rand(6)
    together = velocity(expert, x_t, time, CONTEXT)  # three draws for each of two observations
    alone = [velocity(expert, x_t[i : i + 1], time[i : i + 1], CONTEXT[i // 3][None]) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        expert = make_expert().train()
        expert.checkpointing = checkpointing
        expert(X_T, expert.modulations(TIME), expert.context_keys_values(CONTEXT)).square().sum().backward()
        gradients.append([p.grad for p in expert.parameters()])
    torch.testing.assert_close(*gradients)
