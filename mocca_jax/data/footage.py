"""The frames of one video in order, with their times: films, folders of frames, image files of several pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mocca_jax.data import incoming


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    `picture`: RGB of 8 bits. `seconds`: since the video's first frame, None where nothing tells. `begins`: nothing came
    directly before it: it is the first, or frames are missing before it.
    """

    picture: Image.Image
    seconds: float | None
    begins: bool


def of(source: Sequence[Path] | Path, depth: int = 0) -> Iterator[Frame]:
    """The frames of a video.

    Args:
        source: image files in order, what `incoming.frames` takes, or an iterator of pictures or of `Frame`.
        depth: see `decoder.picture`.

    Raises:
        UserError: it is no video, or cannot be read.
    """
    if isinstance(source, Iterator):
        for number, given in enumerate(source):
            yield given if isinstance(given, Frame) else Frame(incoming.decoded(given, depth), None, number == 0)
        return
    for number, picture in enumerate(incoming.frames(source, depth)):
        yield Frame(picture, None, number == 0)
