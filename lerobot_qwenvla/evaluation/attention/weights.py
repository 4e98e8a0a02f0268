"""How much of a decision's attention each picture token gets, and each token of the instruction.

In every second layer, at every time of the solver, the expert's queries share softmax(q·k/√d) among the context.
`scaled_dot_product_attention` does not tell these weights, so they are computed once more here, from the queries and
keys of a real decision, which forward hooks overhear; the decision itself is as ever.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lerobot_qwenvla.features.columns import column_of_camera
from lerobot_qwenvla.policy.algorithm.context import POOL_STRIDE, CameraProjector
from lerobot_qwenvla.policy.algorithm.expert import Attention
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

# What modules were given and what they gave, of each call.
Overheard = dict[nn.Module, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Shares:
    """Of the attention of B decisions. In each layer, those of all pictures and of the state add up to one.

    Attributes:
        pictures: Per camera that of each token.  # (B, layers, F, rows, columns)
        state: That of the state's token; None where the policy has none.  # (B, layers)
        words: That of each token of the instruction, by head of its pooling; padding has none.  # (B, heads, L)
    """

    pictures: dict[str, Tensor]
    state: Tensor | None
    words: Tensor


def attend(policy: QwenVLAPolicy, batch: dict[str, Any], noise: Tensor | None = None) -> Shares:
    """Lets the policy decide, and tells where it looked.

    A layer's map is a mean of distributions, and so one itself: over the heads; over the executed actions, as the
    others are decided anew before they count; and over the times of the solver, as an action is the sum of what is
    computed at each. With guidance, of the half that is told the instruction.

    Args:
        policy: Not compiled, which hooks do not reach into.
        batch: A preprocessed one of B decisions, with all their frames.
        noise: Fixes the sample.  # (B, chunk, A)
    """
    context, layers = policy.model.context, [layer.attention for layer in policy.model.expert.layers[::2]]
    pooling = context.instruction
    with overhear([pooling, pooling.score, *(part for a in layers for part in (a.query, a.key_value))]) as heard:
        rows = len(policy.predict_action_chunk(batch, noise=noise))
    by_layer = [context_shares(layer, heard, rows, policy.config.n_action_steps) for layer in layers]
    shares = torch.stack(by_layer, dim=1)  # (B, layers, S)
    pictures = {}
    for camera, project in zip(context.camera_names, context.cameras, strict=True):
        if camera in batch or column_of_camera(camera) in batch:
            shape = policy.config.num_frames, *_grid(project)
            tokens, shares = shares.tensor_split([torch.Size(shape).numel()], dim=-1)
            pictures[camera] = tokens.unflatten(-1, shape)
    state = shares[..., 0] if context.state_in is not None else None
    assert shares.shape[-1] == (state is not None)
    [(words, _)], [(_, scores)] = heard[pooling], heard[pooling.score]
    return Shares(pictures, state, word_shares(words[:rows], scores[:rows]))


@contextmanager
def overhear(modules: Sequence[nn.Module]) -> Iterator[Overheard]:
    """Within it, collects what goes in and out of modules of one input."""
    heard: Overheard = {module: [] for module in modules}

    def listen(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        heard[module].append((inputs[0], output))

    handles = [module.register_forward_hook(listen) for module in modules]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def context_shares(attention: Attention, heard: Overheard, rows: int, queries: int) -> Tensor:
    """Mean attention of the first queries of the first rows to each token of the context.  # (rows, S)"""
    [(_, keys_values)] = heard[attention.key_value]
    keys = keys_values[:rows].chunk(2, dim=-1)[0].unflatten(-1, (attention.heads, -1))  # (B, S, H, D/H)
    means = []
    for _, query in heard[attention.query]:
        query = query[:rows, :queries].unflatten(-1, (attention.heads, -1))  # (B, T, H, D/H)
        scores = torch.einsum("bthd,bshd->bhts", query, keys).float() * keys.shape[-1] ** -0.5
        means.append(scores.softmax(-1).mean((1, 2)))
    return torch.stack(means).mean(0)


def word_shares(words: Tensor, scores: Tensor) -> Tensor:
    """What heads make of their scores (B, L, H) of words (B, L, D) that are padded with zeros.  # (B, H, L)"""
    is_padding = (words == 0).all(-1, keepdim=True)
    return scores.masked_fill(is_padding, -torch.inf).softmax(dim=1).transpose(1, 2)


def _grid(project: CameraProjector) -> tuple[int, int]:
    """Rows and columns of the tokens that are left of a picture."""
    rows, columns = (-(-side // POOL_STRIDE) if project.pool else side for side in project.grid)
    return rows, columns
