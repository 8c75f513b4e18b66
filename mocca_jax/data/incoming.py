"""Pictures as callers hand them over: files, arrays, Pillow images."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mocca_jax.data import films, images, layout, video_layout
from mocca_jax.errors import UserError

Picture = str | Path | np.ndarray | Image.Image
CHANNELS = (1, 3, 4)


def each(given: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """The pictures of what may be one picture, a batch `[N, H, W, C]`, or any iterable of pictures.

    Raises:
        UserError: an array that is neither one picture nor a batch of them.
    """
    if isinstance(given, str | Path | Image.Image):
        yield given
        return
    array = given if hasattr(given, "__array__") else None
    if array is None:
        yield from given
        return
    array = np.asarray(array)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in CHANNELS):
        yield array
    elif array.ndim == 4:
        yield from array
    else:
        raise UserError(
            f"an array of shape {array.shape} is neither a picture, [rows, columns] or [rows, columns, 1, 3 or 4], "
            "nor a batch of them, [pictures, rows, columns, channels]. A batch of grey pictures needs a last axis: "
            "array[..., None]."
        )


def decoded(given: Picture) -> Image.Image:
    """One picture, 8-bit.

    Arrays may be uint8, uint16 (divided by 256), or floats in [0, 1], which are rounded to 8 bits as files are.

    Raises:
        UserError: it cannot be read, or its shape, type or range is none of these.
    """
    if isinstance(given, Image.Image):
        return given
    if isinstance(given, str | Path):
        try:
            return images.load_rgb(Path(given))
        except Exception as error:  # each format's decoder has its own exceptions for damaged files
            raise UserError(f"{given} cannot be read as an image ({type(error).__name__}: {error})") from error
    if not hasattr(given, "__array__"):
        raise UserError(f"a picture is a path, an array or a Pillow image, not {type(given).__name__}")
    return Image.fromarray(_bytes(np.asarray(given)))


def _bytes(array: np.ndarray) -> np.ndarray:
    """`[rows, columns]` or `[rows, columns, 3]` uint8."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in CHANNELS or 0 in array.shape:
        raise UserError(
            f"a picture of shape {array.shape}; wanted are [rows, columns] or [rows, columns, channels] with 1 (grey), "
            "3 (red, green, blue) or 4 channels (the fourth, opacity, is dropped), no side zero"
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise UserError("the picture holds NaN or infinite values; wanted are finite floats in [0, 1]")
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 1:
            raise UserError(
                f"floats from {low:.4g} to {high:.4g}: a picture of floats lies in [0, 1]. Values in 0..255 are "
                "passed as uint8: array.round().astype(np.uint8)"
            )
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UserError(f"a picture of type {array.dtype}; wanted are uint8, uint16, or floats in [0, 1]")
    return array[..., 0] if array.ndim == 3 and channels == 1 else array[..., :3] if channels == 4 else array


def frames(given: Any) -> Iterator[Image.Image]:
    """The frames of one video: a film file, a folder of images in the order of their names, or pictures in order.

    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if isinstance(given, str | Path):
        path = Path(given)
        if path.is_dir():
            files = sorted(layout.image_files(path), key=video_layout.natural)
            if not files:
                raise UserError(f"{path} holds no images")
            return map(decoded, files)
        if not path.is_file():
            raise UserError(f"{path} does not exist")
        return films.frames(path)
    return (decoded(picture) for picture in each(given))
