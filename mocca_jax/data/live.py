"""What can be watched: a film file, a folder into which pictures are put, a camera, an address."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from mocca_jax.data import footage
from mocca_jax.data.arrivals import Arrived, Settings, Stamp, thinned
from mocca_jax.data.listing import printable
from mocca_jax.data.live_folder import Folder
from mocca_jax.data.live_stream import Stream, named
from mocca_jax.errors import UserError


def opened(given: str, settings: Settings) -> "Source":
    """What a person names: a file, a folder, a camera's number, an address.

    Raises:
        UserError: there is no such file or folder, or OpenCV is not installed.
    """
    if given.isascii() and given.isdigit():
        if Path(given).exists():
            logging.warning("%s is taken for the number of a camera; the file or folder is ./%s", given, given)
        return Stream(int(given), f"camera {int(given)}", settings)
    if "://" in given:
        return Stream(given, named(given), settings)
    path = Path(given)
    if path.is_dir():
        return Folder(path, settings)
    if path.is_file():
        return Film(path, settings)
    if path.exists():  # a device
        return Stream(given, printable(path), settings)
    raise UserError(
        f"{printable(path)} does not exist. What can be watched: a film file, a folder (it may be empty), the number "
        "of a camera such as 0, an address such as rtsp://10.0.0.7/one"
    )


class Film:
    """A film file: read as fast as it is judged, nothing is dropped. `waits`: frames are waited for."""

    waits = False
    dropped = waiting = 0

    def __init__(self, path: Path, settings: Settings):
        self.name, self._path, self._settings = printable(path), path, settings

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Arrived | None]:
        """The frames until the film ends, or `stopped` says so.

        Raises:
            UserError: it cannot be read.
        """
        return thinned(self._all(stopped), self._settings.every)

    def _all(self, stopped: Callable[[], bool]) -> Iterator[Arrived]:
        for number, frame in enumerate(footage.of(self._path, self._settings.depth)):
            if stopped():
                return
            yield Arrived(frame, Stamp(number, time.monotonic(), pace=frame.seconds))


Source = Film | Folder | Stream
