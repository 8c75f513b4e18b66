"""Cells of normal pictures in tiles, drawn at random: the features that neighbors are looked for in.

Each cell gets a random number that follows from its picture alone, and those with the smallest are kept. So the draw is
the same in whatever order pictures come, and of more pictures it is what it would have been from the beginning.
"""

from dataclasses import dataclass

import numpy as np

from mocca_jax.method import everywhere


@dataclass(frozen=True)
class Bank:
    """Cells of one grid, at most `everywhere.BANK`, by their random `order [K]`: `features [K, D]`; `pictures [K]`, the
    numbers of theirs; `at [K, 2]`: left and top of each cell's middle, in pixels of the picture as it is judged."""

    order: np.ndarray
    features: np.ndarray
    pictures: np.ndarray
    at: np.ndarray

    @classmethod
    def empty(cls, size: int) -> "Bank":
        """Of features `[size]`."""
        whole = np.zeros((0, 2), np.int32)
        return cls(np.zeros(0), np.zeros((0, size), np.float32), np.zeros(0, np.int32), whole)

    def __len__(self) -> int:
        return len(self.order)

    def __add__(self, other: "Bank") -> "Bank":
        """What is drawn of the cells of both."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in vars(self))
        order, *rest = (np.concatenate(pair) for pair in pairs)
        first = np.argsort(order, kind="stable")[: everywhere.BANK]
        return Bank(order[first], *(values[first] for values in rest))

    def with_some(self, order: np.ndarray, features: np.ndarray, picture: int, at: np.ndarray) -> "Bank":
        """With what is drawn of some cells of a picture: arguments as the fields, all of one length."""
        come = order < self.order[-1] if len(self) == everywhere.BANK else np.ones(len(order), bool)
        if not come.any():
            return self
        return self + Bank(order[come], features[come], np.full(come.sum(), picture, np.int32), at[come])


def middles(corners: np.ndarray, side: int, cells: tuple[int, int]) -> np.ndarray:
    """Left and top of the middles of the cells of tiles, `[T, P, 2]` int32, pixels.

    Args:
        corners: top and left of the tiles `[T, 2]`, pixels.
        side: of a tile, pixels.
        cells: rows and columns of a tile's grid.
    """
    down, across = ((np.arange(count) + 0.5) * side / count for count in cells)
    inside = np.stack(np.broadcast_arrays(across[None], down[:, None]), -1).reshape(-1, 2)
    return (corners[:, None, ::-1] + inside[None]).astype(np.int32)
