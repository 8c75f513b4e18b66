"""Pictures as any browser shows them, whatever file they come in."""

import io

from mocca_jax.data import decoder

MOST, TYPE = 1600, "image/jpeg"  # longest side; what it is
QUALITY = 90
DESCRIBED = {200: {"description": "the picture", "content": {TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


def drawn(body: bytes, side: int, depth: int, most_pixels: int) -> bytes:
    """A JPEG of a picture file, upright, at most `side` long and wide; the rest: see `decoder.picture`.

    Raises:
        UserError: as `decoder.picture`.
    """
    image = decoder.picture(body, depth, most_pixels)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
