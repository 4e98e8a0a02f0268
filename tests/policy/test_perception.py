import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import OBS_IMAGES

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.policy.observation import Observation
from lerobot_qwenvla.policy.perception import Perception

SCREEN = f"{OBS_IMAGES}.screen"
PICTURES = torch.rand(40, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make_perception(make_config):
    def make(**settings) -> Perception:
        config = make_config(**settings)
        config.input_features = {SCREEN: PolicyFeature(FeatureType.VISUAL, (3, 64, 64))}
        return Perception(config, FrozenBackbone(config.backbone_settings), None)

    return make


def see(images: torch.Tensor, instruction: str = "go") -> Observation:
    return Observation({SCREEN: images}, {}, [instruction] * len(images), None)


@torch.no_grad()
@pytest.mark.parametrize(("every", "frame_skip"), [(1, 2), (2, 2), (3, 2), (5, 2), (7, 3), (2, 3)])
def test_eager_caching_leaves_one_frame_to_every_decision(make_perception, every, frame_skip):
    perception = make_perception(frame_caching="eager", n_action_steps=every, chunk_size=10, frame_skip=frame_skip)
    for step in range(19):
        before = perception.memory.misses
        if step % every == 0:
            perception.for_decision(see(PICTURES[step]), [step], [0], guided=False)
            assert perception.memory.misses - before == 1
        else:
            left = every - step % every
            perception.remember(see(PICTURES[step]), [step], [0], guided=False, steps_to_decision=left)
    # And nothing was encoded that no decision looks at, but perhaps for the decisions to come.
    used = {max(0, t - frame_skip * age) for t in range(0, 19 + 2 * frame_skip, every) for age in range(3)}
    assert perception.memory.misses <= len([step for step in used if step < 19])


@torch.no_grad()
def test_eager_caching_reads_guided_frames_with_both_instructions(make_perception):
    perception = make_perception(frame_caching="eager", n_action_steps=2)
    perception.for_decision(see(PICTURES[0]), [0], [0], guided=True)
    perception.remember(see(PICTURES[2]), [2], [0], guided=True, steps_to_decision=2)
    newest = perception.memory._frames[0][SCREEN][-1]
    assert set(newest.features) == {"go", ""}


@torch.no_grad()
@pytest.mark.parametrize("mode", ["per_frame", "joint"])
def test_guided_features_are_first_conditioned_and_then_not(make_perception, mode):
    perception = make_perception(frame_encoding=mode)
    frames = torch.rand(2, 3, 3, 64, 64)
    features = perception.for_decision(see(frames), [0, 0], [0, 1], guided=True).pictures[SCREEN]
    cond = perception.backbone.encode(frames, ["go", "go"])
    uncond = perception.backbone.encode(frames, ["", ""])
    torch.testing.assert_close(features, torch.cat([cond, uncond]), atol=1e-5, rtol=1e-4)


def test_training_hides_the_instructions_it_is_told_to(make_perception):
    perception = make_perception(instruction_dropout=0.5)
    frames = PICTURES[:1].expand(2, 3, 3, 64, 64)
    told, hidden = (perception.backbone.encode(frames[:1], [text]) for text in ("go", ""))
    features = perception.for_training(see(frames), torch.tensor([False, True])).pictures[SCREEN]
    torch.testing.assert_close(features, torch.cat([told, hidden]), atol=1e-5, rtol=1e-4)
    always = perception.for_training(see(frames)).pictures[SCREEN]
    torch.testing.assert_close(always, told.expand_as(always), atol=1e-5, rtol=1e-4)
    assert (told - hidden).abs().max() > 1e-3


def test_training_needs_every_camera(make_perception):
    perception = make_perception()
    perception.config.input_features[f"{OBS_IMAGES}.map"] = PolicyFeature(FeatureType.VISUAL, (3, 64, 64))
    with pytest.raises(ValueError, match=r"training needs \[.*map.*screen'\], the batch has \[.*screen'\]"):
        perception.for_training(see(torch.rand(1, 3, 3, 64, 64)))


def test_rows_of_features_without_their_dataset_are_refused(make_perception):
    rows = Observation({}, {SCREEN: torch.zeros(1, 3, dtype=torch.long)}, ["go"], None)
    with pytest.raises(ValueError, match=r"got rows of precomputed features .* but not the dataset they are of"):
        make_perception().for_decision(rows, [0], [0], guided=False)
