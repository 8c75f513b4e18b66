"""Command: what is unusual before a running camera, or in pictures that are put into a folder, as soon as it is known.

    mocca watch runs/yard rtsp://10.0.0.7/one --output=events.jsonl
    mocca watch runs/yard frames/
    mocca watch runs/yard film.mp4
    mocca watch runs/my_parts in/ --ok=good/ --bad=bad/ --output=judged.jsonl

What is watched is an address that OpenCV opens (rtsp://, http://, ...), the number of a camera such as 0, a folder into
which pictures are put, or a film file. The run is one on movement (`mocca train video`).

Standard output gets a line of JSON when an event begins and one when it is over, `{"event": "begins", ...}` and
`{"event": "ends", ...}`. Both have `video`, `start`, and `score`, `p_value`, `part` and `box` (left, top, width,
height in pixels) of the most anomalous frame so far; the second has `end` and `peak` too. Frames are counted from 0;
`..._seconds` are since the first frame, null where nothing tells; of cameras and folders `..._time` is the time of day
(of a file, when it was written), and of folders `..._file` its name. An event is over when 12 frames in a row were
normal, or when frames are missing. Standard error says now and then how many frames were judged, how fast, and how far
behind.

Frames have to come as fast as in the training videos: with half as many, everything looks twice as fast. Where there
are twice as many, --every=2 takes each second. Where a camera's frames come faster than they are judged, whole
stretches are left out, and counted; of films and folders nothing is.

Where no frame comes for --patience seconds, that is told and waited for; what ends or breaks is opened again after 1,
2, 4 .. 60 seconds. With --once the end is the end; of a folder, when no file has come for --patience seconds. What is
unusual then is told to its end, as after Ctrl-C or SIGTERM.

A run on pictures takes a folder: a line of JSON for each (path, fingerprint, score, p_value, anomalous, regions;
or path and error), which is then moved to --ok or --bad, those that cannot be read to --unreadable; without these they
stay. Nothing is overwritten. What --output holds from before is not judged again, so a restart does nothing twice.

The exit code is 0 at the end (of films, or with --once), 3 when pictures could not be read until then, 130 after
Ctrl-C, 143 after SIGTERM, 1 when nothing could be watched.
"""

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from absl import logging

from mocca_jax.commands import sorting
from mocca_jax.commands.arguments import add_place, begin, parser, place, plain_errors
from mocca_jax.console import progress
from mocca_jax.data import cache, footage, live
from mocca_jax.data.arrivals import Arrived, Settings, Stamp
from mocca_jax.data.pace import Pace
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.outputs.events import Event, Finder
from mocca_jax.scoring.moments import Moment
from mocca_jax.training import interrupts, parallel

Say = Callable[[dict[str, Any]], None]
SOME_UNREADABLE = 3
AT = ("start", "end", "peak")  # frames of an event


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run on movement or on pictures, or its detector.npz", type=Path)
    add_place(takes, "source", "film file, folder, number of a camera, or address")
    takes.add_argument("--output", type=Path, help="a file that gets the lines of JSON too, at its end")
    for name, which in (("ok", "good"), ("bad", "anomalous"), ("unreadable", "unreadable")):
        takes.add_argument(f"--{name}", type=Path, help=f"a folder that {which} pictures are moved to")
    takes.add_argument("--alpha", type=float, help="share of good stretches that may be flagged (default: the run's)")
    takes.add_argument("--once", action="store_true", help="the first end of the source is the end")
    takes.add_argument("--patience", type=float, default=10.0, help="seconds without a frame until that is told")
    takes.add_argument("--every", type=int, default=1, help="only each n-th frame is judged")
    options = begin(takes, arguments)
    with plain_errors(), interrupts.stop_request() as stop:
        run = place(options, "run", "the run, the folder of a finished training,")
        given = place(options, "source", "what to watch, such as rtsp://10.0.0.7/one,")
        if not (math.isfinite(options.patience) and options.patience > 0):
            raise UserError(f"--patience={options.patience}: seconds, more than 0")
        if options.every < 1:
            raise UserError(f"--every={options.every}: a whole number, 1 or more")
        parallel.configure(0, str(cache.root() / "xla"))
        detector = Detector.load(run, alpha=options.alpha)
        settings = Settings(options.patience, options.once, options.every, detector.inputs.depth)
        source, code = live.opened(given, settings), 0
        places = sorting.Places(options.ok, options.bad, options.unreadable, options.output)
        of_pictures = not detector.inputs.has_frames or options.ok or options.bad or options.unreadable
        if of_pictures and not isinstance(source, live.Folder):
            raise UserError(f"a run on pictures watches a folder; {source.name} is none")
        say = saying(options.output)
        if of_pictures:
            counts = sorting.sort(detector, source, places, say, lambda: stop.signum is not None)
            logging.info(
                "%d judged, %d of them anomalous, %d unreadable", counts.judged, counts.anomalous, counts.unreadable
            )
            code = SOME_UNREADABLE if counts.unreadable else 0
        else:
            watch(detector, source, settings, say, lambda: stop.signum is not None)
    sys.exit(128 + stop.signum if stop.signum else code)


def saying(output: Path | None) -> Say:
    """Writes lines of JSON to standard output, and at the end of a file.

    Raises:
        UserError: the file cannot be written; later, that nobody reads standard output any more.
    """

    def added(text: str) -> None:
        with open(output, "a", encoding="utf-8") as file:
            file.write(text)

    try:
        if output:
            added("")
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error}") from error

    def say(what: dict[str, Any]) -> None:
        line = json.dumps(what)
        try:
            if output:
                added(f"{line}\n")
        except OSError as error:  # a full disk: what is unusual is told all the same
            logging.warning("%s cannot be written: %s", output, error)
        try:
            print(line, flush=True)
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
            raise UserError("nobody reads standard output any more") from error

    return say


