"""What all episodes of a dataset have in common; kept in a file, datasets that are converted apart fit together."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from recordings_to_lerobot.dataset.video_format import VideoFormat
from recordings_to_lerobot.recordings.files import write_whole
from recordings_to_lerobot.recordings.validation import RecordingError, explain

# What LeRobot can encode and edit.
_Codec = Literal["h264", "av1"]
_Positive = Annotated[int, Field(gt=0, strict=True)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Layout:
    """What is measured of recordings; what is chosen is among the options of a conversion.

    Attributes:
        fps: Rows a second.
        width_px, height_px: Of the pictures.
        codec, pix_fmt: Of the videos, as PyAV calls them.
        mouse_scale: Counts of a captured mouse that make 1; None without `--mouse=relative`.
    """

    fps: _Positive
    width_px: _Positive
    height_px: _Positive
    codec: _Codec
    pix_fmt: str
    mouse_scale: float | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self.width_px, self.height_px

    @property
    def video(self) -> VideoFormat:
        """Codec and pixel format of the videos."""
        return VideoFormat(self.codec, self.pix_fmt)


def read_layout(path: Path) -> Layout:
    """A layout from its file.

    Raises:
        RecordingError: It cannot be read, or is none.
    """
    try:
        return TypeAdapter(Layout).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}; let a dry run over a sample write it") from None
    except ValidationError as error:
        raise RecordingError(f"{path}: {explain(error)}; let a dry run over a sample write it") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise RecordingError(f"{path}: not YAML; let a dry run over a sample write it") from None


def write_layout(path: Path, layout: Layout) -> None:
    """Keeps a layout in a file."""
    content = yaml.safe_dump(TypeAdapter(Layout).dump_python(layout), sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(content, encoding="utf-8"))
