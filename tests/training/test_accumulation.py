from collections.abc import Iterable
from itertools import chain

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from lerobot.datasets import EpisodeAwareSampler, compute_sampler_state
from lerobot.scripts.lerobot_train import update_policy
from lerobot.utils.logging_utils import AverageMeter, MetricsTracker
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from lerobot_qwenvla.training.accumulation import AccumulatingAccelerator

ROWS = [0, 3, 7, 8, 9, 12, 16, 20]  # some look past the end of their episode


@pytest.fixture
def make_accelerator():
    def make(batches: int, dtype: str = "float32") -> AccumulatingAccelerator:
        AcceleratorState._reset_state(reset_partial_state=True)  # of another one in this process
        GradientState._reset_state()
        return AccumulatingAccelerator(batches, dtype, cpu=True)

    yield make
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def train(policy, accelerator, batches: Iterable[dict], grad_clip_norm: float) -> tuple[list[dict], list[float]]:
    """Gradients of each update that LeRobot's own step makes of these batches, and the norm it logs for each batch."""
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-3)
    gradients, norms = [], []

    def keep(*_) -> None:
        gradients.append({name: p.grad.clone() for name, p in policy.model.named_parameters()})

    optimizer.register_step_pre_hook(keep)
    policy, optimizer = accelerator.prepare(policy, optimizer)
    meters = {name: AverageMeter(name) for name in ("loss", "grad_norm", "lr", "update_s")}
    tracker = MetricsTracker(4, 27, 3, meters)
    for batch in batches:
        update_policy(tracker, policy, batch, optimizer, grad_clip_norm, accelerator)
        norms.append(tracker.grad_norm.val)
    return gradients, norms


@pytest.mark.parametrize("grad_clip_norm", [0.0, 0.5, 100.0])
def test_two_batches_of_four_are_one_of_eight(
    pixel_dataset, make_trainee, make_batch, make_accelerator, grad_clip_norm
):
    noise, time = torch.randn(8, 6, 5), torch.rand(8)
    results = []
    for size in (8, 4):
        policy = make_trainee(pixel_dataset)
        batches = [
            {
                **make_batch(pixel_dataset, policy, ROWS[first : first + size]),
                "noise": noise[first : first + size],
                "time": time[first : first + size],
            }
            for first in range(0, 8, size)
        ]
        results.append(train(policy, make_accelerator(8 // size), batches, grad_clip_norm))
    ([whole], [norm]), ([accumulated], norms) = results
    for name, gradient in whole.items():
        torch.testing.assert_close(accumulated[name], gradient, atol=1e-6, rtol=1e-5)
    if grad_clip_norm:
        assert norms == pytest.approx([0, norm], rel=1e-5)  # none is whole before the second


def test_updates_go_on_through_the_end_of_an_epoch(pixel_dataset, make_trainee, make_batch, make_accelerator):
    policy = make_trainee(pixel_dataset)
    accelerator = make_accelerator(2)
    epoch = accelerator.prepare(DataLoader([make_batch(pixel_dataset, policy, [0, 1])] * 3, batch_size=None))
    gradients, _ = train(policy, accelerator, chain(epoch, epoch), 1.0)
    assert len(gradients) == 3


@pytest.mark.parametrize("step", [0, 2, 3, 4, 8])
def test_a_resumed_run_goes_on_in_the_order_of_its_epoch(make_accelerator, step):
    def order(first_step: int) -> list[list[int]]:
        """Batches up to the end of the third epoch, of three batches each."""
        sampler = EpisodeAwareSampler([0, 5], [5, 11], shuffle=True, seed=1)
        sampler.load_state_dict(compute_sampler_state(first_step, len(sampler), batch_size=4, num_processes=1))
        epochs = make_accelerator(1).prepare(DataLoader(range(11), batch_size=4, sampler=sampler))
        return [batch.tolist() for _ in range(first_step // 3, 3) for batch in epochs]

    assert order(step) == order(0)[step:]


def test_two_processes_accumulate_as_one_with_twice_the_batch(start, start_two, train_arguments, tmp_path):
    settings = {"accelerator.gradient_accumulation.steps": 3, "steps": 6, "save_freq": 0, "eval_steps": 0}
    start("qwenvla-train", *train_arguments(tmp_path / "one", **settings)).wait()
    start_two("qwenvla-train", *train_arguments(tmp_path / "two", batch_size=2, **settings)).wait()
    one, two = (
        load_file(tmp_path / run / "checkpoints" / "last" / "pretrained_model" / "model.safetensors")
        for run in ("one", "two")
    )
    # A fiftieth of one of Adam's updates, which makes as much of a gradient that is mostly rounding as of any other.
    torch.testing.assert_close(two, one, atol=2e-5, rtol=0)
