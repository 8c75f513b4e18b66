"""The frames of a video as they are judged, one after the other, with the place in each that is unusual."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from mocca_jax.scoring import evaluate

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
