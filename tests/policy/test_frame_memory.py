import pytest
import torch

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.policy.frame_memory import FeatureCache

OFFSETS = [-4, -2, 0]
SCREEN = "observation.images.screen"
PICTURES = torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def make_cache(make_config):
    backbones = {mode: FrozenBackbone(make_config(frame_encoding=mode)) for mode in ("per_frame", "joint")}

    def make(mode: str = "per_frame") -> FeatureCache:
        return FeatureCache(backbones[mode], OFFSETS, joint=mode == "joint")

    return make


def push(cache: FeatureCache, steps: list[int], envs: tuple = (0,)) -> None:
    """Adds a picture a step; environment e sees the pictures of e steps later."""
    for step in steps:
        cache.push({SCREEN: torch.stack([PICTURES[step + env] for env in envs])}, envs)


def encoded(cache: FeatureCache, frames: list[int], instruction: str = "go") -> torch.Tensor:
    """Features of the named pictures, without a cache.  # (1, F, T, D)"""
    return cache.backbone.encode(PICTURES[frames][None], [instruction])


@pytest.mark.parametrize("mode", ["per_frame", "joint"])
@pytest.mark.parametrize("every", [1, 2, 3, 8])
def test_a_decision_sees_its_frames_and_none_is_looked_at_twice(make_cache, mode, every):
    cache, looked_at, asked_for = make_cache(mode), set(), 0
    for step in range(12):
        push(cache, [step])
        if step % every == 0:
            frames = [max(0, step + offset) for offset in OFFSETS]
            features = cache.features(["go"], [0])[SCREEN]
            torch.testing.assert_close(features, encoded(cache, frames), atol=1e-4, rtol=0)
            looked_at |= set(frames)
            asked_for += len(set(frames))
    assert cache.misses == len(looked_at)
    assert cache.hits == asked_for - len(looked_at)


def test_the_first_frame_is_repeated_before_the_episode_starts(make_cache):
    cache = make_cache()
    push(cache, [7])
    torch.testing.assert_close(cache.features(["go"], [0])[SCREEN], encoded(cache, [7, 7, 7]))
    assert (cache.misses, cache.hits) == (1, 0)


@pytest.mark.parametrize("env", [0, None])
def test_a_new_episode_sees_nothing_of_the_last_one(make_cache, env):
    cache = make_cache()
    push(cache, range(6))
    cache.clear(env)
    push(cache, [10])
    torch.testing.assert_close(cache.features(["go"], [0])[SCREEN], encoded(cache, [10, 10, 10]))


def test_environments_keep_their_own_frames_and_end_their_own_episodes(make_cache):
    cache = make_cache()
    push(cache, range(6), envs=(0, 1, 2))
    cache.clear(1)
    push(cache, [6], envs=(0, 1, 2))
    features = cache.features(["go", "go", "stop it"], [0, 1, 2])[SCREEN]
    torch.testing.assert_close(features[:1], encoded(cache, [2, 4, 6]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[1:2], encoded(cache, [7, 7, 7]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[2:], encoded(cache, [4, 6, 8], "stop it"), atol=1e-4, rtol=0)


def test_a_new_instruction_reads_old_frames_again_without_looking_again(make_cache):
    cache = make_cache()
    push(cache, range(5))
    cache.features(["go"], [0])
    features = cache.features(["stop it"], [0])[SCREEN]
    torch.testing.assert_close(features, encoded(cache, [0, 2, 4], "stop it"), atol=1e-4, rtol=0)
    assert cache.misses == 3


def test_one_environment_is_read_with_several_instructions_at_once(make_cache):
    cache = make_cache()
    push(cache, range(5))
    told, untold = cache.features(["go", ""], [0, 0])[SCREEN]
    torch.testing.assert_close(told[None], encoded(cache, [0, 2, 4]), atol=1e-4, rtol=0)
    torch.testing.assert_close(untold[None], encoded(cache, [0, 2, 4], ""), atol=1e-4, rtol=0)
    assert cache.misses == 3


def test_frames_encoded_as_they_arrive_are_not_encoded_at_the_decision(make_cache):
    cache = make_cache()
    for step in range(5):
        push(cache, [step])
        cache.encode(["go"], [0])
    assert cache.misses == 5
    torch.testing.assert_close(cache.features(["go"], [0])[SCREEN], encoded(cache, [0, 2, 4]), atol=1e-4, rtol=0)
    assert (cache.misses, cache.hits) == (5, 3)


def test_a_camera_without_a_current_frame_is_left_out_until_it_is_back(make_cache):
    cache = make_cache()
    both = {SCREEN: PICTURES[:1], "observation.images.map": PICTURES[1:2]}
    cache.push(both, [0])
    cache.push({SCREEN: PICTURES[2:3]}, [0])
    assert set(cache.features(["go"], [0])) == {SCREEN}
    cache.push(both, [0])
    assert set(cache.features(["go"], [0])) == set(both)


def test_memory_does_not_grow_with_the_episode(make_cache):
    cache = make_cache()
    push(cache, [step % 24 for step in range(200)])
    assert len(cache._frames[0, SCREEN]) == 5  # t-4 to t
