"""Film files, read and written through OpenCV (`pip install "mocca_jax[video]"`)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from mocca_jax.data.inputs import MOST_PIXELS
from mocca_jax.errors import UserError
from mocca_jax.files import kinds


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


def promised(path: Path) -> int:
    """How many frames the film's header says there are; 0 where it says nothing or cannot be read."""
    cv2 = opencv()
    film = cv2.VideoCapture(str(path))
    try:
        return _promised(film)
    finally:
        film.release()


def _promised(film: Any) -> int:
    return max(int(film.get(opencv().CAP_PROP_FRAME_COUNT)), 0) if film.isOpened() else 0


def frames(path: Path) -> Iterator[Image.Image]:
    """The film's frames as RGB images; a film that ends before its header says is told and read as far as it goes.

    Raises:
        UserError: it cannot be opened, or holds no frame.
    """
    cv2 = opencv()
    film = cv2.VideoCapture(str(path))
    try:
        said = _promised(film)
        width, height = (film.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            raise UserError(f"{path}: {width:.0f}x{height:.0f} pixels; at most {MOST_PIXELS:,} are decoded")
        count = 0
        while True:
            good, frame = film.read()
            if not good:
                break
            count += 1
            yield Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    except cv2.error as error:
        raise UserError(f"{path} cannot be read as a film ({error}). Is it whole? Remove or replace it.") from error
    finally:
        film.release()
    if not count:
        raise UserError(f"{path}: no frame of it can be read. Is it a film, and whole? Remove or replace it.")
    if count < said:
        logging.warning("%s ends after %d of %d frames: is it cut off?", path, count, said)


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
