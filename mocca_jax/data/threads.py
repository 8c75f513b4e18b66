"""One call of each of many items, on all cores."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mocca_jax.method.blas import one_thread

T = TypeVar("T")
R = TypeVar("R")


def each(call: Callable[[T], R], items: Iterable[T], most: int | None = None) -> Iterator[R]:
    """What `call` gives of each, in order, made in threads, `most` or as many as there are cores."""
    with one_thread(), ThreadPoolExecutor(most) as pool:
        yield from pool.map(call, items)
