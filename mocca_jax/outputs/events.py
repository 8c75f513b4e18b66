"""Events: moments of a video that belong together, as a list that a person can work through."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mocca_jax.scoring.moments import Moment

GAP = 12  # frames without an alarm after which an event has ended
COLUMNS = ("video", "start", "end", "peak", "start_seconds", "end_seconds", "peak_seconds", "score", "p_value", "part")
BOX = ("left", "top", "width", "height")


@dataclass(frozen=True)
class Event:
    """Frames `start` to `end`, both included, of which `peak` has the largest score.

    The seconds are since the video's first frame, None where nothing tells. Of the peak are `score`, `p_value`, `part`,
    the one that spoke loudest, and `box`: left, top, width, height in pixels, None where the detector does not know.
    """

    video: str
    start: int
    end: int
    peak: int
    start_seconds: float | None
    end_seconds: float | None
    peak_seconds: float | None
    score: float
    p_value: float | None
    part: str
    box: tuple[int, int, int, int] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def row(self) -> list[Any]:
        """For a table of `COLUMNS` and `BOX`."""
        return [*(getattr(self, name) for name in COLUMNS), *(self.box or [None] * len(BOX))]


class Finder:
    """Finds the events of a running video.

    Args:
        video: its name.
    """

    def __init__(self, video: str):
        self.video = video
        self._open: Event | None = None

    def push(self, moment: Moment) -> Event | None:
        """Takes the next frame; returns the event that is over by it, if any."""
        over = None
        if self._open and (moment.begins or moment.frame - self._open.end > GAP):
            over, self._open = self._open, None
        if moment.anomalous:
            self._open = self._joined(moment)
        return over

    def end(self) -> Event | None:
        """The event that the video ends in, if any."""
        over, self._open = self._open, None
        return over

    @property
    def open(self) -> Event | None:
        """The event that is not over yet."""
        return self._open

    def _joined(self, moment: Moment) -> Event:
        frame, seconds = moment.frame, moment.seconds
        if self._open and moment.score <= self._open.score:
            return replace(self._open, end=frame, end_seconds=seconds)
        start = (self._open.start, self._open.start_seconds) if self._open else (frame, seconds)
        part = max(moment.parts, key=moment.parts.get) if moment.parts else ""
        scored = (moment.score, moment.p_value, part, moment.box)
        return Event(self.video, start[0], frame, frame, start[1], seconds, seconds, *scored)


def of_video(video: str, moments: Iterable[Moment]) -> Iterator[Event]:
    """The events of a whole video, in order."""
    finder = Finder(video)
    for moment in moments:
        if over := finder.push(moment):
            yield over
    if last := finder.end():
        yield last


def table(events: Iterable[Event]) -> str:
    """As CSV, the most anomalous first."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *BOX])
    for event in sorted(events, key=lambda event: -event.score):
        writer.writerow(["" if value is None else value for value in event.row()])
    return out.getvalue()
