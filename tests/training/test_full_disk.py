import resource

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy


def test_a_disk_that_fills_up_at_a_checkpoint_loses_no_earlier_one(start, train_arguments, tmp_path):
    run = tmp_path / "run"
    training = start("qwenvla-train", *train_arguments(run))
    training.wait_for_log("step:5 ")
    resource.prlimit(training.process, resource.RLIMIT_FSIZE, (100_000, 100_000))  # less than a checkpoint has
    assert "qwenvla-train: a checkpoint could not be written: " in training.wait(exit_code=1)
    assert "make room and go on with --resume=true" in training.read()
    last = run / "checkpoints" / "last"
    assert last.resolve().name == "000004"
    QwenVLAPolicy.from_pretrained(last / "pretrained_model")
    config = last / "pretrained_model" / "train_config.json"
    resumed = start("qwenvla-train", f"--config_path={config}", "--resume=true")
    assert "End of training" in resumed.wait()
    assert last.resolve().name == "000012"
