"""What a running policy remembers of the frames it has seen, so that none goes through the backbone twice.

A decision at step t looks at frames t-4, t-2, t (say). The backbone works in two steps, and both are kept: a frame is
looked at once (vision tower), and read once per instruction (text layers). The second is exact where every frame is a
sequence of its own (`per_frame`); in one sequence (`joint`) what is read of a frame depends on the frames before
it, so the frames are read together at every decision, and only the looking is kept.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lerobot_qwenvla.backbone import FrozenBackbone

Key = tuple[Hashable, str]  # environment, camera


@dataclass(eq=False)
class _Frame:
    step: int
    grid: tuple[int, int]  # rows and columns of tokens
    image: Tensor | None  # (C, H, W), until looked at
    visual: Tensor | None = None  # (1 + K, T, D), once looked at
    features: dict[str, Tensor] = field(default_factory=dict)  # instruction → (T, D), once read


class FeatureCache:
    """The last frames of running episodes, by environment, camera, step and instruction."""

    def __init__(self, backbone: FrozenBackbone, frame_offsets: list[int], *, joint: bool) -> None:
        """`frame_offsets`, in steps, ends with 0, the current frame."""
        self.backbone = backbone
        self.frame_offsets = frame_offsets
        self.joint = joint
        self._frames: dict[Key, deque[_Frame]] = {}
        self._steps: dict[Hashable, int] = {}
        self.misses = 0  # frames that went through the vision tower
        self.hits = 0  # frames a decision found already looked at

    def clear(self, env: Hashable | None = None) -> None:
        """Forgets an environment's episode, or all of them."""
        # New dictionaries: another thread may be deciding on the old ones.
        self._frames = {key: frames for key, frames in self._frames.items() if env not in (None, key[0])}
        self._steps = {key: step for key, step in self._steps.items() if env not in (None, key)}

    def push(self, images: dict[str, Tensor], envs: Sequence[Hashable]) -> None:
        """Adds the current step's frame of every environment.  # per camera (B, C, H, W); B environments"""
        grids = {camera: self.backbone.token_grid(batch.shape[1:]) for camera, batch in images.items()}
        for row, env in enumerate(envs):
            step = self._steps[env] = self._steps.get(env, -1) + 1
            for camera, batch in images.items():
                frames = self._frames.setdefault((env, camera), deque())
                # A copy: the caller may fill its tensor with the next picture before this one is looked at.
                frames.append(_Frame(step, grids[camera], batch[row].clone()))
                # Keep the newest frame that is old enough for the oldest one a decision looks at.
                while len(frames) > 1 and frames[1].step <= step + self.frame_offsets[0]:
                    frames.popleft()

    def encode(self, instructions: Sequence[str], envs: Sequence[Hashable]) -> None:
        """Takes the current frames through the backbone now, rather than when a decision asks for them."""
        for camera in self._cameras(envs):
            windows = [[self._frames[env, camera][-1]] for env in envs]
            self._look(windows)
            if not self.joint:
                self._read_missing(windows, instructions)

    def features(self, instructions: Sequence[str], envs: Sequence[Hashable]) -> dict[str, Tensor]:
        """Features of the frames that a decision at the current step looks at.

        Before the start of an episode its first frame is repeated. Only cameras whose current frame is there are in
        the result.

        Args:
            instructions: B texts.
            envs: B environments; one may be asked for with several instructions.

        Returns:
            Per camera (B, F, T, D).
        """
        # All windows first, so that an episode that another thread ends meanwhile is still decided on as a whole.
        windows_of = {camera: [self._window(env, camera) for env in envs] for camera in self._cameras(envs)}
        features = {}
        for camera, windows in windows_of.items():
            distinct = {frame for window in windows for frame in window}
            self.hits += len(distinct) - self._look(windows)
            if self.joint:
                visual = torch.stack([torch.stack([frame.visual for frame in window]) for window in windows])
                features[camera] = self.backbone.read(visual, instructions, windows[0][0].grid)
            else:
                self._read_missing(windows, instructions)
                rows = zip(windows, instructions, strict=True)
                features[camera] = torch.stack(
                    [torch.stack([frame.features[text] for frame in window]) for window, text in rows]
                )
        return features

    def _cameras(self, envs: Sequence[Hashable]) -> list[str]:
        """Cameras that every one of the environments has a current frame of."""
        current = {key for key, frames in self._frames.items() if frames[-1].step == self._steps[key[0]]}
        cameras = dict.fromkeys(camera for _, camera in self._frames)
        return [camera for camera in cameras if all((env, camera) in current for env in envs)]

    def _window(self, env: Hashable, camera: str) -> list[_Frame]:
        """The frames to look at, oldest first: at each offset the newest that is old enough, else the first."""
        frames = self._frames[env, camera]
        newest = self._steps[env]
        return [
            next((frame for frame in reversed(frames) if frame.step <= newest + offset), frames[0])
            for offset in self.frame_offsets
        ]

    def _look(self, windows: list[list[_Frame]]) -> int:
        """Looks at the frames not looked at yet, all at once; returns how many."""
        missing = list(dict.fromkeys(frame for window in windows for frame in window if frame.visual is None))
        if missing:
            visual = self.backbone.look(torch.stack([frame.image for frame in missing]))
            for frame, one in zip(missing, visual, strict=True):
                frame.visual, frame.image = one, None
        self.misses += len(missing)
        return len(missing)

    def _read_missing(self, windows: list[list[_Frame]], instructions: Sequence[str]) -> None:
        rows = zip(windows, instructions, strict=True)
        missing = [(frame, text) for window, text in rows for frame in window if text not in frame.features]
        missing = list(dict.fromkeys(missing))
        if missing:
            visual = torch.stack([frame.visual for frame, _ in missing])[:, None]  # one frame a sequence
            features = self.backbone.read(visual, [text for _, text in missing], windows[0][0].grid)[:, 0]
            for (frame, text), one in zip(missing, features, strict=True):
                frame.features[text] = one
