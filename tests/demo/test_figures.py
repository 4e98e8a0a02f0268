from lerobot_qwenvla.demo.figures import read_losses

LOG = (
    "Training:   1%|    | 19/1500 [00:21<08:41,  3.03step/s]INFO 2026-11-22 11:07:38 ot_train.py:641 step:20 smpl:1K "
    "ep:32 epch:0.24 loss:2.113 grdn:2.505 lr:1.1e-04\rTraining:   2%|\n"
    "INFO 2026-11-22 11:15:51 ot_train.py:673 step 40: eval_loss=0.0366\n"
    "INFO 2026-11-22 11:16:51 ot_train.py:641 step:1K smpl:3K ep:64 epch:0.48 loss:1.338 grdn:1.248 lr:3.1e-04\n"
)


def test_losses_are_read_from_the_log_of_a_training_run(tmp_path):
    (tmp_path / "train.log").write_text(LOG)
    train, validation = read_losses(tmp_path / "train.log", log_every=20)
    assert train == {20: 2.113, 40: 1.338}
    assert validation == {40: 0.0366}
