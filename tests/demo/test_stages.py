from pathlib import Path

import pytest
import yaml

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.stages import FEATURE_SETTINGS, demo_stages, evaluated, featured, trained


@pytest.fixture
def make_demo(tmp_path):
    """The demo with some settings of the policy changed in its training config."""

    def make(**policy) -> DemoConfig:
        training = yaml.safe_load(Path("configs/demo.yaml").read_text())
        training["policy"] |= policy
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(training))
        return DemoConfig(train_config=path)

    return make


def test_another_learning_rate_needs_no_new_features(make_demo):
    assert featured(make_demo(optimizer_lr=1.0)).command == featured(make_demo()).command


@pytest.mark.parametrize("setting", ["vlm_layer", "image_size", "num_frames"])
def test_another_view_of_frames_that_are_read_together_needs_new_features(make_demo, setting):
    assert setting in FEATURE_SETTINGS
    before = featured(make_demo(frame_encoding="joint")).command
    assert featured(make_demo(frame_encoding="joint", **{setting: 5})).command != before
    assert f"--policy.{setting}=5" in featured(make_demo(frame_encoding="joint"), **{setting: 5}).command


def test_frames_that_are_read_one_by_one_have_the_same_features_for_any_number_of_them(make_demo):
    before = featured(make_demo()).command
    assert featured(make_demo(num_frames=5, frame_skip=1)).command == before


def test_the_backbone_is_always_the_demos_own(make_demo):
    demo = make_demo(backbone="Qwen/Qwen3-VL-2B-Instruct")
    assert f"--policy.backbone={demo.output_dir / 'backbone'}" in featured(demo).command
    assert f"--policy.backbone={demo.output_dir / 'backbone'}" in trained(demo, "1").command


def test_one_training_run_can_be_evaluated_in_two_ways(make_demo):
    plain, heun = (evaluated(make_demo(), "1"), evaluated(make_demo(), "heun", "1", solver="heun"))
    assert plain.output != heun.output
    assert plain.command[1] == heun.command[1]  # the checkpoint
    assert "--policy.solver=heun" in heun.command


def test_training_seeds_share_recordings_and_features():
    one, two = demo_stages(DemoConfig(seed=1)), demo_stages(DemoConfig(seed=2))
    assert [stage.name for stage in one if stage in two] == ["backbone", "record", "convert", "features", "baselines"]


def test_a_policy_can_be_evaluated_in_another_variation(make_demo):
    assert "--env.variation=recorded" in evaluated(make_demo(), "1").command
    assert "--env.variation=new_words" in evaluated(make_demo(), "1", variation="new_words").command
