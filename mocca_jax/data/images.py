"""Image files -> one memory-mapped uint8 array, decoded once, with bounded memory.

Every image ends as RGB on a canvas of one size `[H, W, 3]`. `fit` says how an image gets there:

    crop     shorter side to `size`, then the central square
    stretch  both sides to `size`
    canvas   shorter side to `size`, then mirrored at its right and lower edges up to the largest image's sides
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image, ImageOps

from mocca_jax.data import cache
from mocca_jax.errors import UserError

CHUNK = 16
LONGEST = 8  # of an image's sides in units of the shorter, for the canvas


def decoded(
    name: str, files: Sequence[Path], size: int, fit: str, least: int, skip: bool
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """All images as one array.

    Args:
        name: of the cache entry, for people.
        files: image files of any format, mode and size that Pillow reads.
        size, fit: see the module's docstring.
        least: no side of the canvas is smaller.
        skip: leave unreadable files out with a warning; otherwise they are an error.

    Returns:
        Images `[N, H, W, 3]` uint8; the real part of each, `[N, 2]` rows and columns; indices of the files used.

    Raises:
        UserError: files that cannot be read, all named; no room for the cache.
    """
    sizes = cache.arrays(f"{name}-sizes-{cache.fingerprint(files)}", lambda: {"sizes": _sizes(files)})["sizes"]
    broken = [path for path, (rows, _) in zip(files, sizes, strict=True) if rows == 0]
    if broken and not skip:
        raise UserError(_broken_text(broken) + "\nMend or remove them, or pass --config.unreadable=skip.")
    if broken:
        logging.warning("left out: %s", _broken_text(broken))
    kept = np.flatnonzero(sizes[:, 0]).tolist()
    if not kept:
        return np.zeros((0, size, size, 3), np.uint8), np.zeros((0, 2), np.int64), []
    fitted = np.array([_fitted_size(files[i], tuple(sizes[i].tolist()), size, fit) for i in kept])
    canvas = np.maximum(fitted.max(0), least)
    used = [files[i] for i in kept]
    entry = f"{name}-{fit}{size}-{canvas[0]}x{canvas[1]}-{cache.fingerprint(used, size, fit, least)}"

    def build(folder: Path) -> None:
        shape = (len(used), int(canvas[0]), int(canvas[1]), 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        with ThreadPoolExecutor() as pool, open(folder / "images.npy", "wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            for start in range(0, len(used), CHUNK):
                rows = range(start, min(start + CHUNK, len(used)))
                for pixels in pool.map(lambda r: _pixels(used[r], fitted[r], fit), rows):
                    pad = [(0, int(c - s)) for c, s in zip(canvas, pixels.shape, strict=False)]
                    out.write(np.pad(pixels, [*pad, (0, 0)], "symmetric").tobytes())

    arrays = cache.built(entry, build)
    return arrays["images"], fitted, kept


def load_rgb(path: Path) -> Image.Image:
    """Any image as 8-bit RGB, upright: 16-bit values are divided by 256, transparency is dropped."""
    with Image.open(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.int64)
            image = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("32-bit floating-point pixels have no known range; convert the file to 8 or 16 bits")
        return image.convert("RGB")


def _sizes(files: Sequence[Path]) -> np.ndarray:
    """Rows and columns of each file `[N, 2]`; zeros where it cannot be decoded."""

    def sides(path: Path) -> tuple[int, int]:
        try:
            image = load_rgb(path)
        except Exception:  # each format's decoder has its own exceptions for damaged files; see _broken_text
            return 0, 0
        return image.height, image.width

    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(sides, files)), np.int64).reshape(-1, 2)


def _broken_text(broken: list[Path]) -> str:
    lines = [f"{path}: {_fault(path)}" for path in broken[:10]]
    more = [f"and {len(broken) - 10} more"] if len(broken) > 10 else []
    return f"{len(broken)} file(s) cannot be read as images:\n  " + "\n  ".join(lines + more)


def _fault(path: Path) -> str:
    try:
        load_rgb(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "could not be read when it was first looked at; try again"


def _fitted_size(path: Path, sides: tuple[int, int], size: int, fit: str) -> tuple[int, int]:
    if fit != "canvas":
        return size, size
    rows, columns = _resized(sides, size)
    if max(rows, columns) > LONGEST * size:
        raise UserError(
            f"{path} is {sides[0]}x{sides[1]} pixels: one side is more than {LONGEST} times the other, and every "
            "image would be padded to that. Cut it, or pass --config.fit=stretch."
        )
    return rows, columns


def _resized(sides: tuple[int, int], size: int) -> tuple[int, int]:
    """The shorter side becomes `size`, the longer is rounded down."""
    rows, columns = sides
    return (size, int(size * columns / rows)) if rows <= columns else (int(size * rows / columns), size)


def _pixels(path: Path, fitted: np.ndarray, fit: str) -> np.ndarray:
    return fitted_pixels(load_rgb(path), fitted, fit, Image.Resampling.BILINEAR)


def fitted_pixels(image: Image.Image, fitted: np.ndarray, fit: str, resample: Image.Resampling) -> np.ndarray:
    """The image's pixels, resized (and cut, for `crop`) to the rows and columns `fitted`."""
    rows, columns = (int(s) for s in fitted)
    if fit != "crop":
        return np.asarray(image.resize((columns, rows), resample))
    whole_rows, whole_columns = _resized((image.height, image.width), rows)
    top, left = round((whole_rows - rows) / 2), round((whole_columns - columns) / 2)
    whole = np.asarray(image.resize((whole_columns, whole_rows), resample))
    return whole[top : top + rows, left : left + columns]
