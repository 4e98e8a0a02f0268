"""Features in files: row after row of bytes, so that a table is written by appending and its length is its progress.

A table is one file in the type the backbone computes in, or two where it is kept in 8 bits: int8, and the scales that
make it whole again. What the bytes mean says the column that points to them (`RowLayout`).
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

QUANTIZATIONS = ("none", "8bit")

# This many values share a scale. Some channels of a picture token are a hundred times larger than the rest ("massive
# activations"); with one scale a token they would push all others to zero, so they only coarsen their neighbours.
BLOCK = 64
INT8_MAX = 127

# Rows that are not in memory are waited for side by side. Threads and not torch's index_select, which splits every
# single row between the cores and waits for all of them: beside busy processes that takes a hundred times as long.
THREADS = 4
ROWS_AT_ONCE = 256  # while a whole table moves
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="features")


class Part(NamedTuple):
    """What a row is in one of a table's files."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def of_bytes(self, rows: Tensor) -> Tensor:
        """(N, nbytes) → (N, *shape)"""
        return rows.view(self.dtype).unflatten(1, self.shape)


@dataclass(frozen=True)
class RowLayout:
    """How the features of a frame are kept.

    Attributes:
        shape: (T, D), or (F, T, D) where a row has the features of all frames of a decision.
        dtype: What they are computed in.
        quantization: "none" keeps them as they are, "8bit" as int8 with a scale for every `BLOCK` values of a token.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    quantization: str = "none"

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> Self:
        """Reads it from what a column says, see `info`.

        Raises:
            ValueError: The column is of another version.
        """
        try:
            shape, quantization = info["features_shape"], info["features_quantization"]
            return cls(tuple(shape), getattr(torch, info["dtype"]), quantization)
        except (KeyError, AttributeError) as error:
            raise ValueError(f"features of another version ({error}); run qwenvla-precompute-features again") from None

    def info(self) -> dict[str, Any]:
        """What a column says of it; the type is part of what the features were computed with."""
        return {"features_shape": list(self.shape), "features_quantization": self.quantization}

    @property
    def parts(self) -> dict[str, Part]:
        """The files of a table, by suffix."""
        if self.quantization == "none":
            return {".bin": Part(self.dtype, self.shape)}
        scales = (*self.shape[:-1], self.shape[-1] // self._block)
        return {".int8.bin": Part(torch.int8, self.shape), ".scales.bin": Part(self.dtype, scales)}

    @property
    def row_bytes(self) -> int:
        """Bytes of a frame, in all files together."""
        return sum(part.nbytes for part in self.parts.values())

    def pack(self, features: Tensor) -> list[Tensor]:
        """Features (N, *shape) as they are kept, one tensor a file."""
        features = features.to(self.dtype)
        if self.quantization == "none":
            return [features]
        blocks = features.unflatten(-1, (-1, self._block)).float()
        scales = (blocks.abs().amax(-1) / INT8_MAX).to(self.dtype)  # rounded first, so that nothing is lost by it
        values = blocks / scales.float().clamp(min=torch.finfo(torch.float32).tiny)[..., None]
        return [values.round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8).flatten(-2), scales]

    def unpack(self, parts: list[Tensor]) -> Tensor:
        """What `pack` was given, in the type it was computed in."""
        if self.quantization == "none":
            return parts[0]
        values, scales = parts
        return (values.unflatten(-1, (-1, self._block)) * scales[..., None]).flatten(-2)

    @property
    def _block(self) -> int:
        return math.gcd(self.shape[-1], BLOCK)


class TableWriter:
    """Appends rows to a table, or goes on with one that was interrupted."""

    def __init__(self, path: Path, layout: RowLayout) -> None:
        """`path` lacks the suffixes of its files."""
        self.layout = layout
        self._files = {path.with_name(path.name + suffix): part for suffix, part in layout.parts.items()}

    def __len__(self) -> int:
        """Rows that are complete."""
        sizes = {path: path.stat().st_size if path.exists() else 0 for path in self._files}
        return min(sizes[path] // part.nbytes for path, part in self._files.items())

    def truncate(self, rows: int) -> None:
        """Drops what is after the first rows."""
        for path, part in self._files.items():
            with path.open("ab") as file:
                file.truncate(rows * part.nbytes)

    def append(self, features: Tensor) -> None:
        """Hands N rows (N, *shape) to the file system: from then on they outlive this process."""
        for path, packed in zip(self._files, self.layout.pack(features), strict=True):
            with path.open("ab") as file:
                file.write(packed.cpu().contiguous().view(torch.uint8).numpy())


class FeatureTable:
    """A complete table, mapped into memory or moved to a device.

    Attributes:
        nbytes: Its size.
    """

    def __init__(self, path: Path, layout: RowLayout, rows: int) -> None:
        """`path` lacks the suffixes of its files.

        Raises:
            ValueError: A file is missing or not of so many rows.
        """
        self.path, self.layout, self._rows = path, layout, rows
        self.nbytes = rows * layout.row_bytes
        self._mapped: dict[str, np.memmap] = {}  # by suffix, (rows, bytes of a row)
        self._on_device: list[Tensor] = []  # once moved, (rows, *shape of a part)
        for suffix, part in layout.parts.items():
            file = path.with_name(path.name + suffix)
            if not file.is_file():
                raise ValueError(f"{file}: missing; copy it again or run qwenvla-precompute-features again")
            if (size := file.stat().st_size) != rows * part.nbytes:
                raise ValueError(
                    f"{file}: {size} bytes, features of {size / part.nbytes:g} frames for a dataset of {rows}; "
                    "copy it again or run qwenvla-precompute-features again"
                )
            # A mapping that could be written to, as torch makes, is refused where it is larger than the memory.
            self._mapped[suffix] = np.memmap(file, np.uint8, mode="r", shape=(rows, part.nbytes))

    def to(self, device: torch.device) -> None:
        """Reads all of it into the memory of a device, from which rows are taken from now on."""
        for suffix, part in self.layout.parts.items():
            whole = torch.empty((self._rows, part.nbytes), dtype=torch.uint8, device=device)
            for rows in np.array_split(np.arange(self._rows), -(-self._rows // ROWS_AT_ONCE)):
                whole[rows[0] : rows[-1] + 1] = self._gather(suffix, rows, device)
            self._on_device.append(part.of_bytes(whole))

    def read(self, rows: Tensor) -> Tensor:
        """Features of rows (of any shape) on their device, in the type they were computed in.  # (*rows, *shape)

        Raises:
            ValueError: A row is not in the table. (Where the table is on a GPU, the lookup itself fails.)
        """
        if self._on_device:
            return self.layout.unpack([whole[rows] for whole in self._on_device])
        index = rows.flatten().cpu().numpy()
        self._check(index)
        parts = [
            part.of_bytes(self._gather(suffix, index, rows.device)).unflatten(0, rows.shape)
            for suffix, part in self.layout.parts.items()
        ]
        return self.layout.unpack(parts)

    def _check(self, rows: np.ndarray) -> None:
        if rows.min() < 0 or rows.max() >= self._rows:
            raise ValueError(
                f"{self.path}: the dataset points to rows {rows.min()} to {rows.max()} of {self._rows}; was it changed "
                "after its features were computed? Run qwenvla-precompute-features on the changed pictures"
            )

    def _gather(self, suffix: str, rows: np.ndarray, device: torch.device) -> Tensor:
        """Bytes of N rows, on their way to a device.  # (N, bytes of a row)"""
        mapped = self._mapped[suffix]
        # From pinned memory a GPU takes them while the program goes on; torch reuses it once they are there.
        gathered = torch.empty((len(rows), mapped.shape[1]), dtype=torch.uint8, pin_memory=device.type == "cuda")
        shares = np.array_split(rows, THREADS), np.array_split(gathered.numpy(), THREADS)
        # "clip", as "raise", the default, would go through a copy.
        list(_pool.map(lambda share, out: np.take(mapped, share, axis=0, out=out, mode="clip"), *shares))
        return gathered.to(device, non_blocking=True)
