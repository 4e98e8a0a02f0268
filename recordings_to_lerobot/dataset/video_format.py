"""What all videos of a dataset have in common."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoFormat:
    """What all videos of a dataset have in common, so that LeRobot can join them."""

    codec: str
    pix_fmt: str
