import pytest
import torch

from lerobot_qwenvla.evaluation.attention.weights import attend, overhear, word_shares


@pytest.fixture(scope="module", params=["none", "average"])
def policy(request, make_trainee, pixel_dataset):
    return make_trainee(pixel_dataset, token_pooling=request.param, num_inference_steps=3).eval()


@pytest.fixture(scope="module")
def batch(make_batch, pixel_dataset, policy):
    return make_batch(pixel_dataset, policy, [3, 12])


def test_shares_of_all_frames_and_the_state_add_up_to_one(policy, batch):
    shares = attend(policy, batch)
    [pictures] = shares.pictures.values()
    rows, columns = (1, 1) if policy.config.token_pooling == "average" else (2, 2)
    assert pictures.shape == (2, 1, 3, rows, columns)
    torch.testing.assert_close(pictures.sum((2, 3, 4)) + shares.state, torch.ones(2, 1))
    torch.testing.assert_close(shares.words.sum(-1), torch.ones(2, 4))


def test_values_weighted_by_the_shares_are_what_the_layer_computes(policy, batch):
    """With one head's value the same for all queries, the mean over queries of what is fetched is share · value."""
    layer = policy.model.expert.layers[0].attention
    policy.config.n_action_steps, n_action_steps = policy.config.chunk_size, policy.config.n_action_steps
    with torch.no_grad():
        query, bias = layer.query.weight.clone(), layer.query.bias.clone()
        layer.query.weight.zero_()  # all heads ask the same of the same keys, at all times
        layer.query.bias.zero_()
        with overhear([layer.key_value, layer.out]) as heard:
            shares = attend(policy, batch)
        layer.query.weight.copy_(query)
        layer.query.bias.copy_(bias)
    policy.config.n_action_steps = n_action_steps
    [(_, keys_values)] = heard[layer.key_value]
    values = keys_values.chunk(2, dim=-1)[1]  # (B, S, D)
    [pictures] = shares.pictures.values()
    all_shares = torch.cat([pictures[:, 0].flatten(1), shares.state], dim=1)  # (B, S)
    expected = torch.einsum("bs,bsd->bd", all_shares, values)
    fetched = torch.stack([given for given, _ in heard[layer.out]]).mean(0).mean(1)
    torch.testing.assert_close(fetched, expected)


def test_a_token_that_all_queries_ask_for_gets_all_the_attention(policy, batch):
    layer = policy.model.expert.layers[0].attention
    saved = [each.detach().clone() for each in (layer.query.weight, layer.query.bias)]
    with overhear([layer.key_value]) as heard:
        attend(policy, batch)
    [(_, keys_values)] = heard[layer.key_value]
    keys = keys_values.chunk(2, dim=-1)[0][0].unflatten(-1, (layer.heads, -1)).transpose(0, 1)  # (H, S, D/H)
    with torch.no_grad():
        layer.query.weight.zero_()
        # What the third token of the first observation answers with 1e4, and all others with 0.
        layer.query.bias.copy_(1e4 * torch.linalg.pinv(keys)[..., 2].flatten())
        shares = attend(policy, batch)
        for parameter, old in zip((layer.query.weight, layer.query.bias), saved, strict=True):
            parameter.copy_(old)
    [pictures] = shares.pictures.values()
    assert pictures[0, 0].flatten()[2] > 0.99


def test_looking_changes_no_decision(policy, batch):
    noise = torch.randn(2, *policy.model.chunk_shape)
    before = policy.predict_action_chunk(batch, noise=noise)
    attend(policy, batch, noise)
    assert policy.predict_action_chunk(batch, noise=noise).equal(before)
    assert not any(module._forward_hooks for module in policy.model.modules())


def test_word_shares_are_those_of_the_pooling(policy):
    pooling = policy.model.context.instruction
    words = torch.randn(2, 7, pooling.score.in_features)
    words[1, 4:] = 0  # padding
    with overhear([pooling, pooling.score, pooling.project]) as heard:
        pooled = pooling(words)
    shares = word_shares(words, heard[pooling.score][0][1])  # (B, H, L)
    assert (shares[1, :, 4:] == 0).all()
    values = heard[pooling.project][0][1].unflatten(-1, (shares.shape[1], -1))  # (B, L, H, W/H)
    heads = torch.einsum("bhl,blhw->bhw", shares, values).flatten(1)
    torch.testing.assert_close(pooling.norm(heads), pooled)
