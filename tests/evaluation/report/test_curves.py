from lerobot_qwenvla.evaluation.report.curves import curves_figure, read_curves

LOG = (
    "Training:   1%|    | 19/1500 [00:21<08:41,  3.03step/s]INFO 2026-11-22 11:07:38 ot_train.py:641 step:20 smpl:1K "
    "ep:32 epch:0.24 loss:2.113 grdn:2.505 lr:1.1e-04 mem_gb:9.51 loss_mouse:0.250\rTraining:   2%|\n"
    "INFO 2026-11-22 11:15:51 ot_train.py:673 step 40: eval_loss=0.0366\n"
    "INFO 2026-11-22 11:16:51 ot_train.py:641 step:1K smpl:3K ep:64 epch:0.48 loss:1.338 grdn:1.248 lr:3.1e-04 "
    "mem_gb:9.62 loss_mouse:0.125\n"
)


def test_curves_are_read_from_what_a_training_run_prints(tmp_path):
    (tmp_path / "train.log").write_text(LOG)
    curves = read_curves(tmp_path / "train.log", log_every=20)
    assert curves["loss"] == {20: 2.113, 40: 1.338}
    assert curves["eval_loss"] == {40: 0.0366}
    assert curves["lr"] == {20: 1.1e-4, 40: 3.1e-4}
    assert curves["mem_gb"] == {20: 9.51, 40: 9.62}
    assert curves["loss_mouse"] == {20: 0.25, 40: 0.125}


def test_a_log_without_training_has_no_curves(tmp_path):
    (tmp_path / "train.log").write_text("INFO 2026-11-22 11:07:38 ot_train.py:298 Creating dataset\n")
    assert read_curves(tmp_path / "train.log", log_every=20) == {}


def test_learning_rate_and_memory_have_panels_where_they_are_printed():
    loss, lr, memory = {20: 2.0, 40: 1.0}, {20: 1e-4, 40: 2e-4}, {20: 9.5, 40: 9.6}
    assert len(curves_figure({"loss": loss}).axes) == 1
    labels = [axes.get_ylabel() for axes in curves_figure({"loss": loss, "lr": lr, "mem_gb": memory}).axes]
    assert labels == ["flow-matching loss", "learning rate", "GPU memory, GB"]
