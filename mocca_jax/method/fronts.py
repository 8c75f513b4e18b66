"""Which points may have the largest sum of their coordinates, whatever positive weights these get."""

import numpy as np


def highest(points: np.ndarray) -> np.ndarray:
    """Those of `[N, D]` than which no other is larger in some coordinates and smaller in none, `[K, D]`.

    The largest of any sum of coordinates, with weights of at least 0, is that of one of them.

    Example:
        >>> highest(np.array([[1, 1], [3, 0], [0, 3], [2, 2], [2, 1]])).tolist()
        [[2, 2], [3, 0], [0, 3]]
    """
    left, found = points[np.argsort(-points.sum(1), kind="stable")], []
    while len(left):
        found.append(left[0])
        left = left[(left > left[0]).any(1)]
    return np.array(found, points.dtype).reshape(-1, points.shape[1])
