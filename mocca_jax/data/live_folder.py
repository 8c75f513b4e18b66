"""A folder into which pictures are put, as a video that is running."""

import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging
from PIL import Image

from mocca_jax.data import decoder, films, footage, incoming
from mocca_jax.data.arrivals import Arrived, Settings, Stamp, thinned
from mocca_jax.data.listing import natural, printable, shortened
from mocca_jax.data.standing import Seen, Standing, seen
from mocca_jax.errors import UserError

POLL, LONGEST_POLL = 0.1, 2.0  # seconds between two looks into a folder, at least and at most
SHARE = 5  # times as long as a look lasts, between these
SETTLES = 2.0  # seconds in which a file that cannot be decoded may still be written
STEPS, LEAST_STEPS = 64, 4  # between the numbers of files: how many tell the usual one, and from how many on
FAR = 1.5  # usual steps: a longer one is a gap


class Folder:
    """A folder into which pictures are put. Those that are there already come first; nothing is dropped.

    New files are taken in natural order of their names, each when it stands still (`Standing`) and can be decoded. A
    name may come again, where a recorder goes round: it is a new frame if it was written later.

    Args:
        path: exists.
        settings: how it is read.
    """

    waits = True
    dropped = 0

    def __init__(self, path: Path, settings: Settings):
        self.name, self.path, self._settings = printable(path), path, settings
        self.on_fault: Callable[[Path, str], None] = _told  # of a file that cannot be read, and why
        self.waiting = 0  # files that are not taken yet
        self._endings = decoder.suffixes()
        self._taken: dict[str, int] = {}  # of files that are still there, when they were written
        self._coming = Standing(SETTLES)  # those that are not taken yet
        self._known: set[str] | None = None  # what was there from the beginning
        self._before: list = []  # the natural order of the last file that was taken
        self._numbers = _Numbers()
        self._number, self._broken, self._size = 0, True, None
        self._lasted, self._fault = 0.0, ""  # of the last look: seconds, and why it failed

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Arrived | None]:
        """The frames, and None where no file has come for `patience` seconds; that ends it where it is read `once`."""
        return thinned(self._all(stopped), self._settings.every)

    def _tell_others(self) -> None:
        """Films and folders in it, which are not watched."""
        try:
            with os.scandir(self.path) as entries:
                others = sorted(e.name for e in entries if e.is_dir() or films.is_film(Path(e.name)))
        except OSError:
            return  # told by the first look
        if others:
            names = shortened([printable(name) for name in others])
            logging.warning("%s: only pictures directly in it are watched, not %s", self.name, names)

    def _all(self, stopped: Callable[[], bool]) -> Iterator[Arrived | None]:
        self._tell_others()
        since, told = time.monotonic(), False
        while not stopped():
            for arrived in self._ready():
                yield arrived
                since, told = time.monotonic(), False
                if stopped():
                    return
            if time.monotonic() - since > self._settings.patience and not told:
                if self._settings.once:
                    return
                told = self._broken = True
                yield None
            time.sleep(min(max(POLL, SHARE * self._lasted), LONGEST_POLL))

    def _ready(self) -> Iterator[Arrived]:
        """The new files that are whole, up to the first that is not."""
        now, found = time.monotonic(), self._listed()
        if found is None:
            return
        self._taken = {name: written for name, written in self._taken.items() if name in found}
        new = [name for name, of in found.items() if of.written > self._taken.get(name, -1)]
        new.sort(key=lambda name: (natural(Path(name)) < self._before, natural(Path(name))))
        if self._known is None:
            self._known = set(new)
        self._coming.look({name: found[name] for name in new})
        for position, name in enumerate(new):
            self.waiting = len(new) - position - 1
            if not self._coming.is_still(name):
                return
            try:
                picture = incoming.decoded(self.path / name, self._settings.depth)
            except UserError as error:
                if not self._coming.is_given_up(name, now):
                    return
                self.on_fault(self.path / name, str(error))
                self._taken[name], self._broken = self._coming[name].written, True
                continue
            if not self._coming.is_unchanged(name, self.path / name):
                return
            yield self._arrived(name, self._coming[name], picture)

    def _arrived(self, name: str, of: Seen, picture: Image.Image) -> Arrived:
        follows = self._numbers.follows(name)
        begins = self._broken or not follows or picture.size != self._size
        clock = of.written / 1e9
        stamp = Stamp(self._number, of.since, clock, None if name in self._known else clock, printable(name))
        self._taken[name], self._before = of.written, natural(Path(name))
        self._known.discard(name)
        self._number, self._broken, self._size = self._number + 1, False, picture.size
        return Arrived(footage.Frame(picture, None, begins), stamp, self.path / name)

    def _listed(self) -> dict[str, Seen] | None:
        """The files whose names end as those of pictures do; None where the folder cannot be looked into."""
        found, now = {}, time.monotonic()
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and Path(entry.name).suffix.lower() in self._endings:
                        facts = seen(Path(entry), now)
                        found |= {entry.name: facts} if facts else {}
            self._fault = ""
        except OSError as error:
            if self._fault != str(error):
                self._fault = str(error)
                logging.warning("%s cannot be looked into: %s", self.name, error)
            return None
        self._lasted = time.monotonic() - now
        return found


def _told(path: Path, reason: str) -> None:
    logging.warning("%s; it is left out", reason)


class _Numbers:
    """Whether the last numbers in the names of files follow each other, as `video_layout.gaps` of all of them."""

    def __init__(self) -> None:
        self._steps: deque[int] = deque(maxlen=STEPS)
        self._last: int | None = None

    def follows(self, name: str) -> bool:
        """Takes the next name; False where numbers are missing before it, or start again."""
        found = re.findall(r"[0-9]+", Path(name).stem)
        number, before = int(found[-1]) if found else None, self._last
        self._last = number
        if number is None or before is None:
            return True
        (usual, count), *_ = Counter(self._steps).most_common(1) or [(1, 0)]
        known = len(self._steps) >= LEAST_STEPS and 2 * count >= len(self._steps)
        step = number - before
        self._steps.append(step)
        return step > 0 and not (known and step > FAR * usual)
