from pathlib import Path

import draccus
import pytest

from lerobot_qwenvla.ablations.options import AblationConfig
from lerobot_qwenvla.ablations.variants import merged, read_variants, stages
from lerobot_qwenvla.miniworld.tasks import RECORDED

TABLES = sorted(Path("configs/ablations").glob("*.yaml"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_of_the_repository_are_valid(path):
    config = draccus.parse(AblationConfig, path, args=[])
    assert [row.name for row in read_variants(config)] == list(config.variants)


def test_changes_are_merged_at_any_depth():
    settings = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(settings, {"a": {"c": 4}, "e": 5}) == {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}
    assert settings == {"a": {"b": 1, "c": 2}, "d": 3}


def test_rows_share_what_they_have_in_common(make_config):
    rows = read_variants(
        make_config(
            {
                "default": {},
                "heun": {"play": {"solver": "heun"}},
                "one frame": {"train": {"policy": {"num_frames": 1}}},
                "joint": {"train": {"policy": {"frame_encoding": "joint"}}},
                "mixed": {"train": {"policy": {"frame_encoding": "joint"}}, "play": {"frame_encoding": "per_frame"}},
                "pictures": {"on_pictures": True},
            }
        )
    )
    assert [row.run for row in rows] == ["default", "default", "one-frame", "joint", "joint", "pictures"]
    joint = {"frame_encoding": "joint"}
    assert [row.features for row in rows] == [{}, {}, {}, joint, joint, None]


def test_a_row_on_pictures_computes_no_features(make_config):
    config = make_config({"default": {}, "pictures": {"on_pictures": True}})
    features, pictures = ([stage.name for stage in stages(config, row, 7, RECORDED)] for row in read_variants(config))
    before = ["backbone", "record", "convert"]
    assert features == [*before, "features", "train-default-7", "evaluate-default-recorded-7"]
    assert pictures == [*before, "train-pictures-7", "evaluate-pictures-recorded-7"]


def test_a_row_after_another_goes_on_from_its_policy_of_the_same_seed(make_config):
    config = make_config({"default": {}, "further": {"after": "default", "on_pictures": True}})
    default, further = ([*stages(config, row, 7, RECORDED)] for row in read_variants(config))
    assert further[:-2] == default[:-1]
    checkpoint = config.output_dir / "train-default-7" / "checkpoints" / "last" / "pretrained_model"
    assert f"--policy.pretrained_path={checkpoint}" in further[-2].command


def test_another_backbone_is_not_made(make_config):
    config = make_config({"default": {}}, backbone="Qwen/Qwen3-VL-2B-Instruct")
    [row] = read_variants(config)
    commands = {stage.name: stage.command for stage in stages(config, row, 7, RECORDED)}
    assert "backbone" not in commands
    for name in ("features", "train-default-7"):
        assert "--policy.backbone=Qwen/Qwen3-VL-2B-Instruct" in commands[name]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"train": {"policy": {"frames": 1}}}, "variant 'odd': .*frames"),
        ({"train": {"policy": {"num_frames": "many"}}}, "variant 'odd': .*num_frames.*many"),
        ({"train": {"policy": {"num_frames": 0}}}, "variant 'odd': --policy.num_frames must be at least 1, got 0"),
        ({"play": {"n_action_steps": 17}}, "variant 'odd': --policy.n_action_steps=17 exceeds --policy.chunk_size=16"),
        ({"play": {"solvr": "heun"}}, "variant 'odd': .*solvr"),
        ({"episodes": 3}, "variant 'odd': episodes: 3 of the 2 that are recorded"),
        ({"after": "later"}, "variant 'odd': after: 'later' is none of the rows before it: default"),
        (
            {"after": "default", "train": {"policy": {"vlm_layer": 2}}},
            "variant 'odd': after: 'default' has other features",
        ),
        ({"train_config": Path("no/such.yaml")}, "variant 'odd': no/such.yaml: No such file"),
        (
            {"train_config": Path("configs/act.yaml")},
            "variant 'odd': policies of type act have no frozen features; set on_pictures",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(make_config, variant, message):
    with pytest.raises(ValueError, match=message):
        read_variants(make_config({"default": {}, "odd": variant}))


def test_names_must_differ_as_files(make_config):
    with pytest.raises(ValueError, match="variant 'a/b': another one is called nearly the same"):
        read_variants(make_config({"a b": {}, "a/b": {"train": {"steps": 3}}}))


def test_a_table_needs_rows(make_config):
    with pytest.raises(ValueError, match="no variants: pass a table"):
        read_variants(make_config({}))
