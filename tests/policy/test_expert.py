import torch

from lerobot_qwenvla.expert import ActionExpert, ExpertLayer, time_embedding


def make_expert() -> ActionExpert:
    torch.manual_seed(0)
    expert = ActionExpert(width=32, layers=4, heads=4, chunk_size=6)
    for name, parameter in expert.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return expert.eval()


def velocity(expert: ActionExpert, tokens: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return expert(tokens, time, expert.context_keys_values(context))


TOKENS, CONTEXT, TIME = torch.randn(2, 6, 32), torch.randn(2, 9, 32), torch.tensor([0.1, 0.9])


def test_an_action_does_not_depend_on_later_ones():
    expert = make_expert()
    changed = TOKENS.clone()
    changed[:, 4:] += torch.randn(2, 2, 32)
    before, after = velocity(expert, TOKENS, TIME, CONTEXT), velocity(expert, changed, TIME, CONTEXT)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


def test_every_context_token_and_the_time_matter():
    expert = make_expert()
    before = velocity(expert, TOKENS, TIME, CONTEXT)
    for token in range(CONTEXT.shape[1]):
        changed = CONTEXT.clone()
        changed[:, token] += 1.0
        assert (velocity(expert, TOKENS, TIME, changed) - before).abs().max() > 1e-5
    assert (velocity(expert, TOKENS, TIME + 0.05, CONTEXT) - before).abs().max() > 1e-4


def test_a_fresh_layer_is_the_identity():
    layer = ExpertLayer(32, 4)
    torch.testing.assert_close(layer(TOKENS, torch.randn(2, 32), None), TOKENS)


def test_layers_alternate_between_context_and_chunk():
    expert = make_expert()
    assert len(expert.context_keys_values(CONTEXT)) == 2


def test_time_embedding_separates_neighbouring_times():
    embedded = time_embedding(torch.linspace(0, 1, 101), 64)
    assert embedded.shape == (101, 64)
    assert (embedded[1:] - embedded[:-1]).norm(dim=-1).min() > 0.1
