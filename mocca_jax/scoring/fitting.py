"""Fitting the statistics of a run on its normal pictures, and choosing what decides on made-up defects.

Every normal picture is scored as if the statistics had not seen it, so all of them count for threshold and p-values
(as cross-conformal prediction does, with folds of one picture; Vovk 2015). The choice between the parts of the score is
made on defects pasted on normal pictures, against the same pictures as a next day's camera would see them; for both,
the picture itself is left out of the statistics. No test image has a say.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from mocca_jax import console
from mocca_jax.data import Dataset, Split, batching, defects, next_day
from mocca_jax.data.pictures import Pictures
from mocca_jax.method import metrics, places
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import maps, placed
from mocca_jax.scoring.evaluate import Scores, joined
from mocca_jax.scoring.placed import GRIDS, KINDS, PARTS, SCORE
from mocca_jax.training import parallel
from mocca_jax.training.step import TrainState, features_of

KEPT_BYTES = 2**31  # of features: more pictures are passed through the network once more instead
BANK = 200  # pictures whose features are compared with
LIT = 48  # pictures that other lamps are tried on
LAMPS = ((0.75,) * 3, (1.15,) * 3, (1.3,) * 3, (1.12, 1.0, 0.9), (0.9, 1.0, 1.12))  # what they do to red, green, blue
GREY = 3  # levels that the channels of grey pictures differ by, at most
PIECE = 64  # pictures that are added to the sums at once
SHOWN = 400  # maps that are enlarged to the size of pictures, to know what is usual there
MADE_ON, PER = 80, 2  # normal pictures that defects are made up on, at most, and how many defects on each

Features = dict[str, np.ndarray]  # by grid, `[N, P, D]` float32


@dataclass(frozen=True)
class Made:
    """What was found out with made-up defects.

    `changed`: scores of `next_day` pictures; `defects`: of `pictures` with made-up ones, their `masks`, `kinds` and
    `maps [N, rows, columns]`; `auc`: by candidate; `chosen`: the candidate.
    """

    changed: Scores
    defects: Scores
    next_day: np.ndarray
    maps_of_changed: np.ndarray
    pictures: np.ndarray
    maps: np.ndarray
    masks: np.ndarray
    kinds: list[str]
    auc: dict[str, float]
    chosen: str


@dataclass(frozen=True)
class Fitted:
    """What fitting gives.

    `state` with statistics; of each normal picture left out of them its scores and its map, `maps [N, rows, columns]`;
    `made`: the choice; `weights`: where the encoder's come from.
    """

    state: TrainState
    left_out: Scores
    maps: np.ndarray
    made: Made
    weights: dict[str, Any]

    def scores(self) -> dict[str, Scores]:
        """By the names of the splits that `with_splits` adds."""
        return {"heldout": self.left_out, "changed": self.made.changed, "defects": self.made.defects}

    def with_splits(self, dataset: Dataset) -> Dataset:
        """The data set with the normal pictures, left out, as `heldout`, and with `changed` and `defects`."""
        made, train = self.made, dataset.train
        heldout = Split(
            train.pictures.images, np.zeros(len(self.maps), np.int32), train.samples, pictures=train.pictures
        )
        defects = _made_split(
            made.pictures, [f"made_up_defects/{n:03d} {kind}" for n, kind in enumerate(made.kinds)], 1
        )
        masks = replace(defects.pictures, mask=lambda index: made.masks[index])
        changed = _made_split(made.next_day, [f"next_day/{n:03d}" for n in range(len(made.next_day))], 0)
        return replace(dataset, heldout=heldout, changed=changed, defects=replace(defects, pictures=masks))

    def pixel_maps(self, shape: tuple[int, ...]) -> dict[str, list[np.ndarray]]:
        """Maps at the size of pictures, of at most `SHOWN` each: `{split: [[H, W], ...]}`."""
        whole = {"heldout": self.maps, "changed": self.made.maps_of_changed, "defects": self.made.maps}
        found = {}
        for name, of in whole.items():
            some = np.unique(np.linspace(0, len(of) - 1, min(len(of), SHOWN)).round().astype(int))
            found[name] = [maps.smoothed(np.asarray(placed.enlarged(of[n][None], *shape[:2]))[0]) for n in some]
        return found

    def as_dict(self) -> dict[str, Any]:
        """For `result.json`."""
        made = self.made
        labels = np.repeat([0, 1], [len(made.changed.combined), 1])
        by_kind = {}
        for kind in sorted(set(made.kinds)):
            of_kind = made.defects.combined[np.array(made.kinds) == kind]
            labels = np.repeat([0, 1], [len(made.changed.combined), len(of_kind)])
            by_kind[kind] = metrics.evaluate(labels, np.concatenate([made.changed.combined, of_kind]))["auc"]
        return {"chosen": made.chosen, "candidates": made.auc, "kinds": by_kind, "weights": self.weights}


def fit(model: AutoEncoder, state: TrainState, dataset: Dataset, config: Any, mesh: Any, weights: dict) -> Fitted:
    """The statistics of the training pictures, in one pass where their features fit into memory.

    Args:
        model: `placed.network`.
        state: with the encoder's weights.
        dataset: its `train.pictures` are fitted on.
        config: of the run.
        mesh: the devices.
        weights: where the encoder's come from.
    """
    return _Fit(model, state, dataset, config, mesh).all(weights)


class _Fit:
    """What the steps of fitting share."""

    def __init__(self, model, state, dataset, config, mesh):
        self.config, self.mesh, self.shape = config, mesh, dataset.inputs.shape
        self.sizes = placed.sides(config, self.shape)
        self.state, self.pictures = state, dataset.train.pictures
        self.count = len(self.pictures)
        sample = self._images(np.unique(np.linspace(0, self.count - 1, min(self.count, 400)).round().astype(int)))
        colour = sample.reshape(-1, sample.shape[-1]).mean(0, dtype=np.float64)
        self.grey = np.float32(np.ptp(sample.astype(np.int16), axis=-1).max() <= GREY)
        self.colour = np.where(self.grey, colour.mean(), colour).astype(np.float32)
        held = parallel.replicate({"params": state.params, "batch_stats": state.batch_stats}, mesh)

        @jax.jit
        def features(variables, raw, colour):
            image = dataset.inputs.preprocess(placed.relit(raw, colour, self.grey))
            mask = jnp.ones(raw.shape[0])
            _, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
            return placed.joined(config, features_of(sown), self.shape)

        @jax.jit
        def distances(statistics, x, own, base):
            found = {}
            for grid, of in statistics.items():
                for kind, values in places.distances(of, x[grid], self.sizes[grid], own, base[grid]).items():
                    found[f"{grid}_{kind}"] = values
            return found

        self._distances = distances
        self._network = lambda raw: parallel.fetch(features(held, parallel.shard(raw, mesh), self.colour))
        self._kept: list[Features] | None = None

    def all(self, weights: dict[str, Any]) -> Fitted:
        statistics = self._statistics()
        distances = joined([self._away(statistics, x, rows, x) for rows, x in self._pieces("leaving each out")])
        statistics = {grid: self._with_usual(grid, of, distances) for grid, of in statistics.items()}
        found = self._maps(statistics, distances)
        made = self._made(statistics)
        known = placed.Placed(statistics, self.colour, self.grey, _weights(made.chosen))
        left_out = _scores(found, known.weights)
        return Fitted(
            self.state.replace(statistics=known),
            left_out,
            np.asarray(placed.combined(found, known.weights)),
            made,
            weights,
        )

    def _with_usual(self, grid: str, found: places.Statistics, distances: dict[str, np.ndarray]) -> places.Statistics:
        size = self.sizes[grid]
        return found.replace(**{kind: places.usual(distances[f"{grid}_{kind}"], size) for kind in KINDS})

    def _maps(
        self, statistics: dict[str, places.Statistics], distances: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Maps of distances `{part: [N, P]}`."""
        found = {}
        for grid, of in statistics.items():
            standard = places.standardized(of, {kind: distances[f"{grid}_{kind}"] for kind in KINDS})
            for kind, values in standard.items():
                whole = placed.on_fine_grid(values, self.sizes[grid], self.sizes["fine"])
                found[f"{grid}_{kind}"] = np.asarray(whole)
        return found

    def _images(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.pictures.images[rows])

    def _features(self, images: np.ndarray) -> Features:
        """Of pictures `[N, H, W, 3]` in memory."""
        size = self.config.batch_size
        padded = parallel.padded(size, self.mesh)
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            found = self._network(batching.filled(part, padded))
            parts.append({grid: values[: len(part)] for grid, values in found.items()})
        return joined(parts)

    def _pieces(self, what: str) -> Iterator[tuple[np.ndarray, Features]]:
        """Numbers and features of all normal pictures, some at a time; the network runs once where they can be kept."""
        starts = range(0, self.count, PIECE)
        pieces = [np.arange(start, min(start + PIECE, self.count)) for start in starts]
        if self._kept is not None:
            yield from zip(pieces, self._kept, strict=True)
            return
        kept: list[Features] | None = []
        with console.Phase(what, self.count, "images") as phase:
            for rows in pieces:
                found = self._features(self._images(rows))
                fits = kept is not None and self.count * sum(v[0].nbytes for v in found.values()) <= KEPT_BYTES
                kept = [*kept, found] if fits else None
                phase.update(len(rows))
                yield rows, found
        self._kept = kept

    def _statistics(self) -> dict[str, places.Statistics]:
        banked = np.unique(np.linspace(0, self.count - 1, min(self.count, BANK)).round().astype(int))
        sums: dict[str, places.Sums] = {}
        bank: dict[str, list[np.ndarray]] = {grid: [] for grid in GRIDS}
        for rows, found in self._pieces("statistics of good images"):
            for grid, values in found.items():
                sums.setdefault(grid, places.Sums(values[:8].mean(0))).add(values)
                bank[grid].append(values[np.isin(rows, banked)])
        nuisance = self._nuisance()
        logging.info("covariances of %s places", " and ".join(str(len(sums[grid].first)) for grid in GRIDS))
        settings = places.Settings()
        return {
            grid: places.fit(sums[grid], nuisance[grid], np.concatenate(bank[grid]), banked, settings) for grid in GRIDS
        }

    def _nuisance(self) -> dict[str, np.ndarray]:
        """By grid `[P, D, D]`: the mean outer product of what a lamp changes in features that `relit` pictures give."""
        some = np.unique(np.linspace(0, self.count - 1, min(self.count, LIT)).round().astype(int))
        images = self._images(some)
        before = self._features(images)
        totals = {grid: places.Sums(np.zeros(values.shape[1:])) for grid, values in before.items()}
        for lamp in console.steps(LAMPS, "other lamps", len(LAMPS), "lamps"):
            lit = np.clip(np.rint(images * np.float32(lamp)), 0, 255).astype(np.uint8)
            for grid, values in self._features(lit).items():
                totals[grid].add(values - before[grid])
        return {grid: total.second / total.count for grid, total in totals.items()}

    def _away(
        self, statistics: dict[str, places.Statistics], x: Features, own: np.ndarray, base: Features
    ) -> dict[str, np.ndarray]:
        """Distances `{part: [N, P]}` of pictures made from the normal ones `own`, which are left out."""
        size, padded, parts = self.config.batch_size, parallel.padded(self.config.batch_size, self.mesh), []
        bare = {grid: of.replace(place=None, near=None) for grid, of in statistics.items()}
        held = parallel.replicate(bare, self.mesh)
        for start in range(0, len(own), size):
            rows = slice(start, min(start + size, len(own)))
            batch = jax.tree.map(lambda values, rows=rows: batching.filled(values[rows], padded), (x, own, base))
            found = parallel.fetch(self._distances(held, *parallel.shard(batch, self.mesh)))
            parts.append({name: values[: rows.stop - start] for name, values in found.items()})
        return joined(parts)

    def _made(self, statistics: dict[str, places.Statistics]) -> Made:
        """Scores of made-up defects and of next-day pictures; chooses by them."""
        picked = np.unique(np.linspace(0, self.count - 1, min(self.count, MADE_ON)).round().astype(int))
        each = PER * max(1, MADE_ON // len(picked))
        good, bad = np.repeat(picked, max(1, each // 2)), np.repeat(picked, each)
        images = self._images(picked)
        seed = self.config.split_seed
        sizes = np.broadcast_to(np.array(images.shape[1:3]), (len(good), 2))
        changed = next_day.changed(images[np.searchsorted(picked, good)], sizes, seed)
        sizes = np.broadcast_to(np.array(images.shape[1:3]), (len(bad), 2))
        other_day = next_day.changed(images[np.searchsorted(picked, bad)], sizes, seed + 1)
        damaged, masks, kinds = defects.paste(other_day, sizes, seed, sources=images)
        found = []
        for what, pictures, own in (("next day's images", changed, good), ("made-up defects", damaged, bad)):
            logging.debug("%s: %d", what, len(pictures))
            found.append(self._maps_of(statistics, pictures, own, what))
        candidates = {}
        labels = np.repeat([0, 1], [len(good), len(bad)])
        for name in placed.CANDIDATES:
            both = np.concatenate([_scores(maps, _weights(name)).combined for maps in found])
            candidates[name] = metrics.evaluate(labels, both)["auc"]
        first, best = next(iter(candidates)), max(candidates, key=candidates.get)
        chosen = best if candidates[best] >= candidates[first] + placed.MARGIN else first
        scores = [_scores(maps, _weights(chosen)) for maps in found]
        drawn = [np.asarray(placed.combined(maps, _weights(chosen))) for maps in found]
        return Made(*scores, changed, drawn[0], damaged, drawn[1], masks, kinds, candidates, chosen)

    def _maps_of(
        self, statistics: dict[str, places.Statistics], pictures: np.ndarray, own: np.ndarray, what: str
    ) -> dict[str, np.ndarray]:
        """Maps of pictures made from the normal ones `own`, which are left out."""
        parts, (sources, at) = [], np.unique(own, return_inverse=True)
        bases = self._features(self._images(sources))
        for start in console.steps(range(0, len(own), PIECE), what, -(-len(own) // PIECE), "batches"):
            rows = slice(start, start + PIECE)
            base = {grid: values[at[rows]] for grid, values in bases.items()}
            parts.append(self._away(statistics, self._features(pictures[rows]), own[rows], base))
        return self._maps(statistics, joined(parts))


def _made_split(pictures: np.ndarray, samples: list[str], label: int) -> Split:
    sizes = np.broadcast_to(np.array(pictures.shape[1:3]), (len(pictures), 2))
    labels = np.full(len(pictures), label, np.int32)
    return Split(
        pictures, labels, samples, pictures=Pictures(pictures, sizes, lambda index: np.zeros(sizes[index], bool))
    )


def _weights(candidate: str) -> dict[str, np.ndarray]:
    return {part: np.float32(part in placed.CANDIDATES[candidate]) for part in PARTS}


def _scores(maps: dict[str, np.ndarray], weights: dict[str, Any]) -> Scores:
    whole = maps | {SCORE: np.asarray(placed.combined(maps, weights))}
    found = {name: np.asarray(values) for name, values in placed.unit_scores(whole).items()}
    return Scores(found.pop(SCORE), found)
