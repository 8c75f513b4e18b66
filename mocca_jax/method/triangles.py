"""Matrices of which one triangle says all, without the other: half the numbers on disk."""

import numpy as np

IN_CACHE = 2**17  # numbers of matrices that are written at once


def packed(matrices: np.ndarray) -> np.ndarray:
    """The upper triangles of `[P, D, D]`, row by row: `[P, D (D + 1) / 2]`."""
    size = matrices.shape[-1]
    rows, columns = np.triu_indices(size)
    return matrices.reshape(len(matrices), size * size).take(rows * size + columns, axis=1)


def unpacked(triangles: np.ndarray, size: int, mirrored: bool) -> np.ndarray:
    """`[P, D, D]` of what `packed` gave of matrices of this size: symmetric, or zero below the diagonal.

    Example:
        >>> unpacked(np.array([[1, 2, 3]]), 2, mirrored=True).tolist()
        [[[1, 2], [2, 3]]]
    """
    matrices = (np.empty if mirrored else np.zeros)((len(triangles), size, size), triangles.dtype)
    at_once = max(1, IN_CACHE // max(size, 1) ** 2)
    for first in range(0, len(triangles), at_once):
        some, into = triangles[first : first + at_once], matrices[first : first + at_once]
        start = 0
        for row in range(size):  # whole rows: picking single numbers takes several times as long
            part = some[:, start : start + size - row]
            into[:, row, row:] = part
            if mirrored:
                into[:, row:, row] = part
            start += size - row
    return matrices