def watch(detector: Detector, source: live.Source, settings: Settings, say: Say, stopped: Callable[[], bool]) -> None:
    """Judges what comes until the source ends or `stopped` says so; see the module's docstring.

    Raises:
        UserError: the run is none on movement, or held nothing out; the source cannot be read, or gave no frame.
    """
    if not detector.inputs.of_movement:
        raise UserError(
            "only runs on movement can watch (`mocca train video`). Of films, `mocca predict` judges frames."
        )
    if detector.calibration is None:
        raise UserError("this run held no normal frames out: nothing says what is unusual")
    rate = detector.inputs.frame_rate
    learned = f"{rate:.3g}" if rate else "not known"
    logging.info("watching %s; frames per second in training: %s", source.name, learned)
    teller, status, pace = Teller(source.name, say), Status(source), Pace(rate, settings.every)
    try:
        for stretch in stretches(source, settings, stopped):
            for moment, stamp in judged(detector, stretch, source.waits, status):
                teller.push(moment, stamp)
                if said := pace.push(stamp.pace, moment.begins):
                    logging.warning("%s: %s", source.name, said)
            teller.end()
        if not status.frames and not stopped():
            raise UserError(f"no frame came from {source.name}")
    finally:
        teller.end()
        status.tell()


def stretches(source: live.Source, settings: Settings, stopped: Callable[[], bool]) -> Iterator[Iterator[Arrived]]:
    """What comes until nothing does for a while, again and again; each is to be taken to its end."""
    arriving, first, ended = source.frames(stopped), True, False

    def one() -> Iterator[Arrived]:
        nonlocal first, ended
        began, late, first = time.monotonic(), not first, False
        for arrived in arriving:
            if arrived is None:
                logging.warning("%s: no frame for %g s; it is waited for", source.name, settings.patience)
                return
            if late:
                late, arrived = False, replace(arrived, frame=replace(arrived.frame, begins=True))
                waited = progress.duration(time.monotonic() - began + settings.patience)
                logging.warning("%s: frames again, after %s", source.name, waited)
            yield arrived
        ended = True

    while not ended:
        yield one()


def judged(
    detector: Detector, arriving: Iterator[Arrived], live: bool, status: "Status"
) -> Iterator[tuple[Moment, Stamp]]:
    """The frames as they are judged; their numbers count those that were, over all stretches."""
    stamps: deque[Stamp] = deque()

    def frames() -> Iterator[footage.Frame]:
        for arrived in arriving:
            stamps.append(arrived.stamp)
            yield arrived.frame

    for moment in detector.moments(frames(), live):
        stamp = stamps.popleft()
        yield replace(moment, frame=status.frames), stamp
        status.push(stamp, len(stamps))


class Teller:
    """Tells when events begin and end.

    Args:
        name: of the source.
        say: takes what is told.
    """

    def __init__(self, name: str, say: Say):
        self._finder, self._say = Finder(name), say
        self._stamps: dict[int, Stamp] = {}  # of the frames that the open event names

    def push(self, moment: Moment, stamp: Stamp) -> None:
        """Takes the next frame."""
        self._stamps[moment.frame] = stamp
        before = self._finder.open
        over = self._finder.push(moment)
        if over:
            self._ends(over)
        now = self._finder.open
        if now and (over or not before):
            self._say({"event": "begins", **self._told(now, AT[:1])})
        named = {getattr(now, at) for at in AT} if now else set()
        self._stamps = {frame: self._stamps[frame] for frame in named}

    def end(self) -> None:
        """No frame follows."""
        if over := self._finder.end():
            self._ends(over)

    def _ends(self, event: Event) -> None:
        self._say({"event": "ends", **self._told(event, AT)})

    def _told(self, event: Event, frames: Sequence[str]) -> dict[str, Any]:
        """With the source's numbers and times of these frames."""
        told = {"video": event.video}
        for at in frames:
            stamp = self._stamps[getattr(event, at)]
            told |= {at: stamp.number, f"{at}_seconds": getattr(event, f"{at}_seconds")}
            if stamp.clock is not None:
                told[f"{at}_time"] = datetime.fromtimestamp(stamp.clock).astimezone().isoformat(timespec="milliseconds")
            if stamp.file:
                told[f"{at}_file"] = stamp.file
        return told | {name: getattr(event, name) for name in ("score", "p_value", "part", "box")}


class Status:
    """Says in the log now and then how many `frames` were judged, how fast, how far behind.

    Args:
        source: what is watched.
    """

    def __init__(self, source: live.Source):
        self.frames = 0
        self._source, self._lag = source, ""
        self._spoke, self._spoken = time.monotonic(), 0

    def push(self, stamp: Stamp, held: int) -> None:
        """Takes a frame that was judged; `held`: how many were taken and are not."""
        self.frames += 1
        now = time.monotonic()
        self._lag = f"{held + self._source.waiting} frames, {now - stamp.at:.1f} s behind" if self._source.waits else ""
        if now - self._spoke >= (progress.EVERY_VERBOSE if logging.level_debug() else progress.EVERY):
            self.tell()

    def tell(self) -> None:
        """A line now."""
        now = time.monotonic()
        rate = progress.number((self.frames - self._spoken) / max(now - self._spoke, 1e-9))
        dropped = f"{self._source.dropped} dropped" if self._source.dropped else ""
        said = filter(None, [f"{self.frames} frames judged", f"{rate} per second", self._lag, dropped])
        logging.info("%s: %s", self._source.name, ", ".join(said))
        self._spoke, self._spoken = now, self.frames
