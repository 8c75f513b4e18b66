"""Evenly spaced items of a sequence, also of one whose length is not known before its end."""

from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


def evenly(count: int, most: int) -> np.ndarray:
    """Numbers below `count`, all or `most` of them, at equal distances."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


class Spread(Generic[T]):
    """Keeps up to `most` of the items that are added, the first among them, at equal distances.

    Example:
        >>> spread = Spread(4)
        >>> for item in range(10):
        ...     spread.add(item)
        >>> spread.kept
        [0, 4, 8]
    """

    def __init__(self, most: int):
        self.kept: list[T] = []
        self._most, self._count, self._every = most, 0, 1

    def add(self, item: T) -> None:
        """The next item."""
        if self._count % self._every == 0:
            if len(self.kept) == self._most:
                self.kept = self.kept[::2]
                self._every *= 2
            if self._count % self._every == 0:
                self.kept.append(item)
        self._count += 1
