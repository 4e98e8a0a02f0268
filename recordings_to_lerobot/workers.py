"""Runs the work on many episodes in several processes, and survives the death of any of them."""

import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from recordings_to_lerobot.recordings.validation import RecordingError

# More than that Windows cannot wait for.
_MAX_WORKERS = 61


def run_in_processes[Item, Result](
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None
) -> Iterator[tuple[Item, Result | RecordingError]]:
    """Yields each item with what `work` returned for it, or the RecordingError it raised, as they finish.

    Damaged input may take a decoder, and with it the process, down. Then the items that were in flight get a process
    each, so that only the one to blame is lost, and the rest goes on as before. With 0 workers it is this process.
    """
    if workers is not None and workers < 0:
        raise RecordingError(f"--workers={workers}: give at least 0, or leave it out")
    if workers == 0:
        for item in items:
            yield item, _result(functools.partial(work, item))
        return
    workers = min(workers or os.cpu_count() or 1, len(items), _MAX_WORKERS)
    waiting = deque(items)
    while waiting:
        in_flight: dict[Future[Result], Item] = {}
        try:
            yield from _run_pool(work, waiting, in_flight, workers)
        except BrokenProcessPool:
            for item in in_flight.values():
                try:
                    yield from _run_pool(work, deque([item]), {}, workers=1)
                except BrokenProcessPool:
                    problem = "the process that worked on it died"
                    yield item, RecordingError(f"{problem}; re-export it, or if memory ran out pass --workers=1")


def _run_pool[Item, Result](
    work: Callable[[Item], Result], waiting: deque[Item], in_flight: dict[Future[Result], Item], workers: int
) -> Iterator[tuple[Item, Result | RecordingError]]:
    """Takes items from `waiting` as processes become free; when one dies, `in_flight` is what may have killed it."""
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=_context(), initializer=_follow_parent) as pool:
        try:
            while waiting or in_flight:
                # One more than there are processes, so that none waits for this one.
                while waiting and len(in_flight) <= workers:
                    in_flight[pool.submit(work, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                    result = _result(future.result)
                    yield in_flight.pop(future), result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _result[Result](compute: Callable[[], Result]) -> Result | RecordingError:
    try:
        return compute()
    except RecordingError as error:
        return error


def _context() -> multiprocessing.context.BaseContext:
    """Processes that start in no time where the system can fork, but never share the caller's threads and locks."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "recordings_to_lerobot.conversion.episode"])
    return context


def _follow_parent() -> None:
    """A worker leaves interrupts to its parent, and does not outlive it even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
