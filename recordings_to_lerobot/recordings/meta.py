"""`meta.json`: frame rate, canvas size, clock frequency, and whatever else the recorder noted."""

import json
import math
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from recordings_to_lerobot.recordings.validation import RecordingError, StrictModel, explain, require_file


class Meta(StrictModel):
    """`meta.json`; keys it does not name are kept as they are."""

    model_config = ConfigDict(extra="allow")

    fps: Annotated[float, Field(gt=0, le=1000)]
    canvas_w: Annotated[int, Field(ge=2)]
    canvas_h: Annotated[int, Field(ge=2)]
    qpc_freq: Annotated[int, Field(gt=0)]
    offset_ms: float = 0
    task: str | None = None
    session: str | int | None = None  # recordings of one session belong together


def read_meta(path: Path) -> Meta:
    """Reads `meta.json`.

    Raises:
        RecordingError: It is missing, broken, or a field is missing or of the wrong type or range.
    """
    require_file(path)
    try:
        # The standard parser, because it can be told to refuse numbers that no JSON file may hold.
        fields = json.loads(path.read_bytes().decode("utf-8-sig"), parse_float=_finite, parse_constant=_finite)
        # JSON may escape halves of characters, which no file and no table takes.
        json.dumps(fields, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        remedy = "correct it or re-export the recording"
        raise RecordingError(f"{path}:{error.lineno}: broken JSON: {error.msg}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: unreadable: {error}; write it as UTF-8 JSON") from None
    try:
        return Meta.model_validate(fields)
    except ValidationError as error:
        raise RecordingError(f"{path}: {explain(error)}; correct meta.json") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
