import pytest
import torch

from lerobot_qwenvla.policy.algorithm.context import (
    CameraProjector,
    ContextProjector,
    Features,
    InstructionPooling,
    TokenPooling,
)


def make_context(pooling: str = "none", state: int = 5) -> ContextProjector:
    torch.manual_seed(0)
    cameras = {
        name: CameraProjector(grid, width=32, feature_width=24, frames=3, pooling=pooling)
        for name, grid in (("screen", (4, 6)), ("map", (3, 3)))
    }
    instruction = InstructionPooling(width=32, feature_width=24, heads=4)
    return ContextProjector(cameras, instruction, width=32, state=state)


PICTURES = {"screen": torch.randn(2, 3, 24, 24), "map": torch.randn(2, 3, 9, 24)}
WORDS = torch.randn(2, 7, 24)
FEATURES = Features(PICTURES, WORDS)
STATE, VISIBLE = torch.randn(2, 5), torch.zeros(2, dtype=torch.bool)


@pytest.mark.parametrize(("pooling", "tokens"), [("none", 24 + 9), ("average", 6 + 4), ("learned", 6 + 4)])
def test_pooling_leaves_a_quarter_of_the_tokens(pooling, tokens):
    assert make_context(pooling)(FEATURES, STATE, VISIBLE).shape == (2, 3 * tokens + 1, 32)


def test_average_of_two_by_two_neighbours():
    tokens = torch.arange(24.0).view(1, 1, 24, 1)  # 4 rows of 6
    pooled = TokenPooling(1, learned=False)(tokens, (4, 6))
    assert pooled.flatten().tolist() == [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]


def test_a_lone_border_token_is_averaged_with_itself():
    tokens = torch.arange(9.0).view(1, 1, 9, 1)  # 3 rows of 3
    assert TokenPooling(1, learned=False)(tokens, (3, 3)).flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


def test_learned_pooling_starts_as_the_average_and_can_become_any_mixture():
    tokens = torch.randn(2, 3, 24, 32)
    learned = TokenPooling(32, learned=True)
    torch.testing.assert_close(learned(tokens, (4, 6)), TokenPooling(32, learned=False)(tokens, (4, 6)))
    learned(tokens, (4, 6)).square().sum().backward()
    assert learned.mix.weight.grad.abs().min() > 0


def test_tokens_of_a_missing_camera_are_left_out():
    context = make_context(state=0)
    everything = context(FEATURES, None, VISIBLE)
    screen_only = context(Features({"screen": PICTURES["screen"]}, WORDS), None, VISIBLE)
    assert torch.equal(screen_only, everything[:, : 3 * 24])


def test_frames_and_places_are_told_apart():
    features = {name: torch.ones_like(value) for name, value in PICTURES.items()}
    tokens = make_context(state=0)(Features(features, WORDS), None, VISIBLE)[0]
    assert torch.cdist(tokens, tokens).fill_diagonal_(1.0).min() > 1e-3


def test_every_picture_token_hears_the_instruction():
    context = make_context(state=0)
    told, other = (context(Features(PICTURES, words), None, VISIBLE) for words in (WORDS, WORDS.flip(1)[:, :3]))
    assert (told - other).abs().amax(-1).min() > 1e-3


def test_padding_behind_a_shorter_instruction_changes_nothing():
    pooling = InstructionPooling(width=32, feature_width=24, heads=4)
    padded = torch.cat([WORDS, torch.zeros(2, 5, 24)], dim=1)
    torch.testing.assert_close(pooling(padded), pooling(WORDS))


def test_heads_can_listen_to_words_of_their_own():
    pooling = InstructionPooling(width=4, feature_width=24, heads=2)
    words = torch.randn(1, 3, 24)
    with torch.no_grad():  # the first head hears the first word, the second one the last
        pooling.score.weight.copy_(100 * words[0, [0, 2]])
    heard = pooling.project(words)[0]  # (L, W)
    torch.testing.assert_close(pooling(words)[0], pooling.norm(torch.cat([heard[0, :2], heard[2, 2:]])))


def test_what_all_instructions_have_in_common_is_not_heard():
    torch.manual_seed(0)
    pooling = InstructionPooling(width=32, feature_width=24, heads=4)
    common = 50.0 + 100 * torch.rand(24)
    words = torch.cat([common + 0.1 * torch.randn(6, 7, 24), torch.zeros(6, 2, 24)], dim=1)
    pooling.fit(words)
    heard = pooling(words)  # (6, W)
    assert (heard - heard.mean(0)).square().mean() > 0.5 * heard.square().mean() > 0.25
    # Of a dataset with a single instruction nothing is left, and nothing of it is made large.
    pooling.fit(words[:1])
    assert pooling(words[:1]).abs().max() < 0.1
