import resource
import time

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy


def test_a_disk_that_fills_up_at_a_checkpoint_loses_no_earlier_one(start, train_arguments, tmp_path):
    run = tmp_path / "run"
    training = start("qwenvla-train", *train_arguments(run))
    while "step:5 " not in training.read():
        time.sleep(0.005)
    resource.prlimit(training.process, resource.RLIMIT_FSIZE, (100_000, 100_000))  # less than a checkpoint has
    assert training.forks.wait(training.process) == 1
    assert "qwenvla-train: a checkpoint could not be written: " in training.read()
    assert "make room and go on with --resume=true" in training.read()
    last = run / "checkpoints" / "last"
    assert last.resolve().name == "000004"
    QwenVLAPolicy.from_pretrained(last / "pretrained_model")
    config = last / "pretrained_model" / "train_config.json"
    resumed = start("qwenvla-train", f"--config_path={config}", "--resume=true")
    assert "End of training" in resumed.wait()
    assert last.resolve().name == "000012"
