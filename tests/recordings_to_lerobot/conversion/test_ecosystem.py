"""LeRobot's own commands on converted datasets, with videos copied from the recordings and encoded anew.

They run in this process: each would else import LeRobot once more, for ten seconds.
"""

import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import rerun
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts import lerobot_dataset_viz, lerobot_edit_dataset, lerobot_train
from rerun.experimental import RrdReader

from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.video.probe import check_video
from tests.recordings_to_lerobot.raw_recordings import (
    FREQ,
    SIZE_PX,
    make_recording,
    messy_ticks_and_events,
    numbered_picture,
    regular_ticks,
)

SCREEN = "observation.images.screen"
EPISODES, FRAMES = 6, 12
PICTURES = [numbered_picture(number) for number in range(EPISODES * FRAMES)]
X264 = {"libx264": {}, "libx264 as another recorder sets it": {"profile": "baseline", "refs": "1", "g": "5"}}


@dataclass(frozen=True)
class Rows:
    """What a dataset holds: N rows, each with the number its picture shows."""

    episode: list[int]
    number: list[int]
    state: np.ndarray  # (N, C)
    action: np.ndarray  # (N, C)
    task: list[str]

    def of_episodes(self, episodes: list[int]) -> "Rows":
        rows = [row for episode in episodes for row, of in enumerate(self.episode) if of == episode]
        numbers = [self.number[row] for row in rows]
        counted = [episodes.index(self.episode[row]) for row in rows]
        return Rows(counted, numbers, self.state[rows], self.action[rows], [self.task[row] for row in rows])


def read(root: Path) -> Rows:
    references = np.stack(PICTURES).astype(np.float32) / 255
    episodes, numbers, states, actions, tasks = [], [], [], [], []
    for row in LeRobotDataset("tests/any", root=root, video_backend="pyav"):
        distance = np.abs(references - row[SCREEN].permute(1, 2, 0).numpy()).mean(axis=(1, 2, 3))
        assert distance.min() < 0.1
        numbers.append(int(distance.argmin()))
        episodes.append(int(row["episode_index"]))
        states.append(row["observation.state"].numpy())
        actions.append(row["action"].numpy())
        tasks.append(row["task"])
    return Rows(episodes, numbers, np.stack(states), np.stack(actions), tasks)


def assert_same(found: Rows, expected: Rows) -> None:
    assert found.episode == expected.episode
    assert found.number == expected.number
    assert found.task == expected.task
    np.testing.assert_array_equal(found.state, expected.state)
    np.testing.assert_array_equal(found.action, expected.action)


