"""Pictures as callers hand them over, one or many: files, folders, patterns, bytes, arrays, Pillow images."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from mocca_jax.data import decoder, films, listing, values
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.files import digests

Picture = decoder.Source
SHOWN = 300  # characters of what was given in place of a name


def each(given: Any) -> Iterator[Picture]:
    """The pictures of what may be one, a batch `[N, H, W, C]`, a folder, a pattern, or any iterable of pictures.

    Raises:
        UserError: it is none of these, or a folder or pattern without pictures.
    """
    if isinstance(given, str | Path):
        yield from _named(given)
        return
    if isinstance(given, bytes | bytearray | memoryview | Image.Image) or hasattr(given, "read"):
        yield given
        return
    array = given if hasattr(given, "__array__") else None
    if array is None:
        if not isinstance(given, Iterable) or isinstance(given, Mapping):
            decoder.load(given)  # raises: it is no picture either
        yield from given
        return
    array = np.asarray(array)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in values.CHANNELS):
        yield array
    elif array.ndim == 4:
        yield from array
    else:
        raise UserError(
            f"an array of shape {array.shape} is neither a picture, [rows, columns] or [rows, columns, 1, 3 or 4], "
            "nor a batch of them, [pictures, rows, columns, channels]. A batch of grey pictures needs a last axis: "
            "array[..., None]."
        )


def _named(given: str | Path) -> list[Path]:
    """A file; the pictures of a folder, however deep; or those that a pattern names."""
    path = Path(given)
    if os.path.isdir(path):
        found = listing.under(path)
        unused = [*found.unused, *(listing.Unused(film, "a film") for film in found.films)]
        if told := listing.told(unused):
            logging.warning("%s: these files are not looked at:\n%s", listing.printable(path), told)
        if not found.pictures:
            raise UserError(f"{listing.printable(path)} holds no images")
        return found.pictures
    if glob.has_magic(str(given)) and not os.path.exists(path):
        matching = sorted(Path(name) for name in glob.glob(str(given), recursive=True))
        if not matching:
            raise UserError(f"{given} matches nothing")
        return [file for name in matching for file in (_named(name) if name.is_dir() else [name])]
    return [path]


def decoded(given: Picture, depth: int = 0) -> Image.Image:
    """One picture, RGB of 8 bits, see `decoder.picture`.

    Raises:
        UserError: it cannot be read, or its shape, type or range is none that a picture has.
    """
    try:
        return decoder.picture(given, depth)
    except UserError as error:
        if isinstance(given, str | Path):
            name = listing.printable(given)[:SHOWN]
            raise UserError(f"{name} cannot be read as an image ({error})") from error
        raise


@dataclass(frozen=True)
class Seen:
    """What a network sees of a picture, before scaling: `pixels [rows, columns, channels]` uint8; and `sides`, rows and
    columns of the picture as it came, upright."""

    pixels: np.ndarray
    sides: tuple[int, int]


def view(given: Picture, inputs: Inputs) -> np.ndarray:
    """The pixels of `see`."""
    return see(given, inputs).pixels


def see(given: Picture, inputs: Inputs) -> Seen:
    """What a network with these `inputs` sees of a picture.

    Raises:
        UserError: as `decoded`; or its sides are too unequal.
    """
    picture = decoded(given, inputs.depth)
    try:
        return Seen(inputs.prepare(picture), (picture.height, picture.width))
    except ValueError as error:
        raise UserError(f"a picture of {error}") from error


def digest(given: Picture) -> str:
    """What a picture is known by: the SHA-256 of its file, or of its values."""
    if isinstance(given, str | Path):
        return digests.of_file(Path(given))
    if isinstance(given, bytes):
        return digests.of_bytes(given)
    array = np.asarray(given)
    return digests.of_values([array.shape, str(array.dtype), digests.of_bytes(array.tobytes())])


def frames(given: Any, depth: int = 0) -> Iterator[Image.Image]:
    """The frames of one video: a film, a folder of images in the order of their names, an image file of several pages,
    or pictures in order. `depth`: see `decoder.picture`.

    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if not isinstance(given, str | Path):
        return (decoded(picture, depth) for picture in each(given))
    path = Path(given)
    if path.is_dir():
        files = listing.frames_in(path)
        if not files:
            raise UserError(f"{listing.printable(path)} holds no images")
        return (decoded(file, depth) for file in files)
    if is_film(path):
        return films.frames(path)
    return (page for page, _ in decoder.each_page(path, depth))


def is_film(path: Path) -> bool:
    """Whether a file is read as a film: by its name, or because it is no image of any pages.

    Raises:
        UserError: no such file.
    """
    if not path.is_file():
        raise UserError(f"{listing.printable(path)} does not exist")
    return films.is_film(path) or not decoder.pages(path)
