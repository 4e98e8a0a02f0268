def test_an_offline_wandb_run_has_curves_parts_of_the_loss_and_validation(start, train_arguments, tmp_path):
    settings = {"steps": 4, "wandb.enable": "true", "wandb.mode": "offline", "wandb.disable_artifact": "true"}
    arguments = train_arguments(tmp_path / "run", **settings)
    start("lerobot-train", *arguments, environment={"WANDB_MODE": "offline"}).wait()
    [logged] = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = logged.read_bytes()
    for name in ("loss", "lr", "grad_norm", "samples_per_s", "loss_mouse", "loss_button", "loss_key"):
        assert f"train/{name}".encode() in content
    assert b"eval/eval_loss" in content
