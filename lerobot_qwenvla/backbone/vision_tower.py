"""The vision tower of Qwen3-VL over a batch of pictures of one size."""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
    apply_rotary_pos_emb_vision,
)

Grid = tuple[int, int]  # patches of a picture: rows, columns


class VisionTower(Qwen3VLVisionModel):
    """transformers' vision tower with a second way through it, for pictures that share a patch grid.

    `forward` packs pictures of any size into one row and attends to one after the other; `encode_images` keeps a batch.
    It uses the same modules, multiplies patches by a matrix instead of convolving them, and computes the tables of
    positions once per grid.
    """

    _keys_to_ignore_on_load_unexpected = [r"language_model\.", r"lm_head\."]  # noqa: RUF012

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self._tables: dict[tuple[Grid, torch.device], tuple[Tensor, tuple[Tensor, Tensor]]] = {}

    def encode_images(self, patches: Tensor, grid: Grid) -> Tensor:
        """What the text layers need to know of pictures.

        Args:
            patches: (N, S, P) of N pictures, in the order of transformers' image processor.
            grid: Rows and columns of patches, S in all.

        Returns:
            (N, 1 + K, T, D): embeddings of a picture's T tokens, and what the first K text layers add behind them.
        """
        kernel = self.patch_embed.proj
        position, rotation = self._position_tables(grid)
        # A convolution whose stride is its kernel is a matrix product.
        hidden = (
            F.linear(patches.to(kernel.weight.dtype), kernel.weight.flatten(1), kernel.bias) + position
        )  # (N, S, W)
        levels = []
        for i, block in enumerate(self.blocks):
            hidden = hidden + _attend(block.attn, block.norm1(hidden), rotation)
            hidden = hidden + block.mlp(block.norm2(hidden))
            if i in self.deepstack_visual_indexes:
                levels.append(self.deepstack_merger_list[len(levels)](hidden))  # (N·T, D)
        levels.insert(0, self.merger(hidden))
        return torch.stack([level.unflatten(0, (len(patches), -1)) for level in levels], dim=1)

    def _position_tables(self, grid: Grid) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Learned positions (S, W), and cosine and sine of the rotation (S, head size)."""
        device = self.pos_embed.weight.device
        if (grid, device) not in self._tables:
            with torch.inference_mode(False), torch.no_grad():  # they outlive this call, and may be trained with
                grid_thw = torch.tensor([[1, *grid]], device=device)
                angle = self.rot_pos_emb(grid_thw).repeat(1, 2)
                self._tables[grid, device] = self.fast_pos_embed_interpolate(grid_thw), (angle.cos(), angle.sin())
        return self._tables[grid, device]


def _attend(attention: Qwen3VLVisionAttention, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Every patch attends to the patches of its own picture.  # (N, S, W)"""
    query, key, value = attention.qkv(hidden).unflatten(-1, (3, attention.num_heads, -1)).unbind(2)  # (N, S, H, W/H)
    query, key = apply_rotary_pos_emb_vision(query, key, *rotation)
    attended = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return attention.proj(attended.transpose(1, 2).flatten(2))
