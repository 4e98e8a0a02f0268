"""Gradient accumulation, whole batches and the order of a resumed run, under a training loop that knows of none."""

from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from lerobot.datasets import EpisodeAwareSampler
from torch import Tensor
from torch.utils.data import DataLoader

from lerobot_qwenvla.training.rows import batchwise

MIXED_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}


class AccumulatingAccelerator(Accelerator):
    """Averages the gradients of several batches where lerobot-train 0.6 makes an update of each.

    The optimizer that accelerate wraps takes no step, and keeps its gradients, while they are not whole; the loop never
    says so, because it never calls `accumulate`. Processes exchange gradients after each batch, not only before an
    update, which costs time but changes nothing.
    """

    def __init__(self, batches: int, dtype: str, *, cpu: bool) -> None:
        """Updates after each `batches` of them; the rest is as lerobot-train makes its own for a policy of `dtype`."""
        super().__init__(
            step_scheduler_with_optimizer=False,
            mixed_precision=MIXED_PRECISIONS[dtype],
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            cpu=cpu,
            # The end of an epoch is not that of a gradient.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=batches, sync_with_dataloader=False),
        )
        self._last_norm = torch.zeros(())

    def prepare_data_loader(self, data_loader: DataLoader, *args: Any, **kwargs: Any) -> DataLoader:
        """Reads whole batches where it can, and counts epochs from that of the sampler, which a resumed run has set.

        accelerate counts them from 0 in each process and tells the sampler at the start of each (`set_epoch`): after
        resuming, LeRobot's sampler would begin at the right sample, but in the order of the first epoch.
        """
        prepared = super().prepare_data_loader(batchwise(data_loader), *args, **kwargs)
        if isinstance(data_loader.sampler, EpisodeAwareSampler):
            prepared.iteration = data_loader.sampler.state_dict()["epoch"]
        return prepared

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        with self.accumulate():  # counts the batch, and says whether the gradient is whole with it
            super().backward(loss, **kwargs)

    def clip_grad_norm_(self, parameters: Iterable[Tensor], max_norm: float, norm_type: float = 2) -> Tensor:
        """Clips a whole gradient; between two, which would be clipped to something else, tells the norm of the last."""
        if self.sync_gradients:
            self._last_norm = super().clip_grad_norm_(parameters, max_norm, norm_type)
        return self._last_norm
