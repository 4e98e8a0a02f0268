"""The clock of recordings: a high-resolution counter that runs since boot."""

import time

QPC_FREQ = 10_000_000


def ticks_of_ms(ms: float) -> int:
    """Nearest whole number of ticks."""
    return round(ms * QPC_FREQ / 1000)


def now() -> int:
    """The tick it is, for what happens in real time."""
    return time.perf_counter_ns() * QPC_FREQ // 1_000_000_000
