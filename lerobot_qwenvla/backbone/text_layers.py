"""The first text layers of Qwen3-VL, in two steps: an instruction is read once, then pictures behind it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, DynamicCache, Qwen3VLTextConfig, Qwen3VLTextModel

from lerobot_qwenvla.backbone.prefix_cache import Prefixes


class TextLayers(Qwen3VLTextModel):
    """transformers' text model built with fewer layers than its checkpoint holds, and without the final norm.

    What it returns is exactly the full model's `hidden_states[num_hidden_layers]`.
    """

    _keys_to_ignore_on_load_unexpected = [r"layers\.", r"norm\.", r"visual\.", r"lm_head\."]  # noqa: RUF012

    def __init__(self, config: Qwen3VLTextConfig) -> None:
        super().__init__(config)
        self.norm = nn.Identity()

    def prefill(self, prompts: list[list[int]]) -> tuple[Tensor, list[Tensor]]:
        """Reads N texts before the first picture, padded on the right to the longest.

        Returns:
            (layers, 2, N, heads, P, head size) keys and values, of which those of padding mean nothing; and the hidden
            states of each text's tokens, N times (P, D).
        """
        device = self.embed_tokens.weight.device
        longest = max(map(len, prompts))
        token_ids = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts], device=device)
        cache = DynamicCache(config=self.config)
        position = torch.arange(longest, device=device).expand(3, 1, -1)
        # Causal, so that no text has read the padding behind it.
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        hidden = self._run(self.embed_tokens(token_ids), position, causal[None, None], cache)  # (N, P, D)
        keys_values = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])
        return keys_values, [row[: len(prompt)] for row, prompt in zip(hidden, prompts, strict=True)]

    def read_pictures(self, visual: Tensor, grid: tuple[int, int], prefixes: Prefixes, between: Tensor) -> Tensor:
        """Reads pictures behind instructions that have been read.

        Args:
            visual: (B, F, 1 + K, T, D) of F pictures, one after the other; see `VisionTower.encode_images`.
            grid: Rows and columns of a picture's tokens, T in all.
            prefixes: Of B instructions that have been read.
            between: Tokens between two pictures.  # (G,)

        Returns:
            (B, F, T, D) hidden states of the pictures' tokens.
        """
        batch, frames, levels, tokens, _ = visual.shape
        lengths = torch.tensor(prefixes.lengths, device=visual.device)  # (B,)
        gap = self.embed_tokens(between).expand(batch, frames, -1, -1)  # (B, F, G, D)
        embeddings = torch.cat([visual[:, :, 0], gap], dim=2)  # (B, F, T + G, D)
        deepstack = F.pad(visual[:, :, 1:], (0, 0, 0, gap.shape[2]))  # (B, F, K, T + G, D)
        length = frames * embeddings.shape[2] - gap.shape[2]  # nothing behind the last picture is read
        embeddings = embeddings.flatten(1, 2)[:, :length]
        deepstack = [deepstack[:, :, k].flatten(1, 2)[:, :length] for k in range(levels - 1)]

        position = lengths[:, None] + picture_positions(grid, frames, gap.shape[2], visual.device)[:, None, :length]
        is_text = torch.arange(max(prefixes.lengths), device=visual.device) < lengths[:, None]  # (B, P)
        causal = torch.ones(length, length, dtype=torch.bool, device=visual.device).tril()
        mask = torch.cat([is_text[:, None].expand(-1, length, -1), causal.expand(batch, -1, -1)], dim=2)[:, None]
        hidden = self._run(embeddings, position, mask, prefixes.kv_cache(), deepstack)
        hidden = F.pad(hidden, (0, 0, 0, gap.shape[2])).unflatten(1, (frames, -1))
        return hidden[:, :, :tokens]

    def _run(
        self,
        hidden: Tensor,
        position: Tensor,
        mask: Tensor,
        cache: Cache,
        deepstack: list[Tensor] | tuple[()] = (),
    ) -> Tensor:
        """hidden (B, L, D), position (3, B, L), mask (B, 1, L, past + L) true where seen, deepstack K × (B, L, D)."""
        rotation = self.rotary_emb(hidden, position)
        for i, layer in enumerate(self.layers):
            hidden = layer(hidden, position_embeddings=rotation, attention_mask=mask, past_key_values=cache)
            if i < len(deepstack):
                hidden = hidden + deepstack[i]
        return hidden


def picture_positions(grid: tuple[int, int], frames: int, gap: int, device: torch.device) -> Tensor:
    """Positions in time, row and column of F pictures with `gap` text tokens behind each.  # (3, F·(T + gap))

    Text counts on from the largest position before it; a picture's tokens share one time.  (Qwen3-VL's
    interleaved MRoPE, `Qwen3VLModel.get_rope_index`.)
    """
    rows, columns = grid
    time = torch.zeros(rows * columns, dtype=torch.long, device=device)
    row = torch.arange(rows, device=device).repeat_interleave(columns)
    column = torch.arange(columns, device=device).repeat(rows)
    text = max(grid) + torch.arange(gap, device=device).expand(3, -1)
    one = torch.cat([torch.stack([time, row, column]), text], dim=1)  # (3, T + gap)
    start = (max(grid) + gap) * torch.arange(frames, device=device)
    return (start[:, None] + one[:, None]).flatten(1)
