"""Products of numpy and scipy beside threads that compute already."""

import functools
from contextlib import AbstractContextManager

from scipy import linalg  # noqa: F401 (it brings a library of its own, which has to be there when they are looked for)
from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager:
    """Within it, products have one thread each: more would wait for each other, and for other threads, by turning
    round and round, which takes the processor from those that work."""
    return _libraries().limit(limits=1)


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looking for them takes longer than a small product
