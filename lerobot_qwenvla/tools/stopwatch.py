"""How long pieces of work take, on a CPU or a GPU."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import torch
from torch import nn


class Stopwatch:
    """Milliseconds of named pieces of work, turn by turn.

    The device is waited for before and after every piece, which work that is not being timed does not do.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.turns_ms: defaultdict[str, list[float]] = defaultdict(list)

    def __call__[Result](self, name: str, work: Callable[[], Result]) -> Result:
        """Does a piece of work: a turn."""
        start_ms = self._now_ms()
        result = work()
        self.turns_ms[name].append(self._now_ms() - start_ms)
        return result

    @contextmanager
    def calls(self, name: str, *modules: nn.Module) -> Iterator[None]:
        """Times the calls of modules, none of which is part of another; all those while this lasts are one turn."""
        starts_ms: list[float] = []
        stops_ms: list[float] = []
        hooks = [
            hook
            for module in modules
            for hook in (
                module.register_forward_pre_hook(lambda *_: starts_ms.append(self._now_ms())),
                module.register_forward_hook(lambda *_: stops_ms.append(self._now_ms())),
            )
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self.turns_ms[name].append(sum(stops_ms) - sum(starts_ms))

    def percentile_ms(self, name: str, percentile: float) -> float:
        """Of all turns of a piece of work."""
        return float(np.percentile(self.turns_ms[name], percentile))

    def _now_ms(self) -> float:
        torch.get_device_module(self.device).synchronize()
        return 1000 * perf_counter()
