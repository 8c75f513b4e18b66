"""How a side of a map becomes one of another length, as a matrix."""

import numpy as np


def means(cells: int, size: int) -> np.ndarray:
    """`[cells, size]`: brings a map's side to `cells` by means or lines, after a mean over three neighbours."""
    at = np.arange(size)
    box = (np.abs(at[:, None] - at[None]) <= 1).astype(np.float64)
    box /= box.sum(1, keepdims=True)
    if cells <= size:
        edges = np.arange(cells + 1) * size / cells
        share = np.minimum(edges[1:, None], at[None] + 1) - np.maximum(edges[:-1, None], at[None])
        to = np.maximum(share, 0) * cells / size
    else:
        to = linear(cells, size)
    return (to @ box).astype(np.float32)


def linear(cells: int, size: int) -> np.ndarray:
    """`[cells, size]`: linear interpolation between the middles of `size` equal parts, constant beyond the ends."""
    at = np.clip((np.arange(cells) + 0.5) * size / cells - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size)[None])).astype(np.float32)
