"""The moments of a run's videos that are worth a look: a list of events, and pictures of the first of them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mocca_jax.data import Split, stills
from mocca_jax.files import whole
from mocca_jax.method import blocks, motion
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import events
from mocca_jax.outputs.events import Event
from mocca_jax.report import moments as report
from mocca_jax.report.stills import fitted, framed
from mocca_jax.scoring.evaluate import Scores
from mocca_jax.scoring.moments import Box, Moment

SMALLEST, WIDEST, QUALITY = 240, 480, 85  # columns of a picture; of JPEG

BoxOf = Callable[[int, tuple[int, int]], Box]  # a sample, rows and columns of its picture -> the unusual place


@dataclass(frozen=True)
class Judged:
    """Frames of a split of videos, their scores, and what is decided by them, which may be nothing."""

    split: Split
    scores: Scores
    calibration: Calibration | None

    @cached_property
    def p_values(self) -> np.ndarray | None:
        """`[S]`."""
        return self.calibration.p_values(self.scores.combined) if self.calibration else None

    @cached_property
    def anomalous(self) -> np.ndarray | None:
        """`[S]` of bool."""
        return self.calibration.is_anomalous(self.scores.combined) if self.calibration else None

    @cached_property
    def begins(self) -> np.ndarray:
        """`[S]`: nothing came directly before the frame."""
        pieces = self.split.timeline.pieces
        return np.isin(np.arange(pieces.sum()), np.cumsum(pieces) - pieces)

    def events(self) -> list[tuple[int, Event]]:
        """All, each with the sample that is its peak."""
        found = []
        timeline = self.split.timeline
        for video, (start, length) in enumerate(zip(timeline.first.tolist(), timeline.lengths.tolist(), strict=True)):
            name, first = self._named(video)
            moments = (self._moment(sample, sample - start + first) for sample in range(start, start + length))
            found += [(start + event.peak - first, event) for event in events.of_video(name, moments)]
        return found

    def highest(self, most: int) -> list[tuple[int, Event]]:
        """The highest frames, a block apart, each as an event."""
        timeline, found = self.split.timeline, []
        for sample in events.peaks(self.scores.combined, timeline.lengths, most, blocks.FRAMES):
            video = self.video(sample)
            name, first = self._named(video)
            frame = sample - int(timeline.first[video]) + first
            found.append((sample, events.at(name, self._moment(sample, frame))))
        return found

    def video(self, sample: int) -> int:
        """The number of the video that a frame is of."""
        return int(np.searchsorted(np.cumsum(self.split.timeline.lengths), sample, side="right"))

    def _named(self, video: int) -> tuple[str, int]:
        """A video's name, and the number of its first frame."""
        origin = self.split.origins[video] if self.split.origins else None
        return (origin.name, origin.first) if origin else (self.split.timeline.videos[video], 0)

    def _moment(self, sample: int, frame: int) -> Moment:
        times = self.split.timeline.seconds
        return Moment(
            frame,
            None if times is None or np.isnan(times[sample]) else float(times[sample]),
            bool(self.begins[sample]),
            float(self.scores.combined[sample]),
            None if self.p_values is None else float(self.p_values[sample]),
            None if self.anomalous is None else bool(self.anomalous[sample]),
            {name: float(values[sample]) for name, values in self.scores.layers.items()},
        )


def write(workdir: Path, judged: Judged, tested: bool, box_of: BoxOf | None) -> None:
    """Writes `events.csv` of test videos, and pictures of the moments that are worth most a look.

    These are the most anomalous events; where there are none, or the videos are normal ones, the highest scores.

    Args:
        workdir: of the run.
        judged: its test videos, or normal ones that nothing was fitted on.
        tested: they are test videos.
        box_of: says where; None where the detector does not know.

    Raises:
        UserError: a video cannot be read again, or something cannot be written.
    """
    found = judged.events() if tested else []
    kind = report.EVENTS if found else report.HIGHEST if tested else report.NORMAL
    chosen = found or judged.highest(report.MOST)
    chosen.sort(key=lambda of: -of[1].score)
    shutil.rmtree(workdir / report.FOLDER, ignore_errors=True)
    placed = dict(_placed(workdir / report.FOLDER, judged, chosen, box_of))
    listed = [placed.get(sample, event) for sample, event in chosen]
    if tested and judged.calibration:
        whole.write_whole(workdir / report.TABLE, events.table(listed if found else []))
    labels = [int(judged.split.labels[sample]) for sample, _ in chosen[: report.MOST]]
    report.keep(workdir, kind, listed[: report.MOST], labels, len(found))


def _placed(
    folder: Path, judged: Judged, chosen: list[tuple[int, Event]], box_of: BoxOf | None
) -> Iterator[tuple[int, Event]]:
    """Events with their boxes, by sample; draws the first of them. No frame is decoded that is neither."""
    wanted = chosen if box_of else chosen[: report.MOST]
    ranks = {sample: rank for rank, (sample, _) in enumerate(chosen)}
    by_video: dict[int, dict[int, tuple[int, Event]]] = {}
    for sample, event in wanted:
        by_video.setdefault(judged.video(sample), {})[event.peak] = sample, event
    for video, peaks in by_video.items():
        origin = judged.split.origins[video] if judged.split.origins else None
        for number, picture in stills.at(origin.source, peaks) if origin else ():
            sample, event = peaks[number]
            has_place = box_of and event.part != motion.SLOW
            box = box_of(sample, (picture.height, picture.width)) if has_place else None
            if ranks[sample] < report.MOST:
                folder.mkdir(exist_ok=True)
                drawn = framed(picture, box, fitted(picture.size, SMALLEST, WIDEST))
                drawn.save(folder / report.picture(ranks[sample]), quality=QUALITY)
            yield sample, replace(event, box=box)
