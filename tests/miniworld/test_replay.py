import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.replay import ReplayConfig, main, replay
from lerobot_qwenvla.recorder.record import record_episode
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert

SEEDS = [3, 4]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("replay") / "recordings"
    env = MiniworldEnv(canvas_w=64, canvas_h=64)
    for seed in SEEDS:
        record_episode(env, root / f"episode_{seed}", seed)
    env.close()
    return root


@pytest.fixture(scope="module")
def converted(recordings):
    root = recordings.parent / "dataset"
    # Encoded, so that both episodes share a video file.
    convert(ConvertConfig(input=recordings, repo_id="tests/replay", root=root, workers=1, video="encode"))
    return root


@pytest.fixture
def dataset(converted, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(converted, tmp_path / "dataset")


def edit_records(root, edit):
    """Change the account of every episode."""
    path = root / "meta" / "recordings.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        edit(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def problems(root):
    """What is wrong with each episode, joined."""
    return ["; ".join(episode.problems) for episode in replay(ReplayConfig(root)).episodes]


def test_a_recorded_episode_happens_again_exactly(converted):
    report = replay(ReplayConfig(converted))
    assert [episode.episode for episode in report.episodes] == [0, 1]
    assert not report.failed
    assert not report.elsewhere
    for episode in report.episodes:
        assert (episode.position_error_m, episode.heading_error_deg) == (0.0, 0.0)
        assert episode.worst_psnr_db > 28


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_changed_action_fails_its_episode(dataset, place):
    path = dataset / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    rows = np.flatnonzero(table["episode_index"].to_numpy() == 1)
    row = rows[{"first": 0, "middle": len(rows) // 2, "last": -1}[place]]
    actions = np.stack(table["action"].to_numpy())
    actions[row, CHANNEL_INDEX["key.w"]] = 1 - actions[row, CHANNEL_INDEX["key.w"]]
    column = table.schema.get_field_index("action")
    changed = pa.array(actions.tolist(), type=table.schema.field("action").type)
    pq.write_table(table.set_column(column, table.schema.field("action"), changed), path)
    untouched, spoiled = problems(dataset)
    assert untouched == ""
    assert "ends at another place" in spoiled


@pytest.mark.parametrize(("coordinate", "shift"), [("x_m", 0.002), ("z_m", -0.002), ("heading_deg", 0.2)])
def test_a_wrong_final_pose_is_reported(dataset, coordinate, shift):
    def edit(record):
        if record["episode_index"] == 0:
            record["meta"]["final_pose"][coordinate] += shift

    edit_records(dataset, edit)
    assert problems(dataset) == ["it ends at another place", ""]


def test_headings_of_0_and_360_degrees_are_the_same(dataset):
    def edit(record):
        record["meta"]["final_pose"]["heading_deg"] -= 359.95

    edit_records(dataset, edit)
    assert problems(dataset) == ["", ""]


def test_a_recording_without_final_pose_is_judged_by_the_rest(dataset):
    edit_records(dataset, lambda record: record["meta"].pop("final_pose"))
    report = replay(ReplayConfig(dataset))
    assert not report.failed
    assert {episode.position_error_m for episode in report.episodes} == {None}


def test_a_wrong_success_is_reported(dataset):
    edit_records(dataset, lambda record: record["meta"].update(success=False))
    assert problems(dataset) == ["it reaches the goal"] * 2


def test_another_world_is_noticed(dataset):
    edit_records(dataset, lambda record: record["meta"].update(seed=99))
    for problem in problems(dataset):
        assert "the picture of row" in problem
        assert "shows something else" in problem


def test_pictures_of_a_neighbouring_row_are_noticed(dataset):
    path = next((dataset / "meta" / "episodes").rglob("*.parquet"))
    table = pq.read_table(path)
    # LeRobot finds an episode's pictures by where it begins in the video.
    name = "videos/observation.images.screen/from_timestamp"
    begins_s = table[name].to_numpy() - np.array([0.0, 0.1])
    column = table.schema.get_field_index(name)
    pq.write_table(table.set_column(column, table.schema.field(name), pa.array(begins_s)), path)
    untouched, spoiled = problems(dataset)
    assert untouched == ""
    assert "belongs to its neighbour" in spoiled


def test_channels_that_the_game_does_not_have_are_no_hindrance(recordings, tmp_path):
    root, extra = tmp_path / "extra", ["side_buttons", "wheel"]
    convert(ConvertConfig(input=recordings, repo_id="tests/replay", root=root, workers=1, extra_channels=extra))
    assert not any(problems(root))


def test_a_delta_dataset_is_refused(recordings, tmp_path):
    root = tmp_path / "delta"
    convert(ConvertConfig(input=recordings, repo_id="tests/replay", root=root, workers=1, mouse="delta"))
    with pytest.raises(ValueError, match="because of --mouse; convert the recordings again without it"):
        replay(ReplayConfig(root))


@pytest.mark.parametrize(
    ("option", "value"),
    [("resample", True), ("fps", 10), ("keep_duplicates", True), ("offset_ms", 40.0), ("size", "64x64")],
)
def test_rows_that_are_no_steps_are_refused(dataset, option, value):
    edit_records(dataset, lambda record: record["options"].update({option: value}))
    with pytest.raises(ValueError, match=f"because of --{option}; convert the recordings again without it"):
        replay(ReplayConfig(dataset))


def test_missing_rows_are_refused(dataset):
    def edit(record):
        record["options"]["idle"] = "trim"
        record["counts"]["idle_rows_dropped"] = 3 * record["episode_index"]

    edit_records(dataset, edit)
    with pytest.raises(ValueError, match="because of --idle=trim; convert the recordings again without it"):
        replay(ReplayConfig(dataset))


def test_episodes_of_other_games_are_left_out(dataset):
    def edit(record):
        if record["episode_index"] == 0:
            del record["meta"]["env_task"]

    edit_records(dataset, edit)
    report = replay(ReplayConfig(dataset))
    assert report.elsewhere == [0]
    assert [episode.episode for episode in report.episodes] == [1]


def test_a_dataset_of_another_game_is_an_error(dataset):
    edit_records(dataset, lambda record: record["meta"].pop("seed"))
    with pytest.raises(ValueError, match="no episode was recorded in Miniworld"):
        replay(ReplayConfig(dataset))


def test_the_first_episodes_can_be_chosen(converted):
    assert [episode.episode for episode in replay(ReplayConfig(converted, episodes=1)).episodes] == [0]
    with pytest.raises(ValueError, match="--episodes=0"):
        replay(ReplayConfig(converted, episodes=0))


def test_the_exit_code_says_whether_all_went_well(dataset, capsys):
    assert main([f"--root={dataset}"]) == 0
    assert "2 of 2 episodes went as they were recorded" in capsys.readouterr().out
    assert main([f"--root={dataset}", "--min_psnr_db=60"]) == 1
    assert "0 of 2 episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "`root`"),
        (["--root=no/such/dataset"], "no/such/dataset: no such folder"),
        (["--root=datasets", "--episodes=few"], "`episodes`"),
        (["--root=[datasets"], "expected ',' or ']'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
