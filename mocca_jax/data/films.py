"""Film files, read and written through OpenCV (`pip install "mocca_jax[video]"`)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from mocca_jax.data.inputs import MOST_PIXELS
from mocca_jax.data.ticks import Tick, ticks
from mocca_jax.errors import UserError
from mocca_jax.files import kinds

COUNTED = (".avi", ".mp4", ".m4v", ".mov")  # films whose header counts frames; others say how long they are
ROUNDED = 1.5  # steps between the last frame's time and the end, at the most


def is_film(path: Path) -> bool:
    """Whether the name ends as those of film files do."""
    return path.suffix.lower() in kinds.FILMS


def opencv() -> ModuleType:
    """OpenCV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError('films need OpenCV: pip install "mocca_jax[video]" (or opencv-python-headless)') from error
    return cv2


@dataclass(frozen=True)
class Header:
    """What a film's header says: frames per second and how many frames, each 0 where it does not."""

    rate: float
    frames: int


def frames(path: Path) -> Iterator[Image.Image]:
    """The film's frames as RGB images; a film that ends before its header says is told and read as far as it goes.

    Raises:
        UserError: it cannot be opened, or holds no frame.
    """
    faults: list[str] = []
    for picture, _ in timed(path, faults):
        yield picture
    for fault in faults:
        logging.warning("%s %s", path, fault)


def timed(path: Path, faults: list[str]) -> Iterator[tuple[Image.Image, Tick]]:
    """The film's frames as RGB images, upright as the film says, with their times.

    Args:
        path: of the film.
        faults: gets, at the end, how the film differs from its header; the text follows the film's name.

    Raises:
        UserError: it cannot be opened, or holds no frame.
    """
    cv2 = opencv()
    film = cv2.VideoCapture(str(path))
    times: list[float] = []
    try:
        film.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        header = _header(film)
        width, height = (film.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            raise UserError(f"{path}: {width:.0f}x{height:.0f} pixels; at most {MOST_PIXELS:,} are decoded")
        pictures, ahead = tee(_read(film, times))
        of_times = ticks((times[number] for number, _ in enumerate(ahead)), header.rate)
        yield from zip(pictures, of_times, strict=True)
    except cv2.error as error:
        raise UserError(f"{path} cannot be read as a film ({error}). Is it whole? Remove or replace it.") from error
    finally:
        film.release()
    if not times:
        raise UserError(f"{path}: no frame of it can be read. Is it a film, and whole? Remove or replace it.")
    if fault := _fault(times, header, path.suffix.lower() in COUNTED):
        faults.append(fault)


def _header(film: Any) -> Header:
    cv2 = opencv()
    rate, count = film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)
    known = film.isOpened() and math.isfinite(rate) and math.isfinite(count)
    return Header(max(rate, 0.0), max(int(count), 0)) if known else Header(0.0, 0)


def _read(film: Any, times: list[float]) -> Iterator[Image.Image]:
    """The frames; `times` gets the seconds that the container says."""
    cv2 = opencv()
    while True:
        good, frame = film.read()
        if not good:
            return
        seconds = film.get(cv2.CAP_PROP_POS_MSEC) / 1000
        times.append(seconds if math.isfinite(seconds) else 0.0)
        yield Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def _fault(times: Sequence[float], header: Header, counted: bool) -> str:
    """How a film whose frames have these times differs from its header; "" where it does not.

    Args:
        times: seconds.
        header: what it says.
        counted: its number of frames was counted; otherwise it was made of the duration.
    """
    count, said = len(times), header.frames
    is_whole = False
    if header.rate > 0 and times[-1] > times[0]:
        step = max(1 / header.rate, times[-1] - times[-2])
        is_whole = said / header.rate - (times[-1] - times[0]) < ROUNDED * step
    if count < said and not is_whole:
        return f"ends after {count} of {said} frames: is it cut off?"
    if counted and count < said:
        return f"holds {count} frames that can be read, of {said}"
    return f"holds {count} frames, and its header says {said}" if counted and count > said > 0 else ""


def write(path: Path, pictures: Iterable[np.ndarray], frames_per_second: float) -> int:
    """Writes pictures `[rows, columns, 3]` uint8 as a film: MP4 or AVI by OpenCV, GIF by Pillow. Returns their number.

    Raises:
        UserError: another ending, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".gif", ".mp4", ".avi"):
        raise UserError(f"{path}: films are written as .gif, .mp4 or .avi")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".gif":
        images = [Image.fromarray(picture) for picture in pictures]
        images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_second, loop=0)
        return len(images)
    cv2 = opencv()
    writer, count = None, 0
    for picture in pictures:
        if writer is None:
            code = cv2.VideoWriter_fourcc(*("mp4v" if suffix == ".mp4" else "MJPG"))
            writer = cv2.VideoWriter(str(path), code, frames_per_second, picture.shape[1::-1])
            if not writer.isOpened():
                raise UserError(f"{path} cannot be written; is the folder writable?")
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        count += 1
    if writer is not None:
        writer.release()
    return count
