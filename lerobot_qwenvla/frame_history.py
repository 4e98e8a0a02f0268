"""What a running policy remembers of the frames it has seen, so that none is encoded twice.

A decision at step t looks at frames t-4, t-2, t (say). Frames are encoded when a decision first needs them; the next
decision finds the features of those it shares. This is exact because every frame is its own sequence.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Encode = Callable[[dict[str, Tensor], list[str]], Tensor]


@dataclass(eq=False)
class _Frame:
    images: dict[str, Tensor]  # per camera (B, C, H, W)
    instructions: list[str]  # what the features have read
    features: Tensor | None = None  # (B, T, D)


class FrameHistory:
    """The last frames of the running episodes of a batch of environments, all at the same step."""

    def __init__(self, frame_offsets: list[int], encode: Encode) -> None:
        """`frame_offsets` ends with 0, the current frame; `encode` maps pictures (N, C, H, W) per camera and N
        instructions to features (N, T, D)."""
        self.frame_offsets = frame_offsets
        self.encode = encode
        self._frames: deque[_Frame] = deque(maxlen=1 - min(frame_offsets))
        self.encoded = 0  # frames that went through the backbone since the start
        self.reused = 0  # frames a decision found encoded

    def clear(self) -> None:
        """Forgets everything: a new episode begins."""
        self._frames.clear()

    def push(self, images: dict[str, Tensor], instructions: list[str]) -> None:
        """Adds the current step's frame.  # images: per camera (B, C, H, W); B instructions"""
        self._frames.append(_Frame(images, instructions))

    def features(self) -> Tensor:
        """Features of the frames that a decision at the current step looks at.  # (B, F, T, D)

        Before the start of the episode its first frame is repeated.
        """
        assert self._frames, "push a frame first"
        newest = len(self._frames) - 1
        window = [self._frames[max(0, newest + offset)] for offset in self.frame_offsets]
        current = window[-1].instructions
        distinct = list(dict.fromkeys(window))
        missing = [frame for frame in distinct if frame.features is None or frame.instructions != current]
        if missing:
            images = {camera: torch.cat([frame.images[camera] for frame in missing]) for camera in missing[0].images}
            features = self.encode(images, current * len(missing))
            for frame, encoded in zip(missing, features.chunk(len(missing)), strict=True):
                frame.features, frame.instructions = encoded, current
        self.encoded += len(missing)
        self.reused += len(distinct) - len(missing)
        return torch.stack([frame.features for frame in window], dim=1)
