"""Features in files: row after row of bytes, so that a table is written by appending and its length is its progress.

A table is one file in the type the backbone computes in, or two where it is kept in 8 bits: int8, and the scales that
make it whole again. What the bytes mean says the column that points to them (`RowLayout`).
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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
THREADS = 8
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="features")


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
    def parts(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Type and shape of a row in each file, by the file's suffix."""
        if self.quantization == "none":
            return {".bin": (self.dtype, self.shape)}
        return {
            ".int8.bin": (torch.int8, self.shape),
            ".scales.bin": (self.dtype, (*self.shape[:-1], self.shape[-1] // self._block)),
        }

    @property
    def row_bytes(self) -> int:
        """Bytes of a frame, in all files together."""
        return sum(math.prod(shape) * dtype.itemsize for dtype, shape in self.parts.values())

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
        return min(sizes[path] // _bytes(*part) for path, part in self._files.items())

    def truncate(self, rows: int) -> None:
        """Drops what is after the first rows."""
        for path, part in self._files.items():
            with path.open("ab") as file:
                file.truncate(rows * _bytes(*part))

    def append(self, features: Tensor) -> None:
        """Hands N rows (N, *shape) to the file system: from then on they outlive this process."""
        for path, part in zip(self._files, self.layout.pack(features), strict=True):
            with path.open("ab") as file:
                file.write(part.cpu().contiguous().view(torch.uint8).numpy())


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
        self.layout, self._rows, self._path = layout, rows, path
        self.nbytes = rows * layout.row_bytes
        self._mapped = {}  # by suffix, bytes (rows, row bytes)
        for suffix, part in layout.parts.items():
            file, row_bytes = path.with_name(path.name + suffix), _bytes(*part)
            if not file.is_file():
                raise ValueError(f"{file}: missing; copy it again or run qwenvla-precompute-features again")
            if (size := file.stat().st_size) != rows * row_bytes:
                raise ValueError(
                    f"{file}: {size} bytes, features of {size / row_bytes:g} frames for a dataset of {rows}; "
                    "copy it again or run qwenvla-precompute-features again"
                )
            # Never written to; a mapping that could not be is no tensor of torch's.
            self._mapped[suffix] = np.memmap(file, np.uint8, mode="c", shape=(rows, row_bytes))
        self._on_device: list[Tensor] | None = None

    def to(self, device: torch.device) -> None:
        """Reads all of it into the memory of a device, from which rows are taken from now on."""
        self._on_device = [
            _typed(torch.from_numpy(self._mapped[suffix]).to(device), *part)
            for suffix, part in self.layout.parts.items()
        ]

    def read(self, rows: Tensor) -> Tensor:
        """Features of rows (of any shape) on their device, in the type they were computed in.  # (*rows, *shape)

        Raises:
            ValueError: A row is not in the table. (Where the table is on a GPU, the lookup itself fails.)
        """
        if self._on_device is not None and self._on_device[0].device == rows.device:
            return self.layout.unpack([part[rows] for part in self._on_device])
        index = rows.flatten().cpu().numpy()
        if index.min() < 0 or index.max() >= self._rows:
            raise ValueError(
                f"{self._path}: the dataset points to rows {index.min()} to {index.max()} of {self._rows}; was it "
                "changed after its features were computed? Run qwenvla-precompute-features on the changed pictures"
            )
        parts = [
            _typed(self._gather(suffix, index, rows.device), *part).unflatten(0, rows.shape)
            for suffix, part in self.layout.parts.items()
        ]
        return self.layout.unpack(parts)

    def _gather(self, suffix: str, index: np.ndarray, device: torch.device) -> Tensor:
        """Bytes of rows, on their way to a device.  # (N, row bytes)"""
        mapped = self._mapped[suffix]
        # From pinned memory a GPU takes them while the program goes on; torch reuses it once they are there.
        gathered = torch.empty((len(index), mapped.shape[1]), dtype=torch.uint8, pin_memory=device.type == "cuda")
        shares = np.array_split(index, THREADS), np.array_split(gathered.numpy(), THREADS)
        # "clip" as "raise", the default, would go through a copy.
        list(_pool.map(lambda share, out: np.take(mapped, share, axis=0, out=out, mode="clip"), *shares))
        return gathered.to(device, non_blocking=True)


def _bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * dtype.itemsize


def _typed(raw: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:  # (N, row bytes) → (N, *shape)
    return raw.view(dtype).unflatten(1, shape)
