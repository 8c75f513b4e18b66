"""Arrays that are cut from others when asked: `shape`, `dtype`, `len` and indexing by an array of integers."""

import numpy as np


class Rows:
    """Chosen rows of an array, in the given order; a row may come more than once."""

    def __init__(self, images: np.ndarray, rows: np.ndarray):
        self.images, self.rows = images, rows
        self.shape, self.dtype = (len(rows), *images.shape[1:]), images.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self.images[self.rows[index]]


class Patches:
    """Square patches of images: `corners [U, 3]` gives image, top row and left column of each."""

    def __init__(self, images: np.ndarray, corners: np.ndarray, side: int):
        self.images, self.corners, self.side = images, corners, side
        self.shape, self.dtype = (len(corners), side, side, *images.shape[3:]), images.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        side = self.side
        cut = [self.images[i, top : top + side, left : left + side] for i, top, left in self.corners[index]]
        return np.stack(cut) if cut else np.zeros((0, *self.shape[1:]), self.dtype)


def patch_corners(sizes: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Image, top and left of the patches that cover images of these `sizes [N, 2]`.

    Patches lie at most `stride` apart and end flush with every edge: where a side is no multiple of the patch,
    neighbours overlap a little rather than leave a border out.
    """
    corners = []
    for image, (rows, columns) in enumerate(sizes):
        tops, lefts = starts(int(rows), side, stride), starts(int(columns), side, stride)
        corners += [(image, top, left) for top in tops for left in lefts]
    return np.array(corners, np.int64).reshape(-1, 3)


def starts(length: int, side: int, stride: int) -> list[int]:
    """Evenly spread starts of windows that cover `length`.

    Example:
        >>> starts(512, 64, 64)
        [0, 64, 128, 192, 256, 320, 384, 448]
        >>> starts(150, 64, 64)
        [0, 43, 86]
        >>> starts(40, 64, 64)
        [0]
    """
    last = max(length - side, 0)
    count = -(-last // stride) + 1
    return [round(float(x)) for x in np.linspace(0, last, count)]
