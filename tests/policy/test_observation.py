import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import OBS_IMAGES, OBS_STATE

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.backbone.prompt import DEFAULT_INSTRUCTION
from lerobot_qwenvla.policy import observation as observation_module
from lerobot_qwenvla.policy.observation import Observation

SCREEN, MAP = f"{OBS_IMAGES}.screen", f"{OBS_IMAGES}.map"
BATCH = {
    SCREEN: torch.rand(2, 3, 64, 64),
    MAP: torch.rand(2, 3, 64, 64),
    OBS_STATE: torch.rand(2, 5),
    "task": ["a", "b"],
}


@pytest.fixture(scope="module")
def observe(make_config, make_settings):
    token_grid = FrozenBackbone(make_settings()).token_grid

    def observe(batch: dict, **settings) -> Observation:
        config = make_config(**settings)
        config.input_features = {name: PolicyFeature(FeatureType.VISUAL, (3, 64, 64)) for name in (SCREEN, MAP)}
        config.input_features[OBS_STATE] = PolicyFeature(FeatureType.STATE, (5,))
        return Observation.from_batch(batch, config, token_grid)

    return observe


def test_a_batch_is_named_and_sized(observe):
    observation = observe(BATCH)
    assert len(observation) == 2 and observation.is_current
    assert set(observation.images) == {SCREEN, MAP}
    assert torch.equal(observation.state, BATCH[OBS_STATE])


def test_frames_come_with_the_newest_state(observe):
    frames = {SCREEN: torch.rand(2, 3, 3, 64, 64), MAP: torch.rand(2, 3, 3, 64, 64)}
    states = torch.rand(2, 3, 5)
    observation = observe({**BATCH, **frames, OBS_STATE: states})
    assert not observation.is_current
    assert torch.equal(observation.state, states[:, -1])


def test_rows_of_features_take_the_place_of_pictures(observe):
    rows = torch.tensor([[0, 2, 4], [1, 3, 5]])
    observation = observe({"observation.features.screen": rows, OBS_STATE: BATCH[OBS_STATE], "task": ["a", "b"]})
    assert observation.images == {} and torch.equal(observation.feature_rows[SCREEN], rows)
    assert len(observation) == 2


@pytest.mark.parametrize("task", [{}, {"task": ["", ""]}, {"task": ""}])
def test_without_an_instruction_there_is_the_default(observe, task):
    batch = {name: value for name, value in BATCH.items() if name != "task"}
    assert observe({**batch, **task}).instructions == [DEFAULT_INSTRUCTION] * 2


def test_one_instruction_is_for_all_and_another_number_is_refused(observe):
    assert observe({**BATCH, "task": "go"}).instructions == ["go", "go"]
    with pytest.raises(ValueError, match=r"got 3 instructions \(task\) for 2 observations"):
        observe({**BATCH, "task": ["a", "b", "c"]})


def test_a_missing_camera_is_left_out_with_one_warning(observe, caplog):
    observation_module._warn_of_missing.cache_clear()  # another test may have been warned
    batch = {name: value for name, value in BATCH.items() if name != MAP}
    assert [set(observe(batch).images) for _ in range(2)] == [{SCREEN}] * 2
    assert caplog.text.count("observation.images.map is missing; deciding without it") == 1
    with pytest.raises(ValueError, match=r"no picture: got \['task'\], the policy looks at .*map.*screen"):
        observe({"task": ["go"]})


def test_a_state_that_is_missing_is_named_unless_it_is_never_seen(observe):
    batch = {name: value for name, value in BATCH.items() if name != OBS_STATE}
    with pytest.raises(ValueError, match=r"no observation.state: got .*trained with \(5,\) of it"):
        observe(batch)
    assert observe(batch, state_dropout=1.0).state.tolist() == [[0.0] * 5] * 2


def test_another_number_of_frames_is_refused(observe):
    with pytest.raises(ValueError, match=r"screen: got 1 frames, must be 3, or the current one"):
        observe({**BATCH, SCREEN: BATCH[SCREEN][:, None]})


def broken_picture(kind: str) -> torch.Tensor:
    picture = torch.rand(2, 3, 64, 64)
    if kind == "nan":
        picture[0, 1, 5, 5] = float("nan")
    return {"nan": picture, "bytes": (255 * picture).byte(), "0-255": 255 * picture, "wide": picture[:, :, :32],
            "grey": picture[:, :1]}[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", r"screen: values from nan to nan, must be in \[0, 1\] and finite"),
        ("bytes", r"screen: got torch.uint8, must be float in \[0, 1\]; divide bytes by 255"),
        ("0-255", r"screen: values from .* to 25\d.*, must be in \[0, 1\]"),
        ("wide", r"screen: got pictures of \(3, 32, 64\), the policy was trained on \(3, 64, 64\)"),
        ("grey", r"screen: got pictures of \(1, 64, 64\)"),
    ],
)
def test_pictures_it_cannot_look_at_are_refused(observe, kind, message):
    with pytest.raises(ValueError, match=message):
        observe({**BATCH, SCREEN: broken_picture(kind)})


def test_pictures_of_another_size_and_the_same_form_are_taken(observe):
    assert observe({**BATCH, SCREEN: torch.rand(2, 3, 200, 200)}).images[SCREEN].shape == (2, 3, 200, 200)
