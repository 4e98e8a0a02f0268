import pytest
import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE

from lerobot_qwenvla.policy.processor_qwenvla import check_statistics, with_ranges

MODES = (
    NormalizationMode.MIN_MAX,
    NormalizationMode.MEAN_STD,
    NormalizationMode.QUANTILES,
    NormalizationMode.QUANTILE10,
)


@pytest.fixture
def make_featured(make_config):
    def make(mode: NormalizationMode = NormalizationMode.MIN_MAX):
        config = make_config(normalization_mapping={"STATE": mode, "ACTION": mode})
        config.input_features = {
            "observation.images.screen": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
            OBS_STATE: PolicyFeature(FeatureType.STATE, (2,)),
        }
        config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (2,))}
        return config

    return make


def statistics() -> dict[str, dict[str, list[float]]]:
    """A mouse axis, and a key that is never pressed."""
    numbers = {"min": [-1.0, 0.0], "max": [1.0, 0.0], "mean": [0.1, 0.0], "std": [0.5, 0.0]}
    numbers |= {"q01": [-0.9, 0.0], "q99": [0.9, 0.0], "q10": [-0.5, 0.0], "q90": [0.5, 0.0]}
    return {ACTION: dict(numbers), OBS_STATE: dict(numbers)}


@pytest.mark.parametrize("mode", MODES)
def test_a_key_never_pressed_stays_a_small_number_when_it_is_pressed(make_featured, mode):
    preprocess, postprocess = make_pre_post_processors(make_featured(mode), dataset_stats=statistics())
    pressed = torch.tensor([[0.3, 1.0]])
    batch = preprocess({OBS_STATE: pressed, ACTION: pressed, "task": ["go"]})
    assert batch[OBS_STATE].abs().max() <= 2
    assert batch[ACTION].abs().max() <= 2
    torch.testing.assert_close(postprocess(batch[ACTION]), pressed)


@pytest.mark.parametrize("mode", MODES)
def test_channels_that_move_keep_their_range(make_featured, mode):
    stats = statistics()
    for numbers in stats.values():
        numbers.update({name: [value[0], value[0] + 0.3] for name, value in numbers.items()})
    widened = with_ranges(make_featured(mode), stats)
    for key, numbers in widened.items():
        for name, value in numbers.items():
            torch.testing.assert_close(torch.as_tensor(value), torch.tensor(stats[key][name]))


@pytest.mark.parametrize("key", [ACTION, OBS_STATE])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda stats, key: stats.pop(key), r"the dataset has no 'min' of '{key}', which MIN_MAX.*\(it has \[\]\)"),
        (lambda stats, key: stats[key].pop("max"), r"the dataset has no 'max' of '{key}'.*recompute_stats"),
        (
            lambda stats, key: stats[key].update(max=[1.0]),
            r"'max' of '{key}' must be \(2,\) finite numbers, got \[1",
        ),
        (
            lambda stats, key: stats[key].update(min=[0.0, float("nan")]),
            r"'min' of '{key}' must be .*, nan\]",
        ),
    ],
)
def test_missing_and_damaged_statistics_are_refused(make_featured, key, damage, message):
    stats = statistics()
    damage(stats, key)
    with pytest.raises(ValueError, match=message.replace("{key}", key)):
        check_statistics(make_featured(), stats)
    with pytest.raises(ValueError, match="compute the statistics again"):
        make_pre_post_processors(make_featured(), dataset_stats=stats)


def test_rounding_is_no_range(make_featured):
    stats = statistics()
    stats[ACTION]["max"] = [1.0, 1e-9]
    preprocess, _ = make_pre_post_processors(make_featured(), dataset_stats=stats)
    pressed = torch.tensor([[0.3, 1.0]])
    assert preprocess({OBS_STATE: pressed, ACTION: pressed, "task": ["go"]})[ACTION].abs().max() <= 2


def test_no_statistics_at_all_are_refused(make_featured):
    with pytest.raises(ValueError, match="the dataset has no 'min' of 'action'"):
        make_pre_post_processors(make_featured(), dataset_stats=None)


def test_training_refuses_a_dataset_without_statistics(pixel_dataset, make_config, monkeypatch):
    monkeypatch.setattr(pixel_dataset.meta, "stats", {})
    with pytest.raises(ValueError, match="the dataset has no 'min' of 'action'"):
        make_policy(make_config(), ds_meta=pixel_dataset.meta)


def test_what_is_not_normalised_needs_no_statistics(make_featured):
    check_statistics(make_featured(NormalizationMode.IDENTITY), None)
    preprocess, _ = make_pre_post_processors(make_featured(NormalizationMode.IDENTITY), dataset_stats=None)
    state = torch.tensor([[3.0, -7.0]])
    assert torch.equal(preprocess({OBS_STATE: state, "task": ["go"]})[OBS_STATE], state)
