"""Where a picture is anomalous, as regions: boxes, areas and values in pixels of the picture as it came."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from mocca_jax.data.inputs import Inputs, fitted_size, placement

BESIDE = np.ones((3, 3), int)  # pixels that touch at a corner belong together
NEAR_PEAK = 0.9  # of the largest value: of a picture that is flagged though its map stays below the threshold


@dataclass(frozen=True)
class Region:
    """A part of a picture whose map is above the threshold.

    `box`: left, top, width, height, and `area`, in pixels of the picture as it came; `peak` and `mean` of the map
    within; `weight`: what the map has above the threshold, summed over these pixels. Regions are sorted by it.
    `on_map`: the box in pixels of the map.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    mean: float
    weight: float
    on_map: tuple[int, int, int, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, in pixels of the picture."""
        return {name: value for name, value in asdict(self).items() if name != "on_map"} | {"box": list(self.box)}


def of_map(
    values: np.ndarray,
    threshold: float,
    sides: tuple[int, int],
    inputs: Inputs,
    least: float = 0,
    flagged: bool = False,
) -> list[Region]:
    """The regions of a picture, the weightiest first.

    Args:
        values: its map `[rows, columns]`, of the size of the network's view; of tiles smaller, see `tiled.drawn`.
        threshold: of the map.
        sides: rows and columns of the picture as it came.
        inputs: how it became the view.
        least: smaller regions are left out, in pixels of the picture as it came.
        flagged: the picture is anomalous: where no region is left, the largest one is, or the surroundings of the
            largest value.

    Example:
        >>> values = np.array([[0, 0, 0, 0], [0, 3, 2, 0], [0, 0, 0, 0], [0, 0, 0, 5.0]])
        >>> [region.box for region in of_map(values, 1, (40, 80), Inputs((4, 4, 3), fit="stretch"))]
        [(60, 30, 20, 10), (20, 10, 40, 10)]
    """
    above = values > threshold
    found = _labelled(values, above, threshold, sides, inputs)
    kept = [region for region in found if region.area >= least]
    if not kept and flagged:
        level = min(threshold, values.max() - (1 - NEAR_PEAK) * abs(values.max()))
        found = found or _labelled(values, values >= level, level, sides, inputs)
        kept = found[:1]
    return kept


def on_map(values: np.ndarray, threshold: float) -> list[Region]:
    """As `of_map`, all in pixels of the map."""
    return of_map(values, threshold, values.shape, Inputs((*values.shape, 3), fit="stretch"))


def _labelled(
    values: np.ndarray, above: np.ndarray, threshold: float, sides: tuple[int, int], inputs: Inputs
) -> list[Region]:
    numbers, count = ndimage.label(above, BESIDE)
    fitted = fitted_size(sides, inputs.size, inputs.fit)
    whole, (kept_rows, kept_columns) = placement(sides, fitted, inputs.fit)
    step = -(-fitted[0] // len(values))  # pixels of the view for a value of the map
    high, wide = (step * side / size for side, size in zip(sides, whole, strict=True))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbers, count), 1):
        inside = values[rows, columns][numbers[rows, columns] == number]
        top, bottom = (_within((at + kept_rows.start) * high, sides[0]) for at in (rows.start, rows.stop))
        left, right = (_within((at + kept_columns.start) * wide, sides[1]) for at in (columns.start, columns.stop))
        area = max(1, round(len(inside) * high * wide))
        weight = float((inside - threshold).sum() * high * wide)
        box = (left, top, max(1, right - left), max(1, bottom - top))
        on_map = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        found.append(Region(box, area, float(inside.max()), float(inside.mean()), weight, on_map))
    return sorted(found, key=lambda region: -region.weight)


def _within(at: float, side: int) -> int:
    return min(max(round(at), 0), side)
