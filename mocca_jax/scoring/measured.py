"""What statistics measure of a picture, to be asked about single places: of a whole view, and of one in tiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mocca_jax.method import places
from mocca_jax.scoring import placed, tiled
from mocca_jax.training.step import TrainState


@dataclass(frozen=True)
class Spot:
    """A place of one part of the score: its `cell` (row, column) of the part's `grid` (rows, columns), the `value` of
    the map there, in deviations, the `distance`; and the features `x [P, D]` of places, `size` rows and columns of
    these, which it is the `place`-th of, in the order of the statistics."""

    cell: tuple[int, int]
    grid: tuple[int, int]
    value: float
    distance: float
    x: np.ndarray
    place: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Whole:
    """Of a whole view: features by grid `[P, D]`, distances by part `[P]`, and their maps `[rows, columns]`; `sizes`:
    rows and columns by grid."""

    x: Mapping[str, np.ndarray]
    away: Mapping[str, np.ndarray]
    maps: Mapping[str, np.ndarray]
    sizes: Mapping[str, tuple[int, int]]

    def at(self, part: str, cell: tuple[int, int]) -> Spot:
        """The spot of a part at a cell of the fine grid."""
        grid, found = part.split("_")[0], self.maps[part]
        size = self.sizes[grid]
        own = tuple(cell[axis] * size[axis] // found.shape[axis] for axis in (0, 1))
        place = own[0] * size[1] + own[1]
        return Spot(own, size, float(found[cell]), float(self.away[part][place]), self.x[grid], place, size)


class Tiles:
    """Of a picture in tiles, of which those that are asked about are looked at once more.

    Args:
        judge: looks at tiles.
        held: `Judge.held`.
        grids: the statistics, on the host.
        picture: `[rows, columns, C]` uint8.
    """

    def __init__(
        self, judge: tiled.Judge, held: TrainState, grids: Mapping[str, places.Statistics], picture: np.ndarray
    ):
        self._judge, self._held, self._picture = judge, held, picture
        self._away = judge.last_or_away(held, picture)
        self.maps = tiled.maps(grids, self._away)
        self._features: dict[int, dict[str, np.ndarray]] = {}

    def at(self, part: str, cell: tuple[int, int]) -> Spot:
        """As of a whole view. A place that several tiles hold is looked at in the one whose edge is furthest."""
        grid, where, sizes = part.split("_")[0], self._judge.layout(self._picture), self._judge.sizes
        inside = np.array(cell) - where.corners
        depth = np.minimum(inside, where.side - 1 - inside).min(1)
        tile = int(depth.argmax())
        if tile not in self._features:
            found = self._judge.features(self._held, self._judge.cut(self._picture, [tile]))
            self._features[tile] = {name: values[0] for name, values in next(found).items()}
        step = sizes["fine"][0] // sizes[grid][0]
        row, column = (inside[tile] // step).tolist()
        x = self._features[tile][grid][row * sizes[grid][1] + column]
        own, whole = (cell[0] // step, cell[1] // step), tuple(-(-length // step) for length in where.cells)
        return Spot(own, whole, float(self.maps[part][cell]), float(self._away[part][cell]), x[None], 0, (1, 1))


Measured = Whole | Tiles


def combined(of: Measured, weights: Mapping[str, Any]) -> np.ndarray:
    """The run's own map `[rows, columns]` of the fine grid."""
    return np.asarray(placed.combined(of.maps, weights))
