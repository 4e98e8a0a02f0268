"""Counting the bytes of the tensors that are alive while code runs."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors alive, and the most there were, of those there already and those made while it is on.

    A storage counts once, however many tensors look at it. What a kernel allocates for itself and frees before it
    returns is not seen.
    """

    def __init__(self, existing: Iterable[Tensor]) -> None:
        super().__init__()
        self.live_bytes = 0
        self.peak_bytes = 0
        self._storages: set[int] = set()
        for tensor in existing:
            self._count(tensor)

    def __torch_dispatch__(self, op: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = op(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._storages:
            return
        self._storages.add(id(storage))
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._discount, id(storage), storage.nbytes())

    def _discount(self, key: int, size_bytes: int) -> None:
        self._storages.discard(key)
        self.live_bytes -= size_bytes