def record(folder: Path, x264_options: dict[str, str]) -> None:
    """Six recordings of twelve frames, in three sessions; no picture occurs twice."""
    for episode in range(EPISODES):
        _, events = messy_ticks_and_events(episode)
        events = [{**event, "ts": event["ts"] + 4 * FREQ} for event in events]
        meta = {"task": f"go {episode % 2}", "session": episode // 2}
        raw = make_recording(folder / f"{episode}", regular_ticks(FRAMES), events, **meta)
        with av.open(raw.folder / "video.mp4", "w") as container:
            stream = container.add_stream("libx264", rate=10, options=x264_options)
            stream.width = stream.height = SIZE_PX
            for picture in PICTURES[episode * FRAMES : (episode + 1) * FRAMES]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ecosystem")
    options = {"repo_id": "tests/any", "splits": {"train": 0.6, "test": 0.4}}
    for name, x264_options in X264.items():
        record(folder / "raw" / name, x264_options)
        convert(ConvertConfig(input=folder / "raw" / name, root=folder / name, video="copy", **options))
    convert(ConvertConfig(input=folder / "raw/libx264", root=folder / "encoded", video="encode", **options))
    roots = {"copied": folder / "libx264", "copied from another": folder / list(X264)[1], "encoded": folder / "encoded"}
    facts = check_video(folder / "raw/libx264/0/video.mp4", FRAMES)
    assert facts.delay_frames > 0 and facts.n_key_frames == 1, "the copies shall have B-frames and long groups"
    for name, root in roots.items():
        lines = (root / "meta/recordings.jsonl").read_text().splitlines()
        assert {json.loads(line)["video"] for line in lines} == {"encoded" if name == "encoded" else "copied"}
    return roots


@pytest.fixture
def lerobot(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs one of LeRobot's commands by its module."""

    def run(module, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
        module.main()

    return run


def edit(lerobot: Callable[..., None], operation: str, *arguments: str) -> None:
    lerobot(lerobot_edit_dataset, f"--operation.type={operation}", *arguments)


def merge(lerobot: Callable[..., None], roots: list[Path], target: Path) -> None:
    edit(
        lerobot, "merge", "--new_repo_id=tests/merged", f"--new_root={target}",
        f"--operation.repo_ids={['tests/any'] * len(roots)}", f"--operation.roots={[str(root) for root in roots]}",
    )  # fmt: skip


both = pytest.mark.parametrize("name", ["copied", "encoded"])


@both
def test_dataset_viz_shows_every_picture_state_and_action_of_an_episode(datasets, name, lerobot, tmp_path):
    episode = 4
    lerobot(
        lerobot_dataset_viz, "--repo-id=tests/any", f"--root={datasets[name]}", f"--episode-index={episode}",
        "--save=1", f"--output-dir={tmp_path}", "--num-workers=0",
    )  # fmt: skip
    rerun.disconnect()  # completes the file, as the end of the command's own process does
    chunks = RrdReader(tmp_path / f"tests_any_episode_{episode}.rrd").stream().to_chunks()
    # The viewer closes a chunk after some milliseconds, so that a slow machine writes several.
    logged: dict[tuple[str, str], list] = defaultdict(list)
    for chunk in chunks:
        batch = chunk.to_record_batch()
        for component in batch.schema.names:
            logged[chunk.entity_path, component] += batch[component].to_pylist()
    expected = read(datasets[name]).of_episodes([episode])
    np.testing.assert_array_equal(logged["/action", "Scalars:scalars"], expected.action)
    np.testing.assert_array_equal(logged["/state", "Scalars:scalars"], expected.state)
    shown = np.array(logged[f"/{SCREEN}", "Image:buffer"]).reshape(FRAMES, SIZE_PX, SIZE_PX, 3)
    for picture, number in zip(shown, expected.number, strict=True):
        assert np.abs(picture - PICTURES[number].astype(int)).mean() < 25


@both
def test_deleted_episodes_leave_pictures_and_labels_of_the_others_as_they_were(datasets, name, lerobot, tmp_path):
    edit(
        lerobot, "delete_episodes", "--repo_id=tests/any", f"--root={datasets[name]}",
        "--new_repo_id=tests/fewer", f"--new_root={tmp_path / 'fewer'}", "--operation.episode_indices=[1, 4]",
    )  # fmt: skip
    assert_same(read(tmp_path / "fewer"), read(datasets[name]).of_episodes([0, 2, 3, 5]))


@both
def test_split_and_merged_again_it_is_the_same_dataset(datasets, name, lerobot, tmp_path):
    edit(
        lerobot, "split", "--repo_id=tests/any", f"--root={datasets[name]}", f"--new_root={tmp_path}",
        "--operation.splits={first: [0, 1, 2, 3], second: [4, 5]}",
    )  # fmt: skip
    original = read(datasets[name])
    assert_same(read(tmp_path / "first"), original.of_episodes([0, 1, 2, 3]))
    assert_same(read(tmp_path / "second"), original.of_episodes([4, 5]))
    merge(lerobot, [tmp_path / "first", tmp_path / "second"], tmp_path / "merged")
    assert_same(read(tmp_path / "merged"), original)


def test_h264_copies_of_different_encoders_merge_to_one_dataset(datasets, lerobot, tmp_path):
    merge(lerobot, [datasets["copied"], datasets["copied from another"]], tmp_path / "merged")
    merged = read(tmp_path / "merged")
    assert_same(merged.of_episodes([*range(EPISODES)]), read(datasets["copied"]))
    assert_same(merged.of_episodes([*range(EPISODES, 2 * EPISODES)]), read(datasets["copied from another"]))


@pytest.mark.parametrize(("name", "split"), [("copied", None), ("encoded", "train")])
def test_act_trains_on_all_of_it_or_on_the_episodes_of_a_split(datasets, name, split, lerobot, tmp_path, capfd):
    root = datasets[name]
    splits = json.loads((root / "meta/info.json").read_text())["splits"]
    assert splits == {"train": "0:4", "test": "4:6"}
    episodes = list(range(*map(int, splits[split].split(":")))) if split else list(range(EPISODES))
    lerobot(
        lerobot_train, "--policy.type=act", "--policy.pretrained_backbone_weights=null", "--policy.device=cpu",
        "--policy.push_to_hub=false", "--policy.chunk_size=4", "--policy.n_action_steps=4", "--policy.dim_model=32",
        "--policy.n_heads=2", "--policy.dim_feedforward=32", "--policy.n_encoder_layers=1", "--policy.latent_dim=4",
        "--policy.n_vae_encoder_layers=1", "--dataset.repo_id=tests/any", f"--dataset.root={root}",
        *([f"--dataset.episodes={episodes}"] if split else []), "--dataset.video_backend=pyav",
        f"--output_dir={tmp_path / 'train'}", "--save_checkpoint=false", "--batch_size=4", "--num_workers=0",
        "--steps=2", "--log_freq=1",
    )  # fmt: skip
    output = "".join(capfd.readouterr())
    assert f"dataset.num_episodes={len(episodes)}" in output
    assert f"dataset.num_frames={len(episodes) * FRAMES} " in output
    losses = [float(loss) for loss in re.findall(r"step:\d+ .* loss:(\S+)", output)]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
