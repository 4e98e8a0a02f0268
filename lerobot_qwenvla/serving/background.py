"""The policy server in a thread of a process that does something else: plays against it, or tests it."""

import asyncio
import functools
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager

from lerobot_qwenvla.serving.engine import Engine
from lerobot_qwenvla.serving.server import PolicyServerConfig, serve

START_S = 60


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all servers of this process: where loops come and go under gRPC, it has crashed at random."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="policy server", daemon=True).start()
    return loop


@contextmanager
def serving(engine: Engine, config: PolicyServerConfig, policy_path: str) -> Iterator[str]:
    """A server until the context ends; its address.

    Raises:
        ValueError: The address can't be listened on.
        OSError: A file can't be read.
    """
    port, stop = Future(), asyncio.Event()
    served = asyncio.run_coroutine_threadsafe(serve(engine, config, policy_path, stop, port.set_result), _loop())
    try:
        wait([port, served], START_S, FIRST_COMPLETED)
        if served.done():
            served.result()
        yield f"{config.host}:{port.result(0)}"
    finally:
        _loop().call_soon_threadsafe(stop.set)
        wait([served], START_S)
