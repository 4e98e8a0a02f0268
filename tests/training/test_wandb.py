import os
import subprocess
import sys


def test_an_offline_wandb_run_has_curves_parts_of_the_loss_and_validation(train_arguments, tmp_path):
    settings = {"steps": 4, "wandb.enable": "true", "wandb.mode": "offline", "wandb.disable_artifact": "true"}
    # A process that is not forked: in forks W&B does not write what it was given.
    command = [sys.executable, "-m", "lerobot.scripts.lerobot_train", *train_arguments(tmp_path / "run", **settings)]
    done = subprocess.run(command, env=os.environ | {"WANDB_MODE": "offline"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [logged] = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = logged.read_bytes()
    for name in ("train/loss", "train/lr", "train/grad_norm", "train/loss_mouse", "train/loss_key", "eval/eval_loss"):
        assert name.encode() in content
