"""The frames of one video in order, with their times: films, folders of frames, image files of several pages."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging
from PIL import Image

from mocca_jax.data import decoder, films, incoming, listing, video_layout
from mocca_jax.data.listing import printable, shortened
from mocca_jax.data.ticks import Tick


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    `picture`: RGB of 8 bits. `seconds`: since the video's first frame, None where nothing tells. `begins`: nothing came
    directly before it: it is the first, frames are missing before it, a recording starts anew, or its size is another.
    """

    picture: Image.Image
    seconds: float | None
    begins: bool


@dataclass(frozen=True)
class Fault:
    """What is odd about a video that is used all the same.

    `kind`: "header", "gap" or "size". `text`: follows the video's name.
    """

    kind: str
    text: str


def of(source: Sequence[Path] | Path | Any, depth: int = 0, faults: list[Fault] | None = None) -> Iterator[Frame]:
    """The frames of a video, decoded once.

    Args:
        source: image files in order, what `incoming.frames` takes, or an iterator of pictures or of `Frame`.
        depth: see `decoder.picture`.
        faults: gets what is odd about the video, when its last frame was taken; it is told in the log too.

    Raises:
        UserError: it is no video, or cannot be read.
    """
    if isinstance(source, Iterator):
        yield from _of_iterator(source, depth)
        return
    found: list[Fault] = []
    sizes: Counter[tuple[int, int]] = Counter()
    before = None
    for picture, tick in _timed(source, depth, found):
        begins = tick.begins or picture.size != before
        before = picture.size
        sizes[picture.height, picture.width] += 1
        yield Frame(picture, tick.seconds, begins)
    if len(sizes) > 1:
        found.append(Fault("size", f"has frames of several sizes: {listed(sizes)}"))
    for fault in found:
        logging.warning("%s %s", _named(source), fault.text)
    if faults is not None:
        faults += found


def listed(sizes: Counter) -> str:
    """Sizes, rows and columns, and how many frames have them, the most frequent first, as text."""
    return ", ".join(f"{columns}x{rows} ({count})" for (rows, columns), count in sizes.most_common())


def _of_iterator(source: Iterator, depth: int) -> Iterator[Frame]:
    """Each frame as soon as it comes."""
    before = None
    for given in source:
        frame = given if isinstance(given, Frame) else Frame(incoming.decoded(given, depth), None, False)
        yield replace(frame, begins=frame.begins or frame.picture.size != before)
        before = frame.picture.size


def _timed(source: Any, depth: int, faults: list[Fault]) -> Iterator[tuple[Image.Image, Tick]]:
    if not isinstance(source, str | Path):
        return _of_images(source, depth, faults)
    path = Path(source)
    if path.is_dir():
        return _of_images(listing.frames_in(path) or path, depth, faults)
    return _of_film(path, faults) if incoming.is_film(path) else _of_pages(path, depth)


def _of_film(path: Path, faults: list[Fault]) -> Iterator[tuple[Image.Image, Tick]]:
    header: list[str] = []
    gaps, starts = [], []
    for number, (picture, tick) in enumerate(films.timed(path, header)):
        if number and tick.begins:
            (starts if tick.anew else gaps).append(f"{number} (at {tick.seconds:.1f} s)")
        yield picture, tick
    faults += [Fault("header", text) for text in header]
    if gaps:
        faults.append(Fault("gap", f"jumps in time before frame {shortened(gaps)}"))
    if starts:
        faults.append(Fault("gap", f"holds several recordings: its times start anew before frame {shortened(starts)}"))


def _of_pages(path: Path, depth: int) -> Iterator[tuple[Image.Image, Tick]]:
    """Pages have times as far as each before says how long it is shown."""
    seconds: float | None = 0.0
    for number, (picture, shown) in enumerate(decoder.each_page(path, depth)):
        is_timed = seconds is not None and (number or shown)
        yield picture, Tick(seconds if is_timed else None, number == 0)
        seconds = seconds + shown if is_timed and shown else None


def _of_images(images: Any, depth: int, faults: list[Fault]) -> Iterator[tuple[Image.Image, Tick]]:
    """Pictures in order, which may have no names."""
    named = isinstance(images, Sequence) and all(isinstance(image, str | Path) for image in images)
    gaps = video_layout.gaps([Path(image) for image in images]) if named else []
    if gaps:
        names = shortened([printable(path.name) for path in gaps])
        faults.append(Fault("gap", f"misses frames, by their numbers, before {names}"))
    missing = {str(path) for path in gaps}
    for number, picture in enumerate(incoming.frames(images, depth)):
        yield picture, Tick(None, number == 0 or (named and str(Path(images[number])) in missing))


def _named(source: Any) -> str:
    if isinstance(source, str | Path):
        return printable(source)
    first = source[0] if isinstance(source, Sequence) and len(source) else None
    return printable(Path(first).parent) if isinstance(first, str | Path) else "a video"
