import numpy as np

from lerobot_qwenvla.evaluation.figures import episode_figure, reliability_figure

NAMES = ["mouse.x", "mouse.y", "button.left", "key.w", "key.a"]


def test_episode_shows_the_mouse_and_the_channels_that_are_used():
    true = np.zeros((20, 5), dtype=np.float32)
    true[5:9, 3] = true[12:, 3] = 1
    predicted = true.copy()
    predicted[15:16, 4] = 1
    is_binary = np.array([False, False, True, True, True])
    figure = episode_figure(predicted, true, names=NAMES, is_binary=is_binary, fps=10, title="Episode 3")
    x, y, keys = figure.axes
    assert [x.get_ylabel(), y.get_ylabel()] == ["mouse.x", "mouse.y"]
    assert [label.get_text() for label in keys.get_yticklabels()] == ["key.w", "key.a"]
    recorded, *_ = keys.collections
    spans = [path.get_extents() for path in recorded.get_paths()]
    np.testing.assert_allclose([(span.x0, span.x1) for span in spans], [(0.5, 0.9), (1.2, 2.0)])
    assert figure.get_suptitle() == "Episode 3"


def test_episode_of_channels_that_are_all_of_one_kind():
    actions = np.eye(4, dtype=np.float32)
    for is_binary in (False, True):
        figure = episode_figure(
            actions, actions, names=list("abcd"), is_binary=np.full(4, is_binary), fps=10, title="of one kind"
        )
        assert len(figure.axes) == (1 if is_binary else 4)


def channel(pressed: float) -> dict:
    curve = {"predicted": [0.1, 0.9], "observed": [0.0, 1.0], "steps": [3, 1]}
    threshold = {"value": 0.5, "f1": 1.0} if pressed else None
    return {"pressed": pressed, "reliability": curve, "best_threshold": threshold}


def test_reliability_is_of_the_channels_that_are_pressed():
    channels = {"mouse.x": {"mse": 0.1}, "key.w": channel(0.25), "key.a": channel(0.0)}
    [axes] = reliability_figure(channels).axes
    assert axes.get_title().startswith("key.w: 25%")
    assert reliability_figure({"mouse.x": {"mse": 0.1}, "key.a": channel(0.0)}) is None
    assert len(reliability_figure({f"key.{k}": channel(0.5) for k in range(6)}).axes) == 6
