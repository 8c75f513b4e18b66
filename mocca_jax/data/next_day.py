"""Good pictures as the same camera sees them on another day: for choosing settings that take no lamp for a defect.

Pictures of one session differ less than those of two. On another day the camera sits a pixel beside where it was, is
turned a little, focused a little better or worse, under a lamp of another brightness and colour, and its sensor's noise
is another. Real days differ; a figure measured on these is no promise.
"""

import numpy as np
from scipy import ndimage

from mocca_jax.data.inputs import mirrored

SHIFT = 2  # pixels, of a picture whose shorter side has 256
TURN = 0.5  # degrees
GREY = 2  # grey levels: JPEG's grey pictures differ by as much between colours


def changed(images: np.ndarray, sizes: np.ndarray, seed: int, day: int = 1) -> np.ndarray:
    """Each image as on another day.

    Args:
        images: `[N, H, W, 3]` uint8, left as they are.
        sizes: `[N, 2]`, the rows and columns of each image that are real.
        seed: same seed and day, same pictures.
        day: from 1.

    Returns:
        As `images`. What is not real goes on from the real part as its mirror image.
    """
    out = np.empty_like(images)
    for index, (rows, columns) in enumerate(sizes):
        rng = np.random.default_rng([seed, index, day])
        out[index] = mirrored(_changed(images[index, :rows, :columns], rng), images.shape[1:3])
    return out


def is_grey(picture: np.ndarray) -> bool:
    """Whether no pixel of `[rows, columns, 3]` has a colour."""
    red, *others = (picture[..., color].astype(np.int16) for color in range(3))
    return all(np.abs(red - other).max() <= GREY for other in others)


def _changed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    colors = 1 if is_grey(picture) else 3
    before = np.ascontiguousarray(picture.transpose(2, 0, 1)[:colors])
    x = _lit(_focused(_moved(before.astype(np.float32), rng), rng), rng)
    # A saturated pixel, as of a white background, has no noise.
    noisy = ((before > 3) & (before < 251)).all(0)
    x += np.float32(rng.uniform(0, 1.2)) * noisy * rng.standard_normal(noisy.shape, np.float32)
    x = np.rint(x, out=x).clip(0, 255, out=x).astype(np.uint8)
    return np.broadcast_to(x.transpose(1, 2, 0), picture.shape)


def _moved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`[C, rows, columns]`, shifted and turned about its middle; the edge pixels go on outwards."""
    shift = rng.uniform(-SHIFT, SHIFT, 2) * min(x.shape[1:]) / 256
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (np.array(x.shape[1:]) - 1) / 2
    offset = middle - turn @ (middle + shift)
    return np.stack([ndimage.affine_transform(plane, turn, offset, order=1, mode="nearest") for plane in x])


def _focused(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every other picture a little softer, or sharper."""
    if rng.random() < 0.5:
        return x
    sigma = rng.uniform(0.4, 0.8)
    soft = ndimage.gaussian_filter(x, (0, sigma, sigma), truncate=3)
    return x + np.float32(rng.uniform(-0.6, 0.8)) * (soft - x)


def _lit(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Under a lamp of another brightness and colour, with another contrast."""
    gain, contrast = rng.uniform(0.85, 1.12), np.float32(rng.uniform(0.92, 1.08))
    cast = rng.uniform(0.96, 1.04, (len(x), 1, 1))
    mean = x.mean()
    return (mean + contrast * (x - mean)) * (gain * cast).astype(np.float32)
