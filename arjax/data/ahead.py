"""Reading ahead: the next item is made in a thread while the current one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
THREAD = "read-ahead"


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items in the same order, each made in a thread while the one before is used.

    One item is made in advance. An exception in the thread is raised when its item is requested. The thread lives from
    the first item to the last, or until the generator is closed, which waits for the item in progress.
    """
    end: Any = object()  # comes after the last item
    with ThreadPoolExecutor(1, THREAD) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
