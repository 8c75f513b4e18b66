"""Image files -> one memory-mapped uint8 array, decoded once, with bounded memory.

Every image ends as RGB on a canvas of one size `[H, W, 3]`; `inputs.fitted_size` says how it gets there. Where images
differ in size, the smaller ones are mirrored at their right and lower edges.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from absl import logging
from PIL import Image, ImageOps

from mocca_jax import console
from mocca_jax.data import cache
from mocca_jax.data.inputs import fitted_pixels, fitted_size, mirrored
from mocca_jax.errors import UserError

CHUNK = 16
MOST_PIXELS = 80_000_000  # of one image: more would be decoded into gigabytes
PROGRAMS = ("EPS",)  # formats whose files are programs, which an interpreter would run


def decoded(
    name: str, files: Sequence[Path], size: int, fit: str, least: int, skip: bool
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """All images as one array.

    Args:
        name: of the cache entry, for people.
        files: image files of any format, mode and size that Pillow reads.
        size, fit: see `inputs.fitted_size`.
        least: no side of the canvas is smaller.
        skip: leave unreadable files out with a warning; otherwise they are an error.

    Returns:
        Images `[N, H, W, 3]` uint8; the real part of each, `[N, 2]` rows and columns; indices of the files used.

    Raises:
        UserError: files that cannot be read, all named; no room for the cache.
    """
    sizes = cache.arrays(f"{name}-sizes-{cache.fingerprint(files)}", lambda: {"sizes": _sizes(files, name)})["sizes"]
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
            with console.Phase(f"decoding {name}", len(used), "images") as phase:
                for start in range(0, len(used), CHUNK):
                    rows = range(start, min(start + CHUNK, len(used)))
                    for pixels in pool.map(lambda r: _pixels(used[r], fitted[r], fit), rows):
                        out.write(mirrored(pixels, canvas).tobytes())
                        phase.update()

    arrays = cache.built(entry, build)
    return arrays["images"], fitted, kept


def suffixes() -> set[str]:
    """Endings of the names of image files, in lower case."""
    return {suffix for suffix, form in Image.registered_extensions().items() if form not in PROGRAMS}


@contextmanager
def opened(path: Path | BinaryIO, most_pixels: int | None = None) -> Iterator[Image.Image]:
    """An image whose header is read, and nothing more: the one door for image files from outside.

    Raises:
        Exception: what Pillow raises for files that are no images.
        ValueError: no regular file (a pipe would be waited for), or more than `most_pixels` (None: `MOST_PIXELS`).
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    Image.init()
    with Image.open(path, formats=[form for form in Image.ID if form not in PROGRAMS]) as image:
        most = most_pixels or MOST_PIXELS
        if image.width * image.height > most:
            raise ValueError(f"{image.width}x{image.height} pixels; at most {most:,} are decoded")
        yield image


def load_rgb(path: Path | BinaryIO, most_pixels: int | None = None) -> Image.Image:
    """Any image as 8-bit RGB, upright: 16-bit values are divided by 256, transparency is dropped.

    Raises:
        Exception: what Pillow's decoders raise for files that are no images, or damaged.
        ValueError: as `opened`, or pixels without a known range.
    """
    with opened(path, most_pixels) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.int64)
            image = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("32-bit floating-point pixels have no known range; convert the file to 8 or 16 bits")
        return image.convert("RGB")


def _sizes(files: Sequence[Path], name: str = "images") -> np.ndarray:
    """Rows and columns of each file `[N, 2]`; zeros where it cannot be decoded."""

    def sides(path: Path) -> tuple[int, int]:
        try:
            image = load_rgb(path)
        except Exception:  # each format's decoder has its own exceptions for damaged files; see _broken_text
            return 0, 0
        return image.height, image.width

    with ThreadPoolExecutor() as pool:
        found = console.steps(pool.map(sides, files), f"looking at {name}", len(files), "images")
        return np.array(list(found), np.int64).reshape(-1, 2)


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
    try:
        return fitted_size(sides, (size, size), fit)
    except ValueError as error:
        raise UserError(f"{path} is {error}") from error


def _pixels(path: Path, fitted: np.ndarray, fit: str) -> np.ndarray:
    return fitted_pixels(load_rgb(path), fitted, fit, Image.Resampling.BILINEAR)
