import numpy as np
import pytest

from recordings_to_lerobot.video.decode import iterate_frames
from recordings_to_lerobot.video.probe import check_video
from recordings_to_lerobot.video.sample import picture_statistics, sample_levels
from tests.recordings_to_lerobot.raw_recordings import write_video


def test_statistics_are_those_of_the_pixels():
    pixels = np.random.default_rng(0).integers(20, 230, (3, 5000))
    levels = np.stack([np.bincount(colour, minlength=256) for colour in pixels])
    statistics = picture_statistics(levels)
    assert statistics["count"].tolist() == [5000]
    for name, expected in {
        "min": pixels.min(axis=1),
        "max": pixels.max(axis=1),
        "mean": pixels.mean(axis=1),
        "std": pixels.std(axis=1),
        "q01": np.quantile(pixels, 0.01, axis=1, method="inverted_cdf"),
        "q50": np.quantile(pixels, 0.5, axis=1, method="inverted_cdf"),
        "q99": np.quantile(pixels, 0.99, axis=1, method="inverted_cdf"),
    }.items():
        assert statistics[name].shape == (3, 1, 1)
        np.testing.assert_allclose(statistics[name].ravel(), expected / 255, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("options", [{"g": "250"}, {"g": "2"}], ids=["one key frame", "many key frames"])
def test_sample_is_close_to_all_pictures(tmp_path, options):
    path = tmp_path / "video.mp4"
    write_video(path, 60, options=options)
    statistics = picture_statistics(sample_levels(path, check_video(path, 60)))
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in iterate_frames(path, np.arange(60))]) / 255
    np.testing.assert_allclose(statistics["mean"].ravel(), pictures.mean(axis=(0, 1, 2)), atol=0.12)
    np.testing.assert_allclose(statistics["std"].ravel(), pictures.std(axis=(0, 1, 2)), atol=0.06)
