"""What all checks share: the error they raise, and how they word it."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


def printable(text: str) -> str:
    """Text as every file takes it: Python keeps bytes of a path that are no UTF-8 as halves of characters."""
    return text.encode(errors="backslashreplace").decode()


class RecordingError(ValueError):
    """Recordings that cannot be converted; `problems` has one line for each thing to repair."""

    def __init__(self, *problems: str):
        self.problems = tuple(printable(problem) for problem in problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class Problems:
    """Collects what is wrong with a recording, so that all of it is reported and not only the first."""

    def __init__(self):
        self._found: list[str] = []

    def attempt[T](self, read: Callable[[], T]) -> T | None:
        """What `read` returns; None, and its problems are kept, if it raises RecordingError."""
        try:
            return read()
        except RecordingError as error:
            self._found += error.problems
            return None

    def add(self, problem: str) -> None:
        """Keeps one more."""
        self._found.append(problem)

    def check(self) -> None:
        """Raises RecordingError if there is any."""
        if self._found:
            raise RecordingError(*self._found)


class StrictModel(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


def explain(error: ValidationError) -> str:
    """The first problem in words: what is wrong where, and the offending value."""
    problem = error.errors()[0]
    field = str(problem["loc"][-1]) if problem["loc"] else None
    if problem["type"] == "json_invalid":
        return f"broken JSON: {problem['ctx']['error']}"
    if problem["type"] == "missing":
        kind = problem["input"].get("kind") if isinstance(problem["input"], dict) else None
        return f"{kind or 'the file'} lacks `{field}`"
    value = repr(problem["input"])
    shown = value if len(value) <= 80 else value[:77] + "..."
    return f"{f'`{field}` is ' if field else ''}{shown}: {problem['msg']}"


def require_file(path: Path, may_be_empty: bool = False) -> int:
    """Size of a file in bytes, which must exist and, unless it may be empty, hold something."""
    if not path.is_file():
        raise RecordingError(f"{path}: missing; re-export the recording, or remove its folder")
    size_bytes = path.stat().st_size
    if size_bytes == 0 and not may_be_empty:
        raise RecordingError(f"{path}: empty (0 bytes); re-export the recording, or remove its folder")
    return size_bytes
