"""The normal pictures of a run that scores by statistics: their features, the statistics of these, unseen distances.

A picture that belongs to the normal ones, or was made from one of them, is compared with statistics that have not seen
it: where there are many in closed form (`places.distances`), where fewer than `MANY` by fitting on the other folds.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from mocca_jax import console
from mocca_jax.data import Dataset
from mocca_jax.data.spread import evenly
from mocca_jax.method import places
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import learnt, placed
from mocca_jax.scoring.encoding import Encoding, Features
from mocca_jax.scoring.evaluate import joined
from mocca_jax.scoring.learnt import Learnt
from mocca_jax.scoring.placed import GRIDS, KINDS
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.step import TrainState

MANY, FOLDS = 100, 5
KEPT_BYTES = 2**31  # of features: those of more pictures are computed once more where they are needed again
PIECE = 64  # pictures that are added to the sums at once
LIT = 48  # pictures that other lamps are tried on
LAMPS = ((0.75,) * 3, (1.15,) * 3, (1.3,) * 3, (1.12, 1.0, 0.9), (0.9, 1.0, 1.12))  # what they do to red, green, blue
COLOURED = 400  # pictures that say what colour the normal ones have
GREY = 3  # levels that the channels of grey pictures differ by, at most

Grids = dict[str, places.Statistics]


class Normals:
    """The normal pictures of a run, their features and statistics.

    Args:
        model: `placed.network`.
        state: with the encoder's weights.
        dataset: its `train.pictures` are the normal ones.
        config: of the run.
        mesh: the devices.
        stop: may ask to stop, between batches.
    """

    def __init__(
        self,
        model: AutoEncoder,
        state: TrainState,
        dataset: Dataset,
        config: Any,
        mesh: Any,
        stop: StopRequest,
    ):
        self.config, self.shape = config, dataset.inputs.shape
        self.sizes = placed.sides(config, self.shape)
        self.pictures, self.count = dataset.train.pictures, len(dataset.train.pictures)
        sample = self.images(evenly(self.count, COLOURED))
        colour = sample.reshape(-1, sample.shape[-1]).mean(0, dtype=np.float64)
        self.grey = np.float32(np.ptp(sample.astype(np.int16), axis=-1).max() <= GREY)
        self.colour = np.where(self.grey, colour.mean(), colour).astype(np.float32)
        self._encoding = Encoding(model, state, dataset.inputs, config, mesh, stop, self.colour, self.grey)
        self.features = self._encoding.features
        self.keys = np.concatenate([learnt.keys_of(self.images(rows)) for rows in self._numbers()])
        self._kept: list[Features] | None = None
        self.statistics, self._nuisance, self._summed = {}, {}, []
        self._without: list[tuple[np.ndarray, Grids]] = []  # which pictures these have not seen, on the devices

    def fit(self) -> None:
        """Makes the statistics of all pictures, and those of parts where there are few."""
        self._summed = list(self._sums(np.ones(self.count, bool)))
        self._nuisance = self._lit()
        self.statistics = self._fitted(self._summed)
        if self.count >= MANY:
            self._without.append((np.ones(self.count, bool), self._encoding.placed(self.statistics)))
            return
        fold = np.random.default_rng(self.config.split_seed).permutation(np.arange(self.count) % FOLDS)
        for number in range(min(FOLDS, self.count)):
            others = self._fitted(list(self._sums(fold != number)))
            self._without.append((fold == number, self._encoding.placed(others)))

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Of these numbers, `[N, H, W, 3]` uint8."""
        return np.asarray(self.pictures.images[rows])

    def unseen(self, x: Features, own: np.ndarray) -> dict[str, np.ndarray]:
        """Distances `{part: [N, P]}` of pictures that were made from the normal ones `own [N]`, which are left out."""
        left_out: tuple[Any, Any] = (None, None)
        if self.count >= MANY:
            sources, at = np.unique(own, return_inverse=True)
            left_out = own.astype(np.int32), {grid: values[at] for grid, values in self._of(sources).items()}
        found: dict[str, np.ndarray] = {}
        for members, statistics in self._without:
            which = members[own]
            if which.any():
                given = jax.tree.map(lambda values, which=which: values[which], (x, *left_out))
                for name, values in self._encoding.distances(statistics, *given).items():
                    found.setdefault(name, np.zeros((len(own), values.shape[1]), np.float32))[which] = values
        return found

    def all_unseen(self) -> dict[str, np.ndarray]:
        """As `unseen`, of the normal pictures themselves."""
        return joined([self.unseen(x, rows) for rows, x in self._pieces("leaving each out")])

    def standardize(self, unseen: dict[str, np.ndarray]) -> None:
        """Distances are from now on told in deviations from these, of the normal pictures."""
        self.statistics = standardized(self.statistics, unseen, self.sizes)

    def learnt(self, names: list[str], unseen: dict[str, np.ndarray]) -> Learnt:
        """What it takes to add pictures later.

        Args:
            names: of the normal pictures.
            unseen: their distances, as `all_unseen` gives them.
        """
        small = np.concatenate([learnt.smalls_of(self.images(rows)) for rows in self._numbers()])
        if self.count < MANY:
            return Learnt(names, self.keys, small, self.images(np.arange(self.count)))
        return Learnt(
            *(names, self.keys, small, self.images(np.arange(0))),
            sums={grid: sums for grid, sums, _, _ in self._summed},
            nuisance={grid: values.astype(np.float32) for grid, values in self._nuisance.items()},
            bank={grid: bank for grid, _, bank, _ in self._summed},
            banked=self._summed[0][-1].astype(np.int32),
            distances=unseen,
        )

    def maps(self, distances: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Standardised maps `{part: [N, rows, columns]}` of distances."""
        found = placed.maps(self.config, self.statistics, distances, self.shape)
        return {part: np.asarray(values) for part, values in found.items()}

    def _pieces(self, what: str) -> Iterator[tuple[np.ndarray, Features]]:
        """Numbers and features of all pictures, some at a time."""
        numbers = self._numbers()
        if self._kept is not None:
            yield from zip(numbers, self._kept, strict=True)
            return
        kept: list[Features] | None = []
        with console.Phase(what, self.count, "images") as phase:
            for rows in numbers:
                found = self.features(self.images(rows))
                fits = kept is not None and self.count * sum(v[0].nbytes for v in found.values()) <= KEPT_BYTES
                kept = [*kept, found] if fits else None
                phase.update(len(rows))
                yield rows, found
        self._kept = kept

    def _numbers(self) -> list[np.ndarray]:
        return [np.arange(start, min(start + PIECE, self.count)) for start in range(0, self.count, PIECE)]

    def _of(self, rows: np.ndarray) -> Features:
        """Features of these pictures."""
        if self._kept is None:
            return self.features(self.images(rows))
        found = [{grid: values[row % PIECE][None] for grid, values in self._kept[row // PIECE].items()} for row in rows]
        return joined(found)

    def _sums(self, used: np.ndarray) -> Iterator[tuple[str, places.Sums, np.ndarray, np.ndarray]]:
        """By grid: sums over the pictures `used [N]`, and the features and numbers of those that go to the bank."""
        banked = np.flatnonzero(used)[learnt.in_bank(self.keys[used])]
        sums: dict[str, places.Sums] = {}
        bank: dict[str, list[np.ndarray]] = {grid: [] for grid in GRIDS}
        for rows, found in self._pieces("statistics of good images"):
            for grid, values in found.items():
                if used[rows].any():
                    chosen = values[used[rows]]
                    sums.setdefault(grid, places.Sums(chosen[:8].mean(0))).add(chosen)
                    bank[grid].append(values[np.isin(rows, banked)])
        for grid in GRIDS:
            yield grid, sums[grid], np.concatenate(bank[grid]), banked

    def _fitted(self, summed: list[tuple[str, places.Sums, np.ndarray, np.ndarray]]) -> Grids:
        return {grid: places.fit(sums, self._nuisance[grid], bank, who) for grid, sums, bank, who in summed}

    def _lit(self) -> dict[str, np.ndarray]:
        """By grid `[P, D, D]`: the mean outer product of what other lamps change in the features."""
        images = self.images(evenly(self.count, LIT))
        before = self.features(images)
        totals = {grid: places.Sums(np.zeros(values.shape[1:])) for grid, values in before.items()}
        for lamp in console.steps(LAMPS, "other lamps", len(LAMPS), "lamps"):
            lit = np.clip(np.rint(images * np.float32(lamp)), 0, 255).astype(np.uint8)
            for grid, values in self.features(lit).items():
                totals[grid].add(values - before[grid])
        return {grid: total.second / total.count for grid, total in totals.items()}


def standardized(statistics: Grids, unseen: dict[str, np.ndarray], sizes: dict[str, tuple[int, int]]) -> Grids:
    """Statistics with what distances `{part: [N, P]}` usually are, on grids of these sizes."""
    return {
        grid: of.replace(**{kind: places.usual(unseen[f"{grid}_{kind}"], sizes[grid]) for kind in KINDS})
        for grid, of in statistics.items()
    }
