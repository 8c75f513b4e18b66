"""Whole images with their masks: what anomaly maps are made of and measured against."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mocca_jax.data import images
from mocca_jax.data.inputs import fitted_pixels
from mocca_jax.errors import UserError

ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Pictures:
    """Images `[S, H, W, 3]` uint8, one per sample; `sizes [S, 2]`, the rows and columns of each that are real.

    `mask(i)` is `[rows, columns]` bool, True where anomalous, or None where it is not known.
    """

    images: Any
    sizes: np.ndarray
    mask: Callable[[int], np.ndarray | None] = lambda index: None

    def __len__(self) -> int:
        return len(self.sizes)


def read_mask(path: Path, size: np.ndarray, fit: str) -> np.ndarray:
    """A mask, True where its file is above 0, in the geometry of its image: see `images.py`."""
    with images.opened(path) as image:
        grey = Image.fromarray((np.asarray(image.convert("L")) > 0).astype(np.uint8))
    return fitted_pixels(grey, size, fit, Image.Resampling.NEAREST) > 0


def check_masks(masks: Sequence[Path | None], files: Sequence[Path]) -> None:
    """Raises `UserError` for masks that cannot be read or that have another shape than their image.

    Another size with the same ratio of the sides is fine: masks are resized as their images are.
    """
    faults = []
    for mask, path in zip(masks, files, strict=True):
        if mask is None:
            continue
        try:
            sides = [_sides(path, decode=False), _sides(mask, decode=True)]
        except Exception as error:  # each format's decoder has its own exceptions for damaged files
            faults.append(f"{mask}: {error}")
            continue
        (width, height), (mask_width, mask_height) = sides
        if abs(mask_width * height / (mask_height * width) - 1) > ASPECT_TOLERANCE:
            faults.append(f"{mask} is {mask_width}x{mask_height}, its image {width}x{height}")
    if faults:
        raise UserError(
            f"{len(faults)} mask(s) do not fit their image:\n  " + "\n  ".join(faults[:10]) + "\n"
            "Save each mask in its image's size, or remove it: the image then counts for no pixel figure."
        )


def _sides(path: Path, decode: bool) -> tuple[int, int]:
    """Width and height as the image is shown; `decode`: raises where its pixels cannot be read."""
    with images.opened(path) as image:
        if decode:
            image.load()
        turned = image.getexif().get(0x0112, 1) >= 5  # orientation: on its side
        return (image.height, image.width) if turned else image.size
