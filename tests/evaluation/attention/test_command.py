import json
import sys

import av
import pytest

from lerobot_qwenvla.evaluation.attention import command


@pytest.fixture
def run(checkpoint, monkeypatch, tmp_path):
    def run(dataset, *arguments):
        source = [f"--dataset.root={dataset.root}", "--dataset.repo_id=tests/some", "--dataset.video_backend=pyav"]
        given = [f"--policy.path={checkpoint}", *source, f"--output={tmp_path / 'out'}", *arguments]
        monkeypatch.setattr(sys, "argv", ["qwenvla-attention", *given])
        try:
            command.main()
        except SystemExit as exit_:
            return exit_.code

    return run


def test_command_writes_a_film_a_picture_and_the_shares(run, pixel_dataset, tmp_path):
    assert run(pixel_dataset, "--dataset.episodes=[1,2]", "--show_episodes=1") is None
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["attention.json", "episode_001_screen.mp4", "episode_001_screen.png"]
    with av.open(str(tmp_path / "out" / "episode_001_screen.mp4")) as film:
        assert len(list(film.decode(video=0))) == 9
    [episode] = json.loads((tmp_path / "out" / "attention.json").read_text())["episodes"]
    assert (episode["episode"], episode["instruction"]) == (1, "go to box 1")
    [by_layer] = episode["frames"].values()
    assert sum(by_layer[0]) + episode["state"][0] == pytest.approx(1, abs=1e-5)
    assert episode["words"][2:6] == ["go", "to", "box", "1"]
    assert [sum(head) for head in episode["word_shares"]] == pytest.approx([1] * 4, abs=1e-5)


def test_features_can_not_be_shown(run, feature_dataset):
    assert "pass the dataset of pictures" in run(feature_dataset)


def test_no_episode_to_show_is_an_error(run, pixel_dataset):
    assert "--show_episodes must be at least 1, got 0" in run(pixel_dataset, "--show_episodes=0")
