"""Events: moments of a video that belong together, as a list that a person can work through."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mocca_jax.scoring.moments import Moment, loudest

GAP = 12  # frames without an alarm after which an event has ended
COLUMNS = ("video", "start", "end", "peak", "start_seconds", "end_seconds", "peak_seconds", "score", "p_value", "part")
BOX = ("left", "top", "width", "height")


@dataclass(frozen=True)
class Event:
    """Frames `start` to `end`, both included, of which `peak` has the largest score.

    The seconds are since the video's first frame, None where nothing tells. Of the peak are `score`, `p_value`, `part`,
    the loudest one (see `moments.loudest`), and `box`: left, top, width, height in pixels, or None (see `Moment`).
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
        if not self._open:
            return at(self.video, moment)
        if moment.score <= self._open.score:
            return replace(self._open, end=moment.frame, end_seconds=moment.seconds)
        return replace(at(self.video, moment), start=self._open.start, start_seconds=self._open.start_seconds)


def of_video(video: str, moments: Iterable[Moment]) -> Iterator[Event]:
    """The events of a whole video, in order."""
    finder = Finder(video)
    for moment in moments:
        if over := finder.push(moment):
            yield over
    if last := finder.end():
        yield last


def at(video: str, moment: Moment) -> Event:
    """A single frame, as an event."""
    frame, seconds = moment.frame, moment.seconds
    of_peak = (moment.score, moment.p_value, loudest(moment.parts), moment.box)
    return Event(video, frame, frame, frame, seconds, seconds, seconds, *of_peak)


def peaks(scores: np.ndarray, lengths: np.ndarray, most: int, apart: int) -> list[int]:
    """The frames with the highest scores, at most `most`, in a video at least `apart` from each other.

    Args:
        scores: `[S]`, of the frames of all videos.
        lengths: of the videos, which add up to S.

    Example:
        >>> peaks(np.array([1.0, 5.0, 4.0, 2.0, 3.0]), np.array([3, 2]), most=3, apart=2)
        [1, 4]
    """
    ends = np.repeat(np.cumsum(lengths), lengths)
    free, found = np.ones(len(scores), bool), []
    for frame in np.argsort(-scores, kind="stable").tolist():
        if len(found) == most:
            break
        if free[frame]:
            found.append(frame)
            first = ends[frame] - lengths[np.searchsorted(np.cumsum(lengths), frame, side="right")]
            free[max(first, frame - apart + 1) : min(ends[frame], frame + apart)] = False
    return found


def worst_first(events: Iterable[Event]) -> list[Event]:
    """The most anomalous first; those alike as they come."""
    return sorted(events, key=lambda event: -event.score)


def moment_of(frame: int, seconds: float | None) -> str:
    """A time as text, or a frame's number where nothing tells the time.

    Example:
        >>> moment_of(50, 3725.25), moment_of(50, 5.0), moment_of(50, None)
        ('1:02:05.2', '0:05.0', 'frame 50')
    """
    if seconds is None:
        return f"frame {frame}"
    tenths = int(10 * seconds + 1e-6)
    hours, minutes = divmod(tenths // 600, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{tenths // 10 % 60:02d}.{tenths % 10}"


def lines(events: Iterable[Event], most: int) -> Iterator[str]:
    """For a terminal, the most anomalous first, at most so many: when, how unusual, which video and where in it."""
    found = worst_first(events)
    yield f"{'score':>10}  {'p-value':>8}  {'from':>12}  {'to':>12}  video"
    for event in found[:most]:
        p_value = "" if event.p_value is None else f"{event.p_value:.3g}"
        start, end = moment_of(event.start, event.start_seconds), moment_of(event.end, event.end_seconds)
        where = ""
        if event.box:
            left, top, width, height = event.box
            peak = moment_of(event.peak, event.peak_seconds)
            where = f", most at {peak} in {width}x{height} pixels from {left},{top}"
        yield f"{event.score:>10.4g}  {p_value:>8}  {start:>12}  {end:>12}  {event.video}{where}"
    if len(found) > most:
        yield f"and {len(found) - most} more, less anomalous"


def table(events: Iterable[Event]) -> str:
    """As CSV, the most anomalous first."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *BOX])
    for event in worst_first(events):
        writer.writerow(["" if value is None else value for value in event.row()])
    return out.getvalue()
