"""Batches prepared ahead, in order, by threads: cutting patches releases the interpreter's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

Item = TypeVar("Item")


def ahead(make: Callable[[int], Item], first: int, stop: int, workers: int) -> Iterator[Item]:
    """`make(first), make(first + 1) ... make(stop - 1)`, up to `2 * workers` of them ahead.

    Args:
        make: depends on nothing but its argument, so that it does not matter who calls it.
        workers: threads; 0 makes each item when it is asked for.
    """
    if workers == 0:
        yield from map(make, range(first, stop))
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="patches")
    with closing(_Closing(pool)):
        waiting: deque[Future[Item]] = deque()
        for step in range(first, stop):
            while len(waiting) < 2 * workers and step + len(waiting) < stop:
                waiting.append(pool.submit(make, step + len(waiting)))
            yield waiting.popleft().result()


class _Closing:
    """Drops what nobody will ask for any more."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
