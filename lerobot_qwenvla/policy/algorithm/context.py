"""What the action expert looks at: features of the frames, as the instruction changes them, and the state."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pooling makes one token of POOL_STRIDE × POOL_STRIDE neighbours.
POOL_STRIDE = 2

# Normalised states are about 1, at most a few; what is far beyond was not seen in training and must not flood the rest.
STATE_LIMIT = 10.0

# Of a channel of the words' features. What varies less is rounding.
SMALLEST_STD = 1e-3


@dataclass(frozen=True)
class Features:
    """What the backbone made of B observations.

    Attributes:
        pictures: Per camera (B, F, T, D).
        words: Of their instructions, padded with zeros.  # (B, L, D)
    """

    pictures: dict[str, Tensor]
    words: Tensor

    def __len__(self) -> int:
        return len(self.words)


class InstructionPooling(nn.Module):
    """The tokens of an instruction → one vector, of which each head listens to other words.

    What all instructions of the recordings have in common is taken off, and what tells them apart is of unit size:
    otherwise it is a hundredth of what scales the picture tokens, and training needs thousands of steps to hear it.
    """

    def __init__(self, *, width: int, feature_width: int, heads: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_width))
        self.register_buffer("std", torch.ones(feature_width))
        self.score = nn.Linear(feature_width, heads, bias=False)
        nn.init.zeros_(self.score.weight)  # hears all words alike at first
        self.project = nn.Linear(feature_width, width, bias=False)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    @torch.no_grad()
    def fit(self, words: Tensor) -> None:
        """Takes what the instructions (N, L, D) of a dataset have in common."""
        tokens = words[~_is_padding(words)].float()
        self.mean.copy_(tokens.mean(0))
        self.std.copy_(tokens.std(0).clamp(min=SMALLEST_STD))

    def forward(self, words: Tensor) -> Tensor:  # (B, L, D) → (B, W)
        tokens = (words.float() - self.mean) / self.std  # frozen features come in the type they are kept in
        is_padding = _is_padding(words)[..., None]  # (B, L, 1)
        attention = self.score(tokens).masked_fill(is_padding, -torch.inf).softmax(dim=1)  # (B, L, H)
        values = self.project(tokens).unflatten(-1, (attention.shape[-1], -1))  # (B, L, H, W/H)
        return self.norm((attention[..., None] * values).sum(1).flatten(1))


def _is_padding(words: Tensor) -> Tensor:  # (B, L, D) → (B, L)
    return (words == 0).all(-1)


class CameraProjector(nn.Module):
    """Features of a camera's frames → tokens of the expert's width, fewer of them where they are pooled.

    The instruction scales and shifts them (FiLM, Perez et al. 2018): what it names can stand out, and the rest recede.
    """

    def __init__(self, grid: tuple[int, int], *, width: int, feature_width: int, frames: int, pooling: str) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(feature_width)
        # Twice: after the first, a token can say what is red and what is a ball, after the second what is both.
        self.project = nn.ModuleList((nn.Linear(feature_width, width), nn.Linear(width, width)))
        self.film = nn.ModuleList(nn.Linear(width, 2 * width) for _ in self.project)
        self.pool = TokenPooling(width, learned=pooling == "learned") if pooling != "none" else None
        rows, columns = (-(-side // POOL_STRIDE) for side in grid) if self.pool else grid
        self.frame_embedding = nn.Parameter(torch.randn(frames, 1, width) * 0.02)
        self.token_embedding = nn.Parameter(torch.randn(rows * columns, width) * 0.02)

    def forward(self, features: Tensor, instruction: Tensor) -> Tensor:
        """features (B, F, T, D), instruction (B, W) → (B, F, T', W)"""
        tokens = self.norm(features.float())
        for project, film in zip(self.project, self.film, strict=True):
            scale, shift = film(instruction)[:, None, None].chunk(2, dim=-1)  # (B, 1, 1, W)
            tokens = F.gelu(project(tokens) * (1 + scale) + shift)
        if self.pool:
            tokens = self.pool(tokens, self.grid)
        return tokens + self.frame_embedding + self.token_embedding


class TokenPooling(nn.Module):
    """One token of each square of neighbours: their average, or a learned mixture that starts as their average."""

    def __init__(self, width: int, *, learned: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, POOL_STRIDE, stride=POOL_STRIDE, bias=False) if learned else None
        if self.mix:
            with torch.no_grad():
                self.mix.weight.copy_(torch.eye(width)[:, :, None, None] / POOL_STRIDE**2)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens (B, F, rows·columns, W) → (B, F, ⌈rows/2⌉·⌈columns/2⌉, W); a lone border token counts twice."""
        picture = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, grid)  # (B·F, W, rows, columns)
        picture = F.pad(picture, (0, grid[1] % POOL_STRIDE, 0, grid[0] % POOL_STRIDE), mode="replicate")
        pooled = self.mix(picture) if self.mix else F.avg_pool2d(picture, POOL_STRIDE)
        return pooled.flatten(2).transpose(1, 2).unflatten(0, tokens.shape[:2])


class ContextProjector(nn.Module):
    """Features of every camera and the state → one row of context tokens."""

    def __init__(
        self, cameras: dict[str, CameraProjector], instruction: InstructionPooling, *, width: int, state: int
    ) -> None:
        super().__init__()
        self.camera_names = list(cameras)
        self.instruction = instruction
        self.cameras = nn.ModuleList(cameras.values())
        self.state_in = nn.Sequential(nn.Linear(state, width), nn.LayerNorm(width)) if state else None
        self.hidden_state = nn.Parameter(torch.zeros(width)) if state else None
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Features, state: Tensor | None, hide_state: Tensor) -> Tensor:
        """Context of one decision.

        Args:
            features: Of the cameras that are there; the tokens of a missing one are left out.
            state: (B, S), or None where the policy has none.
            hide_state: (B,) bool, where the state is replaced by a learned vector.

        Returns:
            (B, tokens of all cameras' frames (+ 1), W)
        """
        instruction = self.instruction(features.words)  # (B, W)
        tokens = [
            project(features.pictures[camera], instruction).flatten(1, 2)
            for camera, project in zip(self.camera_names, self.cameras, strict=True)
            if camera in features.pictures
        ]
        if self.state_in is not None:
            # Nothing of a hidden state gets in: not even a NaN, which would come back in the gradient.
            state = state.masked_fill(hide_state[:, None], 0.0)
            state = self.state_in(state.clamp(-STATE_LIMIT, STATE_LIMIT))  # (B, W)
            tokens.append(torch.where(hide_state[:, None], self.hidden_state, state)[:, None])
        return self.norm(torch.cat(tokens, dim=1))
