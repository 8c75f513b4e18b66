"""Cameras and addresses: frames are read in a thread of their own, as fast as they come, and wait in a bounded queue.

When they come faster than they are judged, the queue is full at some time. Then all frames are dropped until those that
wait are judged, and the next begins anew: what is judged are whole stretches. Dropping single ones would make movement
look faster than it is, which is what is being looked for.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from absl import logging
from PIL import Image

from mocca_jax.data import footage
from mocca_jax.data.arrivals import Arrived, Settings, Stamp, thinned
from mocca_jax.data.films import opencv
from mocca_jax.errors import UserError

MOST, LEAST = 64, 16  # frames that wait
MOST_BYTES = 256 * 2**20  # of frames that wait, unless these are fewer than `LEAST`
PAUSES = (1.0, 60.0)  # seconds before a source is opened again: the first time, and the longest
OPENS = 10.0  # seconds for opening
READS = 30.0  # seconds without a frame after which the connection is given up, at least
WAKES = 0.1  # seconds between looks at whether to stop


def named(address: str) -> str:
    """An address without user, password and query.

    Example:
        >>> named("rtsp://me:secret@10.0.0.7:554/one?token=1")
        'rtsp://10.0.0.7:554/one'
    """
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Stream:
    """A camera by its number, or whatever OpenCV opens by an address. Ends only when it is read `once`, or is a film.

    A film is what has a number of frames: nothing of it is dropped.

    Args:
        target: what OpenCV opens.
        name: what it is called.
        settings: how it is read.

    Raises:
        UserError: OpenCV is not installed.
    """

    waits = True

    def __init__(self, target: str | int, name: str, settings: Settings):
        opencv()
        self.name, self._target, self._settings = name, target, settings
        self.dropped = 0
        self._queue: queue.SimpleQueue[Arrived | None] = queue.SimpleQueue()  # None: nothing more will come
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._number, self._first, self._size = 0, 0.0, None
        self._broken, self._full, self._is_film = True, False, False

    @property
    def waiting(self) -> int:
        """Frames in the queue."""
        return self._queue.qsize()

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Arrived | None]:
        """The frames, and None where none has come for `patience` seconds.

        Raises:
            UserError: it is read `once` and cannot be opened.
        """
        reader = threading.Thread(target=self._run, name=f"reads {self.name}", daemon=True)
        reader.start()
        since, told = time.monotonic(), False
        try:
            while not stopped():
                try:
                    arrived = self._queue.get(timeout=WAKES)
                except queue.Empty:
                    if time.monotonic() - since > self._settings.patience and not told:
                        told = True
                        yield None
                    continue
                if arrived is None:
                    break
                yield arrived
                since, told = time.monotonic(), False
        finally:
            self._closed.set()
            reader.join(WAKES)  # it may be waiting for a frame; it ends with the program then
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            for arrived in thinned(self._all(), self._settings.every):
                self._offer(arrived)
        except Exception as error:  # raised where the frames are taken
            self._error = error
        self._queue.put(None)

    def _all(self) -> Iterator[Arrived]:
        """All that is read, opened again and again."""
        pause, longest = PAUSES
        while not self._closed.is_set():
            film, before = self._opened(), self._number
            opened, self._is_film = film.isOpened(), film.get(opencv().CAP_PROP_FRAME_COUNT) > 0
            try:
                while not self._closed.is_set() and (picture := self._read(film)) is not None:
                    pause = PAUSES[0]
                    yield self._stamped(picture)
            finally:
                film.release()
            count = self._number - before
            if self._settings.once or (count and self._is_film):
                if not self._number:
                    raise UserError(self._fault(opened))
                return
            said = f"{self.name} has ended after {count} frames" if count else self._fault(opened)
            if self._closed.is_set():
                return
            logging.warning("%s. It is opened again in %g s.", said, pause)
            self._broken = True
            self._closed.wait(pause)
            pause = min(2 * pause, longest)

    def _opened(self) -> Any:
        cv2 = opencv()
        if isinstance(self._target, int) or "://" not in self._target:  # whose drivers take no limits
            return cv2.VideoCapture(self._target)
        reads = max(READS, 3 * self._settings.patience)
        limits = {cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: OPENS, cv2.CAP_PROP_READ_TIMEOUT_MSEC: reads}
        flat = [part for name, seconds in limits.items() for part in (name, int(1000 * seconds))]
        return cv2.VideoCapture(self._target, cv2.CAP_ANY, flat)

    def _read(self, film: Any) -> Image.Image | None:
        """The next frame; None where there is none."""
        cv2 = opencv()
        try:
            good, picture = film.read() if film.isOpened() else (False, None)
            return Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) if good else None
        except cv2.error as error:
            logging.warning("%s: %s", self.name, error)
            return None

    def _stamped(self, picture: Image.Image) -> Arrived:
        at = time.monotonic()
        self._first = self._first if self._number else at
        seconds = at - self._first
        begins = self._broken or picture.size != self._size
        stamp = Stamp(self._number, at, time.time(), seconds)
        self._number, self._broken, self._size = self._number + 1, False, picture.size
        return Arrived(footage.Frame(picture, seconds, begins), stamp)

    def _offer(self, arrived: Arrived) -> None:
        """Puts a frame into the queue, or drops it."""
        picture = arrived.frame.picture
        room = min(MOST, max(LEAST, MOST_BYTES // (picture.width * picture.height * 3)))
        if self._is_film:
            while self._queue.qsize() >= room and not self._closed.wait(WAKES / 10):
                pass
        elif self._full or self._queue.qsize() >= room:
            self._full = not self._queue.empty()
            if self._full:
                self.dropped += 1
                self._broken = True
                return
        self._queue.put(arrived)

    def _fault(self, opened: bool) -> str:
        what = "opens, but gives no frame" if opened else "cannot be opened"
        if isinstance(self._target, int):
            return f"{self.name} {what} (is it plugged in, used by another program, may this user use it?)"
        return f"{self.name} {what} (is it running, are address, user and password right?)"
