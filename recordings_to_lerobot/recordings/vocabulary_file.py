"""A key vocabulary of one's own, from a YAML file.

    w: 0x57
    jump: [0x20, 0x58]   # space or x

Each key gets a channel `key.<name>`, in the order of the file.
"""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, RootModel, ValidationError

from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.recordings.events import VirtualKeyCode
from recordings_to_lerobot.recordings.validation import RecordingError, explain, require_file

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


Codes = VirtualKeyCode | Annotated[list[VirtualKeyCode], Field(min_length=1)]


class _Vocabulary(RootModel):
    root: Annotated[dict[KeyName, Codes], Field(min_length=1)]


def read_key_codes(path: Path) -> KeyCodes:
    """Reads a vocabulary.

    Raises:
        RecordingError: The file is missing, is not a mapping of names to codes, or gives a code to two keys.
    """
    require_file(path)
    try:
        entries = _Vocabulary.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")), strict=True).root
    except ValidationError as error:
        raise RecordingError(f"{path}: {explain(error)}; write `name: code` or `name: [code, code]`") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: {' '.join(str(error).split())}; write it as UTF-8 YAML") from None
    key_codes = {name: tuple(codes) if isinstance(codes, list) else (codes,) for name, codes in entries.items()}
    owner: dict[int, str] = {}
    for name, codes in key_codes.items():
        for code in codes:
            if owner.setdefault(code, name) != name:
                raise RecordingError(f"{path}: code {code} belongs to `{owner[code]}` and `{name}`; give it to one")
    return key_codes
