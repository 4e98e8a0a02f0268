import torch
from torch import nn

from lerobot_qwenvla.tools.stopwatch import Stopwatch


def test_a_piece_of_work_gives_its_result_and_a_turn():
    watch = Stopwatch("cpu")
    assert [watch("sum", lambda: 1 + 1) for _ in range(3)] == [2, 2, 2]
    assert len(watch.turns_ms["sum"]) == 3
    assert all(ms > 0 for ms in watch.turns_ms["sum"])


def test_calls_of_modules_are_one_turn_within_the_work_around_them():
    watch, first, second = Stopwatch("cpu"), nn.Linear(8, 8), nn.Linear(8, 8)
    with watch.calls("layers", first, second):
        watch("work", lambda: first(second(first(torch.zeros(8)))))
    first(torch.zeros(8))  # after it is no longer watched
    [layers_ms], [work_ms] = watch.turns_ms["layers"], watch.turns_ms["work"]
    assert 0 < layers_ms < work_ms
    assert not first._forward_hooks and not first._forward_pre_hooks


def test_percentiles_are_those_of_all_turns():
    watch = Stopwatch("cpu")
    watch.turns_ms["work"] = [float(ms) for ms in range(101)]
    assert (watch.percentile_ms("work", 50), watch.percentile_ms("work", 99)) == (50, 99)
