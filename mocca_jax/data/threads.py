"""One call of each of many items, on all cores."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


def each(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `call` gives of each, in order, made in threads; products in them have a thread each."""
    with threadpool_limits(1), ThreadPoolExecutor() as pool:  # more threads inside threads only wait for each other
        yield from pool.map(call, items)
