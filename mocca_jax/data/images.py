"""Image files -> one memory-mapped uint8 array, decoded once, with bounded memory.

Every image ends as RGB on a canvas of one size `[H, W, 3]`; `inputs.fitted_size` says how it gets there. Where images
differ in size, the smaller ones are mirrored at their right and lower edges.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from mocca_jax import console
from mocca_jax.data import cache, decoder
from mocca_jax.data.inputs import fitted_pixels, fitted_size, mirrored
from mocca_jax.data.listing import printable
from mocca_jax.errors import UserError

CHUNK = 16
AT_ONCE = 100_000_000  # pixels that are decoded at the same time, but for one larger picture
SHOWN = 10


@dataclass(frozen=True)
class Decoded:
    """Images `[N, H, W, 3]` uint8; of each the real part `fitted [N, 2]`, rows and columns; the rows and columns of
    its file, `sides [N, 2]`; its file's place in the list, `kept [N]`."""

    images: np.ndarray
    fitted: np.ndarray
    sides: np.ndarray
    kept: np.ndarray


def decoded(
    name: str, files: Sequence[Path], contents: Sequence[str], size: int, fit: str, least: int, skip: bool, depth: int
) -> Decoded:
    """All images as one array.

    Args:
        name: of the cache entry, for people.
        files: image files of any format, mode and size that is read.
        contents: their digests.
        size, fit: see `inputs.fitted_size`.
        least: no side of the canvas is smaller.
        skip: leave unreadable files out with a warning; otherwise they are an error.
        depth: see `decoder.picture`.

    Raises:
        UserError: files that cannot be read, all named; no room for the cache.
    """
    entry = f"{name}-sizes-{cache.of_contents(contents, depth)}"
    sizes = cache.arrays(entry, lambda: {"sizes": _sizes(files, depth, name)})["sizes"]
    broken = np.flatnonzero(sizes[:, 0] == 0)
    if len(broken):  # a file may have been unreadable once: that is not remembered
        sizes = np.array(sizes)
        sizes[broken] = _sizes([files[i] for i in broken], depth, name)
        broken = np.flatnonzero(sizes[:, 0] == 0)
    if len(broken):
        told = broken_text([files[i] for i in broken], depth)
        if not skip:
            raise UserError(f"{told}\nMend or remove them, or pass --config.unreadable=skip.")
        logging.warning("left out: %s", told)
    kept = np.flatnonzero(sizes[:, 0])
    if not len(kept):
        none = np.zeros((0, 2), np.int64)
        return Decoded(np.zeros((0, size, size, 3), np.uint8), none, none, kept)
    used = [files[i] for i in kept]
    fitted = np.array(
        [_fitted_size(path, tuple(sizes[i].tolist()), size, fit) for path, i in zip(used, kept, strict=True)]
    )
    canvas = np.maximum(fitted.max(0), least)
    known = cache.of_contents([contents[i] for i in kept], size, fit, least, depth)

    def build(folder: Path) -> None:
        shape = (len(used), int(canvas[0]), int(canvas[1]), 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        at_once = _at_once(int(canvas.prod()))
        with ThreadPoolExecutor(at_once) as pool, open(folder / "images.npy", "wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            with console.Phase(f"decoding {name}", len(used), "images") as phase:
                for start in range(0, len(used), at_once):
                    rows = range(start, min(start + at_once, len(used)))
                    for pixels in pool.map(lambda r: _pixels(used[r], fitted[r], fit, depth), rows):
                        out.write(mirrored(pixels, canvas).tobytes())
                        phase.update()

    arrays = cache.built(f"{name}-{fit}{size}-{canvas[0]}x{canvas[1]}-{known}", build)
    return Decoded(arrays["images"], fitted, sizes[kept], kept)


def broken_text(broken: Sequence[Path], depth: int = 0) -> str:
    """Files that cannot be read, some with the reason."""
    lines = [f"{printable(path)}: {_fault(path, depth)}" for path in broken[:SHOWN]]
    more = [f"and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
    return f"{len(broken)} file(s) cannot be read as images:\n  " + "\n  ".join(lines + more)


def _sizes(files: Sequence[Path], depth: int, name: str) -> np.ndarray:
    """Rows and columns of each file `[N, 2]`; zeros where it cannot be decoded."""

    def sides(path: Path) -> tuple[int, int]:
        try:
            image = decoder.picture(path, depth)
        except UserError:  # why, says `broken_text`
            return 0, 0
        return image.height, image.width

    with ThreadPoolExecutor(_at_once(max(map(_stored, files), default=0))) as pool:
        found = console.steps(pool.map(sides, files), f"looking at {name}", len(files), "images")
        return np.array(list(found), np.int64).reshape(-1, 2)


def _stored(path: Path) -> int:
    """The pixels of a file as its header says, 0 where that cannot be read."""
    try:
        with decoder.opened(path) as image:
            return image.width * image.height
    except Exception:  # why, says `broken_text`
        return 0


def _at_once(pixels: int) -> int:
    """How many pictures of so many pixels are decoded at the same time."""
    return max(1, min(CHUNK, AT_ONCE // max(pixels, 1)))


def _fault(path: Path, depth: int) -> str:
    try:
        decoder.picture(path, depth)
    except UserError as error:
        return str(error)
    return "could not be read when it was first looked at; try again"


def _fitted_size(path: Path, sides: tuple[int, int], size: int, fit: str) -> tuple[int, int]:
    try:
        return fitted_size(sides, (size, size), fit)
    except ValueError as error:
        raise UserError(f"{printable(path)} is {error}") from error


def _pixels(path: Path, fitted: np.ndarray, fit: str, depth: int) -> np.ndarray:
    return fitted_pixels(decoder.picture(path, depth), fitted, fit, Image.Resampling.BILINEAR)
