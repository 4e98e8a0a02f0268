"""What is known of an action before anything is seen: how each of its channels is distributed in the recordings."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

# In normalised units. A key that was never pressed in the recordings can still be learned from others.
SMALLEST_STD = 0.1


class Coefficients(NamedTuple):
    """What a prior says at N times, each (N, A) and the same for all actions of a chunk."""

    x_mean: Tensor
    x_std: Tensor
    v_slope: Tensor  # by how much the expected velocity rises with x_t
    v_std: Tensor  # of the velocity, once x_t is known


class GaussianPrior(nn.Module):
    """Channels that are normal, each by itself: the velocity that follows from this alone, and what it leaves open.

    A network that predicts only the rest, and that of unit size, has nothing to learn about keys that are never
    pressed, nor at first how to take noise away. Without, the first steps of training teach little else, by whatever
    weights are at hand: those that the picture and the instruction come through, which are then deaf for long. The
    idea is the preconditioning of Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative
    Models, for a velocity and a channel's own mean and deviation.
    """

    def __init__(self, actions: int) -> None:
        """Until `fit`, all channels are standard normal."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(actions))
        self.register_buffer("std", torch.ones(actions))

    @torch.no_grad()
    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Takes the moments (A,) of normalised actions."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=SMALLEST_STD))

    def at(self, time: Tensor) -> Coefficients:
        """What it says at times (N,), of x_t = t·noise + (1-t)·a and v = noise - a, where a ~ N(mean, std²)."""
        t, variance = time[:, None], self.std.square()
        x_variance = t.square() + (1 - t).square() * variance
        x_std = x_variance.sqrt()
        return Coefficients(
            x_mean=(1 - t) * self.mean,
            x_std=x_std,
            v_slope=(t - (1 - t) * variance) / x_variance,  # Cov(v, x_t) / Var(x_t)
            v_std=self.std / x_std,
        )
