"""The normal pictures of a run that scores by statistics: their features, the statistics of these, unseen distances.

A picture that belongs to the normal ones, or was made from one of them, is compared with statistics that have not seen
it: where there are many in closed form (`places.distances`), where fewer than `MANY` by fitting on the other folds.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax import console
from mocca_jax.data import Dataset, batching
from mocca_jax.method import places
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import placed
from mocca_jax.scoring.evaluate import joined
from mocca_jax.scoring.placed import GRIDS, KINDS
from mocca_jax.training import parallel
from mocca_jax.training.interrupts import Interrupted, StopRequest
from mocca_jax.training.step import TrainState, features_of

MANY, FOLDS = 100, 5
KEPT_BYTES = 2**31  # of features: those of more pictures are computed once more where they are needed again
BANK = 320  # pictures that neighbours are looked for in, at most
PIECE = 64  # pictures that are added to the sums at once
LIT = 48  # pictures that other lamps are tried on
LAMPS = ((0.75,) * 3, (1.15,) * 3, (1.3,) * 3, (1.12, 1.0, 0.9), (0.9, 1.0, 1.12))  # what they do to red, green, blue
COLOURED = 400  # pictures that say what colour the normal ones have
GREY = 3  # levels that the channels of grey pictures differ by, at most

Features = dict[str, np.ndarray]  # by grid, `[N, P, D]` float32
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
        self._stop = stop
        self.config, self.mesh, self.shape = config, mesh, dataset.inputs.shape
        self.sizes = placed.sides(config, self.shape)
        self.pictures, self.count = dataset.train.pictures, len(dataset.train.pictures)
        sample = self.images(spread(self.count, COLOURED))
        colour = sample.reshape(-1, sample.shape[-1]).mean(0, dtype=np.float64)
        self.grey = np.float32(np.ptp(sample.astype(np.int16), axis=-1).max() <= GREY)
        self.colour = np.where(self.grey, colour.mean(), colour).astype(np.float32)
        held = {"params": state.params, "batch_stats": state.batch_stats}
        held = parallel.replicate((held, self.colour, self.grey), mesh)

        @jax.jit
        def features(held, raw):  # nothing of these pictures is a constant of the program, which is kept for others
            variables, colour, grey = held
            image = dataset.inputs.preprocess(placed.relit(raw, colour, grey))
            mask = jnp.ones(raw.shape[0])
            _, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
            return placed.joined(config, features_of(sown), self.shape)

        @jax.jit
        def distances(statistics, given):
            x, own, base = given
            return placed.distances(config, statistics, x, self.shape, own, base)

        self._held, self._features, self._distances = held, features, distances
        self._kept: list[Features] | None = None
        self.statistics, self._nuisance = {}, {}
        self._without: list[tuple[np.ndarray, Grids]] = []  # which pictures these have not seen, on the devices

    def fit(self) -> None:
        """Makes the statistics of all pictures, and those of parts where there are few."""
        pieces = list(self._sums(np.ones(self.count, bool)))
        self._nuisance = self._lit()
        self.statistics = self._fitted(pieces)
        if self.count >= MANY:
            self._without.append((np.ones(self.count, bool), parallel.replicate(self.statistics, self.mesh)))
            return
        fold = np.random.default_rng(self.config.split_seed).permutation(np.arange(self.count) % FOLDS)
        for number in range(min(FOLDS, self.count)):
            others = self._fitted(list(self._sums(fold != number)))
            self._without.append((fold == number, parallel.replicate(others, self.mesh)))

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Of these numbers, `[N, H, W, 3]` uint8."""
        return np.asarray(self.pictures.images[rows])

    def features(self, images: np.ndarray, state: TrainState | None = None) -> Features:
        """Of any pictures `[N, H, W, 3]`; by the encoder of `state`, where it is not the run's."""
        held = self._held
        if state is not None:
            moved = {"params": state.params, "batch_stats": state.batch_stats}
            held = parallel.replicate((moved, self.colour, self.grey), self.mesh)
        return joined(list(self._in_batches(partial(self._features, held), images)))

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
                part = joined(list(self._in_batches(partial(self._distances, statistics), given)))
                for name, values in part.items():
                    found.setdefault(name, np.zeros((len(own), values.shape[1]), np.float32))[which] = values
        return found

    def all_unseen(self) -> dict[str, np.ndarray]:
        """As `unseen`, of the normal pictures themselves."""
        return joined([self.unseen(x, rows) for rows, x in self._pieces("leaving each out")])

    def standardize(self, unseen: dict[str, np.ndarray]) -> None:
        """Distances are from now on told in deviations from these, of the normal pictures."""
        self.statistics = {
            grid: of.replace(**{kind: places.usual(unseen[f"{grid}_{kind}"], self.sizes[grid]) for kind in KINDS})
            for grid, of in self.statistics.items()
        }

    def maps(self, distances: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Standardised maps `{part: [N, rows, columns]}` of distances."""
        found = placed.maps(self.config, self.statistics, distances, self.shape)
        return {part: np.asarray(values) for part, values in found.items()}

    def _pieces(self, what: str) -> Iterator[tuple[np.ndarray, Features]]:
        """Numbers and features of all pictures, some at a time."""
        numbers = [np.arange(start, min(start + PIECE, self.count)) for start in range(0, self.count, PIECE)]
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

    def _of(self, rows: np.ndarray) -> Features:
        """Features of these pictures."""
        if self._kept is None:
            return self.features(self.images(rows))
        found = [{grid: values[row % PIECE][None] for grid, values in self._kept[row // PIECE].items()} for row in rows]
        return joined(found)

    def _sums(self, used: np.ndarray) -> Iterator[tuple[str, places.Sums, np.ndarray, np.ndarray]]:
        """By grid: sums over the pictures `used [N]`, and the features and numbers of those that go to the bank."""
        banked = np.flatnonzero(used)[spread(int(used.sum()), BANK)]
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
        images = self.images(spread(self.count, LIT))
        before = self.features(images)
        totals = {grid: places.Sums(np.zeros(values.shape[1:])) for grid, values in before.items()}
        for lamp in console.steps(LAMPS, "other lamps", len(LAMPS), "lamps"):
            lit = np.clip(np.rint(images * np.float32(lamp)), 0, 255).astype(np.uint8)
            for grid, values in self.features(lit).items():
                totals[grid].add(values - before[grid])
        return {grid: total.second / total.count for grid, total in totals.items()}

    def _in_batches(self, call: Any, arrays: Any) -> Iterator[dict[str, np.ndarray]]:
        """`call` of the arrays' rows, as many at a time as a batch has, on all devices."""
        size, count = self.config.batch_size, len(jax.tree.leaves(arrays)[0])
        padded = parallel.padded(size, self.mesh)
        own = parallel.own_rows(padded, self.mesh)
        for start in range(0, count, size):
            if self._stop.signum:
                raise Interrupted(self._stop.signum, "the statistics were not finished, they will be made anew")
            stop = min(start + size, count)
            batch = jax.tree.map(lambda of, a=start, z=stop: batching.filled(of[a:z], padded)[own], arrays)
            found = parallel.fetch(call(parallel.shard(batch, self.mesh)))
            yield {name: values[: stop - start] for name, values in found.items()}


def spread(count: int, most: int) -> np.ndarray:
    """Numbers below `count`, all or `most` of them, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
