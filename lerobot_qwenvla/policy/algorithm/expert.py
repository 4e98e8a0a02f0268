"""The action expert: a transformer over the action chunk that predicts the flow-matching velocity.

Layers alternate between cross-attention to the context (frames and state) and causal self-attention over the chunk.
The context does not depend on the denoising time, so its keys and values are computed once per chunk; and what the
layers do with a time does not depend on the chunk, so it is computed once for all times of a solver.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from lerobot.policies.common.vla_utils import create_sinusoidal_pos_embedding
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lerobot_qwenvla.policy.algorithm.prior import Coefficients, GaussianPrior

# Shortest and longest period of the time's sines and cosines (those of pi0).
MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0

KeysValues = list[tuple[Tensor, Tensor]]  # per cross-attention layer, each (B, H, S, D/H)


class Modulations(NamedTuple):
    """What N times change: each layer (N, 6·D), and what is expected of x_t beforehand."""

    layers: list[Tensor]
    prior: Coefficients


def at_time(modulations: Modulations, i: int) -> Modulations:
    """Of N times, those of the i-th, for all rows."""
    return Modulations(
        [layer[i : i + 1] for layer in modulations.layers],
        Coefficients(*(each[i : i + 1] for each in modulations.prior)),
    )


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be computed ahead."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:  # (B, S, D) → 2 × (B, H, S, D/H)
        keys, values = self.key_value(tokens).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, *, is_causal: bool) -> Tensor:  # (B, T, D)
        attended = F.scaled_dot_product_attention(self._split(self.query(tokens)), keys, values, is_causal=is_causal)
        return self.out(attended.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:  # (B, T, D) → (B, H, T, D/H)
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """GELU MLP."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class ExpertLayer(nn.Module):
    """Pre-norm attention and GELU MLP; both are scaled, shifted and gated by the denoising time.

    Gates start at zero, so that a fresh layer is the identity ("adaLN-Zero", Peebles & Xie 2023).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = FeedForward(width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, modulation: Tensor, context: tuple[Tensor, Tensor] | None) -> Tensor:
        """tokens (B·K, T, D), modulation (B·K or 1, 6·D), keys and values of B; None attends causally to the tokens."""
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = modulation[:, None].chunk(6, dim=-1)
        normed = self.attention_norm(tokens) * (1 + scale_a) + shift_a
        tokens = tokens + gate_a * (self._cross(normed, *context) if context else self._causal(normed))
        normed = self.mlp_norm(tokens) * (1 + scale_m) + shift_m
        return tokens + gate_m * self.mlp(normed)

    def _causal(self, tokens: Tensor) -> Tensor:
        return self.attention(tokens, *self.attention.keys_values(tokens), is_causal=True)

    def _cross(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries do not see each other, so the K draws of an observation stand in a row behind its one context."""
        in_a_row = tokens.reshape(keys.shape[0], -1, tokens.shape[-1])  # (B, K·T, D)
        return self.attention(in_a_row, keys, values, is_causal=False).view_as(tokens)


class ActionExpert(nn.Module):
    """Velocity of a noisy action chunk, given context and denoising time."""

    def __init__(
        self, *, width: int, layers: int, heads: int, chunk_size: int, action: int, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.prior = GaussianPrior(action)
        self.action_in = nn.Linear(action, width)
        self.position = nn.Parameter(torch.randn(chunk_size, width) * 0.02)
        self.time_mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        # Cross-attention first: without context there is nothing for the chunk to agree on.
        self.layers = nn.ModuleList(ExpertLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.action_out = nn.Linear(width, action)

    def context_keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of every cross-attention layer.  # context (B, S, D)"""
        return [layer.attention.keys_values(context) for layer in self.layers[::2]]

    def modulations(self, time: Tensor) -> Modulations:
        """What each layer scales, shifts and gates by at times (N,) in [0, 1], and the prior of then."""
        width = self.position.shape[-1]
        embedding = create_sinusoidal_pos_embedding(time, width, MIN_PERIOD, MAX_PERIOD, device=time.device)
        embedding = self.time_mlp(embedding.to(self.position.dtype))  # (N, D)
        return Modulations([layer.modulation(embedding) for layer in self.layers], self.prior.at(time))

    def forward(self, x_t: Tensor, modulations: Modulations, context: KeysValues) -> Tensor:
        """Velocity of noisy actions.

        Args:
            x_t: (B·K, chunk, A): K draws of each of B observations, those of an observation next to each other.
            modulations: Of the times of B·K rows, or of one time for all.
            context: From `context_keys_values`, of B observations.

        Returns:
            (B·K, chunk, A)
        """
        x_mean, x_std, v_slope, v_std = (each[:, None] for each in modulations.prior)  # (B·K or 1, 1, A)
        deviation = x_t - x_mean
        tokens = self.action_in(deviation / x_std) + self.position
        recompute = self.checkpointing and self.training
        for i, (layer, modulation) in enumerate(zip(self.layers, modulations.layers, strict=True)):
            arguments = tokens, modulation, context[i // 2] if i % 2 == 0 else None
            tokens = checkpoint(layer, *arguments, use_reentrant=False) if recompute else layer(*arguments)
        expected = v_slope * deviation - self.prior.mean
        return expected + v_std * self.action_out(self.norm(tokens))
