"""What a distance at one place of a grid is made of: the nearest normal picture there, and each layer's share.

As in `places.py`, whose statistics these are of; on the host, in float64, for the few places that somebody asks about.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from mocca_jax.method.blas import one_thread
from mocca_jax.method.places import BESIDE, Statistics


@dataclass(frozen=True)
class Nearest:
    """The normal picture that is nearest at a place: its number, where it is in the bank, and the whitened deviation
    `[D]` from it."""

    number: int
    index: int
    deviation: np.ndarray


def from_mean(found: Statistics, x: np.ndarray, place: int) -> np.ndarray:
    """The whitened deviation `[D]` of features `x [P, D]` from the mean of a place; its length is the distance."""
    whitener = np.asarray(found.whitener[place], np.float64)
    return (np.asarray(x[place], np.float64) - np.asarray(found.mean[place], np.float64)) @ whitener


def nearest(found: Statistics, x: np.ndarray, place: int, grid: tuple[int, int]) -> Nearest:
    """What is nearest to features `x [P, D]` at a place, in the bank of that place or of one beside it."""
    row, column = divmod(place, grid[1])
    shared = np.asarray(found.shared, np.float64)
    best: Nearest | None = None
    for down, across in BESIDE:
        at = row + down, column + across
        if not (0 <= at[0] < grid[0] and 0 <= at[1] < grid[1]):
            continue
        other = at[0] * grid[1] + at[1]
        mine = (np.asarray(x[place], np.float64) - np.asarray(found.mean[other], np.float64)) @ shared
        away = mine[:, None] - np.asarray(found.bank[other], np.float64)
        least = int(np.square(away).sum(0).argmin())
        if best is None or np.square(away[:, least]).sum() < np.square(best.deviation).sum():
            best = Nearest(int(found.pictures[least]), least, away[:, least])
    return best


def of_groups(white: np.ndarray, whitener: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The share of each group of coordinates in a squared Mahalanobis distance; at least 0, together 1.

    Taken one after the other, each group adds to the squared distance what those before it do not say already (its
    distance given theirs). What groups have in common would so be the first one's, so this is the mean of two orders:
    from the first group to the last, and from the last to the first.

    Args:
        white: `[D]`, a whitened deviation: a deviation times `whitener`.
        whitener: `[D, D]`, upper triangular, see `places.Statistics`.
        sizes: of the groups, in order; D together.

    Returns:
        `[G]`. Where the distance is 0, all alike.

    Example:
        >>> of_groups(np.array([3.0, 0.0, 1.0]), np.eye(3), (1, 2)).tolist()
        [0.9, 0.1]
    """
    with one_thread():
        root = linalg.solve_triangular(np.asarray(whitener, np.float64), np.eye(len(white)))
        covariance, deviation = root.T @ root, white @ root
        turned = linalg.cholesky(covariance[::-1, ::-1], lower=True)
        back = linalg.solve_triangular(turned, deviation[::-1], lower=True)[::-1]
    starts = np.cumsum([0, *sizes[:-1]])
    added = np.add.reduceat(np.square(white) + np.square(back), starts)
    total = added.sum()
    return added / total if total > 0 else np.full(len(sizes), 1 / len(sizes))
