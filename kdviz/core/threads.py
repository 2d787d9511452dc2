"""Work in threads whose results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Result = TypeVar("Result")

_AHEAD = 4  # results made in advance by each thread


def in_order(read: Callable[[int], Result], indices: Iterable[int], threads: int) -> Iterator[Result]:
    """``read`` of each index, in the order of the indices, made in threads a few in advance.

    Unlike ``Executor.map`` it holds only as many results as are ahead of the one that is asked for.

    Args:
        read: What is done.
        indices: Its arguments; they may be without end.
        threads: Number of threads.
    """
    remaining, pending = iter(indices), deque[Future[Result]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                pending.extend(pool.submit(read, index) for index in islice(remaining, _AHEAD * threads - len(pending)))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
