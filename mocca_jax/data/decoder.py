"""From whatever holds a picture to its pixels: the one door for pictures and masks, for training, use and service.

A picture may be a path, the bytes of a file, an open file, a Pillow image or an array. All of these give the same
pixels: upright, as the file's orientation says; 8-bit red, green and blue, without opacity. Values of more than 8 bits
are divided down from `depth` bits, floats lie in [0, 1]. A file of several pages is no picture; its pages are.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from mocca_jax.data import contents, values
from mocca_jax.data.inputs import MOST_PIXELS
from mocca_jax.errors import UserError
from mocca_jax.files import digests

Source = str | Path | bytes | BinaryIO | Image.Image | np.ndarray
PROGRAMS = ("EPS",)  # formats whose files are programs, which an interpreter would run
PAGED = ("TIFF", "GIF", "PNG", "WEBP", "AVIF", "FLI", "DCX")  # formats whose frames are pictures beside each other
REDUCED = 254, 1  # TIFF's NewSubfileType, and its bit for a smaller copy of another page
DEEP = re.compile(r";16([BLN])$")  # at the end of how Pillow reads colours of 16 bits, of which it keeps the upper 8
SWAPPED = {"B": "L", "L": "B", "N": "B"}  # byte order: the other one gives the lower 8


@dataclass(frozen=True)
class Loaded:
    """A picture upright, as it is stored.

    Args:
        image: of any mode of Pillow's; 16-bit colours by their upper 8 bits.
        deep: its values `[rows, columns]` or `[rows, columns, channels]` where 8 bits do not hold them; else None.
        form: the format of the file in Pillow's word, "" where it comes from none.
    """

    image: Image.Image
    deep: np.ndarray | None = None
    form: str = ""

    def colours(self) -> np.ndarray:
        """`deep` without opacity, which is the last of two or four channels: `[rows, columns]` or `[..., 3]`."""
        if self.deep.ndim == 2:
            return self.deep
        return self.deep[..., 0] if self.deep.shape[2] == 2 else self.deep[..., :3]


@dataclass(frozen=True)
class Facts:
    """What is known of a picture before it is resized.

    Args:
        size: rows and columns, upright.
        mode: as Pillow calls what a pixel is.
        bits: how many the largest value of a file of more than 8 bits takes; 0 for all others.
        digest: of the pixels.
        fault: why it cannot be read; "" where it can.
    """

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    bits: int = 0
    digest: str = ""
    fault: str = ""


def picture(source: Source, depth: int = 0, most_pixels: int | None = None, page: int | None = None) -> Image.Image:
    """The picture, RGB of 8 bits, upright.

    Args:
        source: see the module's docstring; arrays are uint8, uint16, bool, floats in [0, 1], or int32 as Pillow gives.
        depth: bits that count in pictures of more than 8, such as 12 for cameras that store 12 in 16; 0: as the file
            or type says.
        most_pixels: more are not decoded; None: `MOST_PIXELS`.
        page: the number of a page, from 0; None: there is one only.

    Raises:
        UserError: it cannot be read, or has no known range. The text does not name the file.
    """
    return rgb(load(source, most_pixels, page, deep=bool(depth)), depth)


def rgb(found: Loaded, depth: int = 0) -> Image.Image:
    """What was loaded as 8-bit RGB; see `picture`."""
    if found.deep is None:
        if found.image.mode == "RGB":  # to convert would copy it
            return found.image
        opaque = found.image.mode != "P" or "transparency" not in found.image.info
        return (found.image if opaque else found.image.convert("RGBA")).convert("RGB")
    return Image.fromarray(values.eight_bits(found.colours(), depth)).convert("RGB")


def load(source: Source, most_pixels: int | None = None, page: int | None = None, deep: bool = True) -> Loaded:
    """The picture as it is stored, upright; without `deep`, of 16-bit colours only the upper 8 bits.

    Raises:
        UserError: as `picture`.
    """
    if isinstance(source, Image.Image):
        return _of_pillow(source, most_pixels, deep)
    if hasattr(source, "__array__"):
        return _of_array(np.asarray(source), most_pixels)
    content = contents.read(source)
    try:
        with opened(io.BytesIO(content), most_pixels) as image:
            numbers = _pages(image)
            if page is None and len(numbers) > 1:
                raise UserError(f"it has {len(numbers)} pages, and a picture has one: save them as files of their own")
            return _of_file(image, numbers[page or 0], content, deep)
    except UserError:
        raise
    except Exception as error:  # each format's decoder has its own exceptions for damaged files
        raise UserError(contents.why(error, content)) from error


def pages(path: Path) -> int:
    """How many pictures a file holds, 0 where it cannot be read; previews and smaller copies do not count."""
    try:
        if not path.is_file():
            return 0
        with opened(path) as image:
            return len(_pages(image))
    except Exception:  # as above
        return 0


def each_page(path: Path, depth: int = 0) -> Iterator[tuple[Image.Image, float | None]]:
    """The pages of a file, as `picture` gives them, with the seconds that each is shown; None where it does not say.

    Raises:
        UserError: as `picture`.
    """
    content = contents.read(path)
    try:
        with opened(io.BytesIO(content)) as image:
            for number in _pages(image):
                page = rgb(_of_file(image, number, content, bool(depth)), depth)
                shown = image.info.get("duration")
                yield page, shown / 1000 if shown else None
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(contents.why(error, content)) from error


def looked_at(source: Source, depth: int = 0) -> tuple[Facts, Image.Image | None]:
    """What is known of a picture, and itself, as `picture`, None where it cannot be read; raises nothing."""
    try:
        found = load(source)
        pixels = rgb(found, depth)
    except UserError as error:
        return Facts(fault=str(error)), None
    deep = found.deep is not None and np.issubdtype(found.deep.dtype, np.integer)
    known = Facts(
        size=(pixels.height, pixels.width),
        mode=found.image.mode,
        bits=int(found.deep.max()).bit_length() if deep else 0,
        digest=digests.of_values([pixels.size, digests.of_bytes(pixels.tobytes())]),
    )
    return known, pixels


def no_picture(path: Path) -> str:
    """Why a file does not begin as pictures do, whatever its name; "" where it does."""
    try:
        with opened(path):
            return ""
    except UserError:
        return ""  # a picture, only too large
    except Exception as error:  # as above
        try:
            with open(path, "rb") as file:
                return contents.why(error, file.read(contents.HEAD))
        except OSError as closed:
            return f"it cannot be opened ({closed.strerror})"


def suffixes() -> set[str]:
    """Endings of the names of picture files, in lower case."""
    Image.init()
    read = {form for form in Image.OPEN if form not in PROGRAMS}
    return {suffix for suffix, form in Image.registered_extensions().items() if form in read}


@contextmanager
def opened(file: Path | BinaryIO, most_pixels: int | None = None) -> Iterator[Image.Image]:
    """An image whose header is read, and nothing more.

    Raises:
        Exception: what Pillow raises for files that are no images.
        UserError: more than `most_pixels`.
    """
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of fewer pixels than `_bound` allows
        read = Image.open(file, formats=[form for form in Image.ID if form not in PROGRAMS])
    with read as image:
        _bound(image, most_pixels)
        yield image


def _bound(image: Image.Image, most_pixels: int | None) -> None:
    most_pixels = most_pixels or MOST_PIXELS
    if image.width * image.height > most_pixels:
        raise UserError(f"{image.width}x{image.height} pixels; at most {most_pixels:,} are decoded")


def _pages(image: Image.Image) -> list[int]:
    """The numbers of the frames that are pictures of their own."""
    count = getattr(image, "n_frames", 1) if image.format in PAGED else 1
    if count == 1 or image.format != "TIFF":
        return list(range(count))
    tag, reduced = REDUCED
    found = []
    for number in range(count):
        image.seek(number)
        if not image.tag_v2.get(tag, 0) & reduced:
            found.append(number)
    image.seek(0)
    return found or [0]


def _of_file(image: Image.Image, page: int, content: bytes, deep: bool) -> Loaded:
    if page:
        image.seek(page)
    form, rawmode = image.format or "", _rawmode(image)
    upright = _upright(image)
    if not DEEP.search(rawmode) or upright.mode.startswith("I"):
        return _known(upright, form)
    upper = np.asarray(upright)
    if not deep:
        values.tell_dark(int(upper.max()).bit_length() + 8)
        return Loaded(upright, form=form)
    with opened(io.BytesIO(content)) as again:
        if page:
            again.seek(page)
        again.tile = [tile._replace(args=_swapped(tile.args)) for tile in again.tile]
        lower = np.asarray(_upright(again))
    return Loaded(upright, (upper.astype(np.uint16) << 8) | lower, form)


def _rawmode(image: Image.Image) -> str:
    """How Pillow will read its values; "" where it has."""
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _swapped(args: Any) -> Any:
    """As `tile.args`, in the other order of bytes."""
    if isinstance(args, str):
        return DEEP.sub(lambda found: f";16{SWAPPED[found[1]]}", args)
    return (_swapped(args[0]), *args[1:])


def _of_pillow(image: Image.Image, most_pixels: int | None, deep: bool) -> Loaded:
    if image.format in PROGRAMS:
        raise UserError("it is PostScript, a program: it is not run")
    _bound(image, most_pixels)
    if deep and DEEP.search(_rawmode(image)):  # a file that Pillow has opened and not loaded: loaded, it has 8 bits
        before = image.fp.tell()
        image.fp.seek(0)
        content = image.fp.read()
        image.fp.seek(before)
        return load(content, most_pixels, image.tell())
    try:
        return _known(_upright(image), image.format or "")
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(contents.why(error, b"")) from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    return ImageOps.exif_transpose(image)


def _of_array(array: np.ndarray, most_pixels: int | None) -> Loaded:
    array = values.checked(array)
    shallow = array.dtype == np.uint8
    image = Image.fromarray(np.ascontiguousarray(array)) if shallow else Image.new("L", array.shape[1::-1])
    _bound(image, most_pixels)
    return Loaded(image, None if shallow else array)


def _known(image: Image.Image, form: str) -> Loaded:
    """With the values of modes that are not 8-bit."""
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.asarray(image)
        return Loaded(image, deep.astype(deep.dtype.newbyteorder("=")), form)
    if image.mode in ("RGBa", "La"):  # opacity is multiplied in
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    return Loaded(image, form=form)
