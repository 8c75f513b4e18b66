"""Single frames of a video, decoded again when they are wanted."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mocca_jax.data import footage, incoming


def at(source: Any, numbers: Iterable[int]) -> Iterator[tuple[int, Image.Image]]:
    """Frames by their numbers, in order, each once. A film is read up to the last of them.

    Args:
        source: of a video: image files in order, frames `[T, H, W, C]`, or one film.
        numbers: of frames, from 0.

    Raises:
        UserError: it cannot be read.
    """
    wanted = sorted(set(numbers))
    if not isinstance(source, Path):
        yield from ((number, incoming.decoded(source[number])) for number in wanted)
        return
    left = set(wanted)
    for number, frame in enumerate(footage.of(source)):
        if number in left:
            left.remove(number)
            yield number, frame.picture
            if not left:
                return
