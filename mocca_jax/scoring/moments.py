"""The frames of a video as they are judged, one after the other, with the place in each that is unusual."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from mocca_jax.data import flow, footage
from mocca_jax.errors import UserError
from mocca_jax.method import motion
from mocca_jax.scoring import evaluate
from mocca_jax.scoring.evaluate import Findings, Scores
from mocca_jax.scoring.scorer import Scorer

OF_PEAK = 0.6  # of the largest value of a map: what reaches it around that belongs to the same thing

Box = tuple[int, int, int, int]  # left, top, width, height in pixels of the frame as it came


@dataclass(frozen=True)
class Moment:
    """One frame of a video.

    `frame`: its number, from 0; `seconds` since the first, None where nothing tells; `begins`: nothing came directly
    before it; `score`, larger = more anomalous; `p_value` and `anomalous`, None where nothing was held out; `parts` of
    the score; `box`: where an anomalous frame is most so, None for others, where the detector does not know, and where
    the loudest part is of the picture as a whole.
    """

    frame: int
    seconds: float | None
    begins: bool
    score: float
    p_value: float | None
    anomalous: bool | None
    parts: dict[str, float] = field(default_factory=dict)
    box: Box | None = None


def loudest(parts: Mapping[str, float]) -> str:
    """The part of the score that is furthest above what is usual; "" of networks, whose parts are not on one scale.

    Example:
        >>> loudest({"layer0": 3.0, "layer1": 2.0, "slow": 1.5}), loudest({"layer0": 3.0, "one_class": 2.0})
        ('layer0', '')
    """
    if not parts or {evaluate.ONE_CLASS, evaluate.RECONSTRUCTION} & parts.keys():
        return ""
    return max(parts, key=parts.get)


def box_of(values: np.ndarray, size: tuple[int, int], covered: tuple[float, float]) -> Box:
    """The box around the largest value of a map and what reaches `OF_PEAK` of it beside.

    Args:
        values: `[rows, columns]`, larger = more anomalous.
        size: rows and columns of the frame, in pixels.
        covered: the share of the frame's rows and columns that the map covers, from the top and the left.

    Example:
        >>> box_of(np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 1.9]]), (20, 30), (1.0, 1.0))
        (10, 10, 20, 10)
    """
    peak = np.unravel_index(values.argmax(), values.shape)
    numbers, _ = ndimage.label(values >= min(OF_PEAK * values[peak], values[peak]))
    rows, columns = np.nonzero(numbers == numbers[peak])
    high, wide = (side * share / cells for side, share, cells in zip(size, covered, values.shape, strict=True))
    top, left = round(rows.min() * high), round(columns.min() * wide)
    return left, top, round((columns.max() + 1) * wide) - left, round((rows.max() + 1) * high) - top


def of_video(scorer: Scorer, findings: Callable[[Scores], Findings], video: Any, live: bool) -> Iterator[Moment]:
    """The frames of one video as they are judged.

    Args:
        scorer: of a run on videos.
        findings: what follows from scores.
        video, live: see `Detector.moments`.

    Raises:
        UserError: as `Detector.score`; or the model is one of pictures.
    """
    if not scorer.inputs.has_frames:
        raise UserError("this run is one on pictures; moments are frames of videos")
    passed: deque[tuple[float | None, bool, tuple[int, int]]] = deque()  # frames whose scores are not known yet

    def noted() -> Iterator[footage.Frame]:
        for frame in footage.of(video, scorer.inputs.depth):
            passed.append((frame.seconds, frame.begins, frame.picture.size[::-1]))
            yield frame

    number = 0
    for scores, cells in _known(scorer, noted(), live):
        found = findings(scores)
        for n, score in enumerate(found.score.tolist()):
            (seconds, begins, size), box = passed.popleft(), None
            flagged = None if found.anomalous is None else bool(found.anomalous[n])
            parts = {name: float(values[n]) for name, values in found.layers.items()}
            if flagged and cells is not None and loudest(parts) != motion.SLOW:
                box = box_of(scorer.movement_map(cells[n]), size, flow.covered(scorer.inputs.size))
            p_value = None if found.p_value is None else float(found.p_value[n])
            yield Moment(number, seconds, begins, score, p_value, flagged, parts, box)
            number += 1


def _known(scorer: Scorer, frames: Iterable[footage.Frame], live: bool) -> Iterator[tuple[Scores, np.ndarray | None]]:
    """Scores of frames, and their cells where there are some."""
    if scorer.inputs.of_movement:
        yield from scorer.running(frames, live)
    else:
        yield scorer.scores(frame.picture for frame in frames), None
