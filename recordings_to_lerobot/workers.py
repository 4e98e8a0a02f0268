"""Runs the work on many episodes in several processes, and survives the death of any of them."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from recordings_to_lerobot.recordings.validation import RecordingError

# More than that Windows cannot wait for.
_MAX_WORKERS = 61


def run_in_processes[Item, Result](
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None
) -> Iterator[tuple[Item, Result | RecordingError]]:
    """Yields each item with what `work` returned for it, or the RecordingError it raised, as they finish.

    Damaged input may take a decoder, and with it the process, down. Then the items that were not finished get a
    process each, so that only the one to blame is lost.
    """
    if workers is not None and workers < 1:
        raise RecordingError(f"--workers={workers}: give at least 1, or leave it out")
    unfinished = dict(enumerate(items))
    try:
        for index, result in _run_pool(work, unfinished, min(workers or os.cpu_count() or 1, len(items), _MAX_WORKERS)):
            yield unfinished.pop(index), result
    except BrokenProcessPool:
        for index, item in unfinished.items():
            try:
                yield from ((item, result) for _, result in _run_pool(work, {index: item}, workers=1))
            except BrokenProcessPool:
                problem = "the process that worked on it died"
                yield item, RecordingError(f"{problem}; re-export it, or if memory ran out pass --workers=1")


def _run_pool[Item, Result](
    work: Callable[[Item], Result], items: dict[int, Item], workers: int
) -> Iterator[tuple[int, Result | RecordingError]]:
    if not items:
        return
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=_context(), initializer=_follow_parent) as pool:
        futures: dict[Future[Result], int] = {pool.submit(work, item): index for index, item in items.items()}
        try:
            for future in as_completed(list(futures)):
                index = futures.pop(future)
                try:
                    yield index, future.result()
                except RecordingError as error:
                    yield index, error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


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

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
