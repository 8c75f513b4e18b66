"""Pictures as any browser shows them, whatever file they come in."""

import io

from PIL import Image

from mocca_jax.data import decoder
from mocca_jax.data.inputs import Inputs, fitted_size

MOST, TYPE = 1600, "image/jpeg"  # longest side; what it is
AROUND = 128  # pixels of a large picture, on each side of a place
QUALITY = 90
DESCRIBED = {200: {"description": "the picture", "content": {TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


def drawn(body: bytes, side: int, depth: int, most_pixels: int) -> bytes:
    """A JPEG of a picture file, upright, at most `side` long and wide; the rest: see `decoder.picture`.

    Raises:
        UserError: as `decoder.picture`.
    """
    image = decoder.picture(body, depth, most_pixels)
    image.thumbnail((side, side))
    return _packed(image)


def around(body: bytes, at: tuple[int, int], inputs: Inputs, most_pixels: int) -> bytes:
    """A JPEG of the surroundings of a place of a picture file, `AROUND` pixels each way.

    Args:
        body: the file.
        at: left and top, in pixels of the picture as it is judged.
        inputs: how it is judged.
        most_pixels: see `decoder.picture`.

    Raises:
        UserError: as `decoder.picture`.
    """
    image = decoder.picture(body, inputs.depth, most_pixels)
    whole = fitted_size((image.height, image.width), inputs.size, inputs.fit)[::-1]
    if image.size != whole:
        image = image.resize(whole)
    first = [min(max(start - AROUND, 0), length - 1) for start, length in zip(at, whole, strict=True)]
    last = [min(start + 2 * AROUND, length) for start, length in zip(first, whole, strict=True)]
    return _packed(image.crop((*first, *last)))


def _packed(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
