"""What the statistics of a run in tiles are made of, kept so that more normal pictures can be added to them later.

By grid and fold: sums over cells, which add exactly, and a bank of cells. Of each picture: its fold, and what its
distances from statistics without that fold say, in whatever deviations they will be told later. Large pictures
themselves are not kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mocca_jax.data.spread import evenly
from mocca_jax.method import everywhere, fronts, places
from mocca_jax.scoring import maps, tiled
from mocca_jax.scoring.evaluate import Scores
from mocca_jax.scoring.placed import GRIDS, KINDS, PARTS
from mocca_jax.scoring.tile_bank import Bank, middles

LEVELS = 1024  # values of a picture's map, that say what is usual on it

Grids = dict[str, places.Statistics]


@dataclass(frozen=True)
class Away:
    """What is kept of the distances of a picture, with as many columns as there are `placed.PARTS`.

    `count` of cells; `mean`, `variance [P]` over these; `highest [K, P]`: the cells that may be the largest of a sum of
    parts, see `fronts.highest`; `drawn [K, P]`: the same of the map that is looked at; `levels [L, P]`: of that map,
    evenly spread. A map is linear in the distances, so all of it can be told anew in other deviations.
    """

    count: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    highest: np.ndarray
    drawn: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, away: tiled.Grids, sides: tuple[int, int], pixels: int) -> "Away":
        """Of a picture's distances.

        Args:
            away: by part, `[rows, columns]` of the fine grid, see `tiled.Judge.away`.
            sides: rows and columns of the picture.
            pixels: of a cell.
        """
        cells = np.stack([away[part].ravel() for part in PARTS], -1)
        drawn = [tiled.drawn(away[part], sides, pixels, maps.SMOOTHING).ravel() for part in PARTS]
        shown = np.stack(drawn, -1).astype(np.float32)
        mean, variance = cells.mean(0, dtype=np.float64), cells.var(0, dtype=np.float64)
        levels = shown[evenly(len(shown), LEVELS)]
        return cls(np.int64(len(cells)), mean, variance, fronts.highest(cells), fronts.highest(shown), levels)

    def scores(self, known: Any) -> dict[str, np.ndarray]:
        """As `tiled.largest`, by statistics `placed.Placed`."""
        return tiled.largest(tiled.maps(known.grids, _by_part(self.highest)), known.weights)

    def map_values(self, known: Any) -> np.ndarray:
        """Some values of the map, evenly spread, and its largest."""
        drawn, levels = (
            tiled.combined(tiled.maps(known.grids, _by_part(of)), known.weights) for of in (self.drawn, self.levels)
        )
        return np.append(levels, drawn.max())


def scores(away: Iterable[Away], known: Any) -> Scores:
    """Of pictures, by statistics `placed.Placed`."""
    return tiled.scores(of.scores(known) for of in away)


@dataclass
class Tiles:
    """Of N normal pictures, in the order in which they came.

    `names`, `keys`, `small`: as `learnt.Added`; `fold [N]`; by grid and fold the `sums` over cells and the `banks`; by
    grid the `nuisance`, see `places.fit`; of each picture what its distances say, `away`.
    """

    names: list[str]
    keys: np.ndarray
    small: np.ndarray
    fold: np.ndarray
    sums: dict[str, dict[int, places.Sums]] = field(default_factory=lambda: {grid: {} for grid in GRIDS})
    banks: dict[str, dict[int, Bank]] = field(default_factory=lambda: {grid: {} for grid in GRIDS})
    nuisance: dict[str, np.ndarray] = field(default_factory=dict)
    away: list[Away] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, number: int, where: tiled.Layout, sizes: Any, seed: int, found: Iterable[Any]) -> None:
        """Adds the cells of a picture to its fold.

        Args:
            number: of the picture.
            where: its tiles.
            sizes: rows and columns of a tile's grids, by grid.
            seed: of the run.
            found: features of its tiles, as `tiled.Judge.features` gives them.
        """
        fold, done, key = int(self.fold[number]), 0, int.from_bytes(bytes(self.keys[number]), "big")
        chance = {grid: np.random.default_rng([seed, n, key]) for n, grid in enumerate(GRIDS)}
        for batch in found:
            corners = where.corners[done : done + len(batch[GRIDS[0]])] * where.pixels
            for grid in GRIDS:
                x = batch[grid]
                cells = x.reshape(-1, 1, x.shape[-1])
                others = next(iter(self.sums[grid].values()), None)
                about = cells.mean(0) if others is None else others.reference  # one for all, so that they add
                self.sums[grid].setdefault(fold, places.Sums(about)).add(cells)
                at = middles(corners, where.side * where.pixels, sizes[grid]).reshape(-1, 2)
                bank = self.banks[grid].get(fold, Bank.empty(x.shape[-1]))
                self.banks[grid][fold] = bank.with_some(chance[grid].random(len(cells)), cells[:, 0], number, at)
            done += len(corners)

    def fitted(self, without: int | None = None) -> Grids:
        """The statistics by grid, not yet standardised; of all pictures, or of those of other folds."""
        found = {}
        for grid, of_fold in self.sums.items():
            folds = [fold for fold in sorted(of_fold) if fold != without]
            sums, bank = of_fold[folds[0]], self.banks[grid][folds[0]]
            for fold in folds[1:]:
                sums, bank = sums + of_fold[fold], bank + self.banks[grid][fold]
            statistics = places.fit(sums, self.nuisance[grid], bank.features[:, None], bank.pictures)
            found[grid] = statistics.replace(at=bank.at)
        return found

    def standardized(self, statistics: Grids) -> Grids:
        """With what the pictures' distances usually are."""
        usual = usual_of(self.away)
        return {
            grid: of.replace(**{kind: usual[f"{grid}_{kind}"] for kind in KINDS}) for grid, of in statistics.items()
        }


def usual_of(away: Sequence[Away]) -> dict[str, places.Usual]:
    """By part, over the cells of pictures."""
    count = np.array([of.count for of in away])
    mean, variance = (np.stack([getattr(of, name) for of in away]) for name in ("mean", "variance"))
    return {part: everywhere.usual(count, mean[:, n], variance[:, n]) for n, part in enumerate(PARTS)}


def _by_part(values: np.ndarray) -> tiled.Grids:
    return {part: values[:, n] for n, part in enumerate(PARTS)}
