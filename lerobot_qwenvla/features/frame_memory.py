"""What a running policy remembers of the frames it has seen, so that none goes through the backbone twice.

A decision at step t looks at frames t-4, t-2, t (say), found by the step that the caller says a frame is of. The
backbone works in two steps, and both are kept: a frame is encoded once (vision tower), and read once per instruction
(text layers). The second is exact where every frame is a sequence of its own (`per_frame`); in one sequence (`joint`)
what is read of a frame depends on the frames before it, so the frames are read together at every decision.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from lerobot_qwenvla.backbone import FrozenBackbone


@dataclass(eq=False)
class Frame:
    """A picture, as far as it went through the backbone."""

    step: int
    grid: tuple[int, int]  # rows and columns of tokens
    image: Tensor | None  # (C, H, W), until encoded
    visual: Tensor | None = None  # (1 + K, T, D), once encoded
    features: dict[str, Tensor] = field(default_factory=dict)  # instruction → (T, D), once read


# Per camera: the frames that each of B decisions looks at, oldest first.
Windows = dict[str, list[list[Frame]]]


class FrameMemory:
    """The last frames of running episodes, by session, camera, step and instruction.

    One thread may push while another encodes, and a third ends an episode: a decision goes on with the frames it has.
    """

    def __init__(self, backbone: FrozenBackbone, frame_offsets: list[int]) -> None:
        """`frame_offsets`, in steps, ends with 0, the current frame."""
        self.backbone = backbone
        self.frame_offsets = frame_offsets
        self._frames: dict[Hashable, dict[str, list[Frame]]] = {}  # by session and camera, in the order of their steps
        self._frames_lock = Lock()
        self._backbone_lock = Lock()
        self.misses = 0  # frames that went through the vision tower
        self.hits = 0  # frames a decision found encoded already

    def reset(self, session: Hashable | None = None) -> None:
        """Forgets a session's episode, or all of them."""
        with self._frames_lock:
            if session is None:
                self._frames.clear()
            else:
                self._frames.pop(session, None)

    def push(self, images: dict[str, Tensor], sessions: Sequence[Hashable], steps: Sequence[int]) -> Windows:
        """Adds a frame to each of B sessions and returns what a decision about it looks at.

        At each offset that is the newest frame which is old enough, before the start of an episode its first one. Of
        frames of the same step the last one counts.

        Args:
            images: Per camera (B, C, H, W).
            sessions: B keys.
            steps: Of which step of its episode each frame is.
        """
        with self._frames_lock:
            return {
                camera: [
                    self._add(session, camera, step, image)
                    for session, step, image in zip(sessions, steps, batch, strict=True)
                ]
                for camera, batch in images.items()
            }

    def _add(self, session: Hashable, camera: str, step: int, image: Tensor) -> list[Frame]:
        frames = self._frames.setdefault(session, {}).setdefault(camera, [])
        # A copy: the caller may fill its tensor with the next picture before this one is encoded.
        frame = Frame(step, self.backbone.token_grid(image.shape), image.clone())
        at = bisect_left(frames, step, key=lambda other: other.step)
        frames[at : bisect_right(frames, step, key=lambda other: other.step)] = [frame]
        # Nothing before the newest frame that is old enough for the oldest offset is looked at again.
        oldest = bisect_right(frames, frames[-1].step + self.frame_offsets[0], key=lambda other: other.step)
        window = [
            frames[max(0, bisect_right(frames, step + offset, key=lambda other: other.step) - 1)]
            for offset in self.frame_offsets
        ]
        del frames[: max(0, oldest - 1)]
        return window

    def encode(self, windows: Windows, instructions: Sequence[str]) -> dict[str, Tensor]:
        """Features of the frames that decisions look at.

        Args:
            windows: Of B decisions.
            instructions: R·B texts: every decision may be read with R of them, one after the other.

        Returns:
            Per camera (R·B, F, T, D).
        """
        with self._backbone_lock:
            return {camera: self._encode(rows, instructions) for camera, rows in windows.items()}

    def words(self, instructions: Sequence[str], device: torch.device) -> Tensor:
        """Features of the words of R·B instructions.  # (R·B, L, D)"""
        with self._backbone_lock:
            return self.backbone.words(list(instructions), device)

    def encode_current(self, windows: Windows, instructions: Sequence[str]) -> None:
        """Takes the current frames through the backbone now, rather than when a decision asks for them."""
        with self._backbone_lock:
            for rows in windows.values():
                current = [row[-1:] for row in rows]
                self._encode_images(current)
                if not self._is_joint:
                    self._read_missing(current * (len(instructions) // len(current)), instructions)

    @property
    def _is_joint(self) -> bool:
        return self.backbone.settings.frame_encoding == "joint"

    def _encode(self, rows: list[list[Frame]], instructions: Sequence[str]) -> Tensor:
        distinct = {frame for row in rows for frame in row}
        self.hits += len(distinct) - self._encode_images(rows)
        rows = rows * (len(instructions) // len(rows))
        if self._is_joint:
            visual = torch.stack([torch.stack([frame.visual for frame in row]) for row in rows])
            return self.backbone.read(visual, list(instructions), rows[0][0].grid)
        self._read_missing(rows, instructions)
        return torch.stack(
            [torch.stack([frame.features[text] for frame in row]) for row, text in zip(rows, instructions, strict=True)]
        )

    def _encode_images(self, rows: list[list[Frame]]) -> int:
        """Encodes the frames not encoded yet, all at once; returns how many."""
        missing = list(dict.fromkeys(frame for row in rows for frame in row if frame.visual is None))
        if missing:
            visual = self.backbone.encode_images(torch.stack([frame.image for frame in missing]))
            for frame, one in zip(missing, visual, strict=True):
                frame.visual, frame.image = one, None
        self.misses += len(missing)
        return len(missing)

    def _read_missing(self, rows: list[list[Frame]], instructions: Sequence[str]) -> None:
        pairs = [(frame, text) for row, text in zip(rows, instructions, strict=True) for frame in row]
        missing = list(dict.fromkeys(pair for pair in pairs if pair[1] not in pair[0].features))
        if missing:
            visual = torch.stack([frame.visual for frame, _ in missing])[:, None]  # one frame a sequence
            features = self.backbone.read(visual, [text for _, text in missing], missing[0][0].grid)[:, 0]
            for (frame, text), one in zip(missing, features, strict=True):
                frame.features[text] = one
