"""Signs of life: how far a long phase has come, how fast it goes, how long it will still take.

On a terminal a bar. Elsewhere (a pipe, a file) log lines: one a minute (one a second with debug messages), counted over
all phases, and one wherever a phase has something to note, such as an epoch's loss. Short phases say nothing.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging
from tqdm import tqdm

EVERY, EVERY_VERBOSE = 60.0, 1.0  # seconds between lines
APART = 2.0  # seconds between notes: a hundred epochs in ten seconds are not a hundred lines
DELAY = 1.0  # seconds before a bar is shown: shorter phases do not flash
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {rate_noinv_fmt}, {remaining} left{postfix}"
ENDED = BAR.replace("{remaining} left", "took {elapsed}")

T = TypeVar("T")

_silent = False
_spoke: float | None = None  # when the last line was written, or the first phase began


def silence(silent: bool = True) -> None:
    """No more bars in this process; the lines follow the level of the log."""
    global _silent
    _silent = silent


def steps(iterable: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """The items of `iterable`, with signs of life; see `Phase`."""
    with Phase(what, total, unit) as phase:
        for item in iterable:
            yield item
            phase.update()


class Phase:
    """A long phase, as a context manager. On a terminal the bar stays when it ends.

    Args:
        what: its name.
        total: how many units it has.
        unit: what is counted, in the plural.
        done: how many of them were done before.
        clock: seconds that only grow.
    """

    def __init__(self, what: str, total: int, unit: str, done: int = 0, clock: Callable[[], float] = time.monotonic):
        self.what, self.total, self.unit, self.done = what, total, unit, done
        global _spoke
        self._clock, self._first = clock, done
        self._began = clock()
        _spoke = self._began if _spoke is None else _spoke
        self._noted = self._began, done  # when the last note was made, and how many units were done then
        self._spoken = None  # how many units the last line counted
        self._bar = None
        if not _silent and sys.stderr.isatty():
            looks = {"unit": f" {unit}", "delay": DELAY, "bar_format": BAR}
            looks |= {"dynamic_ncols": True} if _says_its_size() else {"ncols": 80, "nrows": 24}
            self._bar = tqdm(desc=what, total=total, initial=done, file=sys.stderr, **looks)

    def __enter__(self) -> "Phase":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if self._bar is not None:
            self._bar.bar_format = ENDED if self.done >= self.total else BAR
            self._bar.close()
        elif kind is None and self._spoken != self.done and self._is_due(self._began):
            self._speak(f"{self.what}: {self._line()}")

    def update(self, count: int = 1, said: str = "") -> None:
        """So many more units are done; `said`: what else there is to tell of the phase now."""
        self.done += count
        if self._bar is not None:
            if said:
                self._bar.set_postfix_str(said, refresh=False)
            self._bar.update(count)
        elif self._is_due(_spoke):
            self._speak(f"{self.what}: {self._line(said)}")

    def note(self, where: str, said: str) -> None:
        """A line now, such as `where` = "epoch 3/12", with the rate since the last; on a terminal it is in the bar.

        Where notes come faster than `APART`, some are left out; not the last, and none with debug messages.
        """
        if self._bar is not None:
            self._bar.set_postfix_str(f"{where}: {said}")
        soon = self._clock() - self._noted[0] < APART and self.done < self.total
        if logging.level_debug() or (self._bar is None and not soon):
            self._speak(f"{self.what} {where}: {said}, {self._rate(*self._noted)}, {self._time()}")
            self._noted = self._clock(), self.done

    def _is_due(self, since: float) -> bool:
        return self._clock() - since >= (EVERY_VERBOSE if logging.level_debug() else EVERY)

    def _line(self, said: str = "") -> str:
        rate = self._rate(self._began, self._first)
        return ", ".join(filter(None, [f"{self.done}/{self.total} {self.unit}", said, rate, self._time()]))

    def _rate(self, since: float, done: int) -> str:
        return f"{number((self.done - done) / max(self._clock() - since, 1e-9))} {self.unit}/s"

    def _time(self) -> str:
        taken, done = self._clock() - self._began, self.done - self._first
        if self.done >= self.total:
            return f"took {duration(taken)}"
        return f"{duration(taken / done * (self.total - self.done))} left" if done else "time left not known yet"

    def _speak(self, line: str) -> None:
        global _spoke
        _spoke, self._spoken = self._clock(), self.done
        logging.info("%s", line)


def _says_its_size() -> bool:
    """Whether the terminal does; some made by programs say 0 x 0, where a bar would have no room."""
    try:
        return min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except OSError:
        return False


def number(rate: float) -> str:
    """As many digits as one wants to read.

    Example:
        >>> [number(rate) for rate in (1234.5, 41.26, 3.14159, 0.01234)]
        ['1234', '41', '3.1', '0.012']
    """
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def duration(seconds: float) -> str:
    """As one says it.

    Example:
        >>> [duration(seconds) for seconds in (0.2, 59.1, 100, 3599, 5000, 200000)]
        ['1 s', '1 min', '2 min', '1 h', '1 h 23 min', '55 h 33 min']
    """
    seconds = math.ceil(seconds)
    if seconds < 60:
        return f"{max(seconds, 1)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)
