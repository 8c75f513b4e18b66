"""Fitting the statistics of a run on its normal pictures, and choosing what decides on made-up defects.

Every normal picture is scored as if the statistics had not seen it, so all of them count for threshold and p-values
(as cross-conformal prediction does, with folds of one picture; Vovk 2015). The choice between the parts of the score is
made on defects pasted on normal pictures, against the same pictures as a next day's camera would see them; for both,
the picture itself is left out of the statistics. No test image has a say.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mocca_jax import console
from mocca_jax.data import Dataset, Split, defects, next_day
from mocca_jax.data.pictures import Pictures
from mocca_jax.data.spread import evenly
from mocca_jax.method import metrics
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import evaluate, maps, placed, rounding
from mocca_jax.scoring.evaluate import Scores, joined
from mocca_jax.scoring.learnt import Learnt
from mocca_jax.scoring.learnt_tiles import Tiles
from mocca_jax.scoring.normals import MANY, PIECE, Normals
from mocca_jax.scoring.placed import PARTS, SCORE
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.parts import STRICT, Parts
from mocca_jax.training.step import TrainState

SHOWN = 400  # maps that are enlarged to the size of pictures, to know what is usual there
MADE_ON, PER = 80, 2  # normal pictures that defects are made up on, at most, and how many defects on each


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

    `state` with statistics; of each normal picture left out of them its scores and its map, `maps [N, rows, columns]`,
    or a list where they differ in size, of tiles of some pictures;
    `made`: what is known of made-up defects, or None where that failed; `chosen`: the candidate; `weights`: where the
    encoder's come from; `rounding`: of the score, and of the largest value of a map; `learnt`: what it takes to
    add pictures later, or None where that failed; `drawn`: what `pixel_maps` gives, where it is known.
    """

    state: TrainState
    left_out: Scores
    maps: np.ndarray | list[np.ndarray]
    made: Made | None
    chosen: str
    weights: dict[str, Any]
    rounding: dict[str, float]
    scale: evaluate.Scale = field(default_factory=dict)
    learnt: Learnt | Tiles | None = None
    drawn: dict[str, list[np.ndarray]] | None = None

    def scores(self) -> dict[str, Scores]:
        """By the names of the splits that `with_splits` adds."""
        made = {"changed": self.made.changed, "defects": self.made.defects} if self.made else {}
        return {"heldout": self.left_out, **made}

    def with_splits(self, dataset: Dataset) -> Dataset:
        """The data set with the normal pictures, left out, as `heldout`, and with `changed` and `defects`."""
        made, train = self.made, dataset.train
        normal = np.zeros(len(self.left_out.combined), np.int32)
        left_out = Split(train.pictures.images, normal, train.samples, pictures=train.pictures)
        if made is None:
            return replace(dataset, heldout=left_out)
        whole = np.zeros(made.masks.shape[1:], bool)
        names = [f"made_up_defects/{n:03d} {kind}" for n, kind in enumerate(made.kinds)]
        days = [f"next_day/{n:03d}" for n in range(len(made.next_day))]
        return replace(
            dataset,
            heldout=left_out,
            changed=_made_split(made.next_day, days, 0, lambda index: whole),
            defects=_made_split(made.pictures, names, 1, lambda index: made.masks[index]),
        )

    def pixel_maps(self, shape: tuple[int, ...]) -> dict[str, list[np.ndarray]]:
        """Maps at the size of pictures, `{split: [[H, W], ...]}`; of the normal ones at most `SHOWN`."""
        if self.drawn is not None:
            return self.drawn
        made = {"changed": self.made.maps_of_changed, "defects": self.made.maps} if self.made else {}
        whole = {"heldout": self.maps, **made}
        found = {}
        for name, of in whole.items():
            some = evenly(len(of), SHOWN if name == "heldout" else len(of))
            found[name] = pixels(of[some], shape)
        return found

    def as_dict(self) -> dict[str, Any]:
        """For `result.json`."""
        made, by_kind = self.made, {}
        if made is None:
            return {"chosen": self.chosen, "candidates": {}, "kinds": {}, "weights": self.weights}
        for kind in sorted(set(made.kinds)):
            of_kind = made.defects.combined[np.array(made.kinds) == kind]
            by_kind[kind] = metrics.auc_between(made.changed.combined, of_kind)
        return {"chosen": self.chosen, "candidates": made.auc, "kinds": by_kind, "weights": self.weights}


def fit(
    model: AutoEncoder,
    state: TrainState,
    dataset: Dataset,
    config: Any,
    mesh: Any,
    weights: dict[str, Any],
    stop: StopRequest | None = None,
    parts: Parts = STRICT,
) -> Fitted:
    """The statistics of the training pictures, in one pass where their features fit into memory.

    Args:
        model, state, dataset, config, mesh, stop: as `Normals`.
        weights: where the encoder's come from.
        parts: makes the choice on made-up defects, which may fail: `FIRST` of `placed` is then taken.

    Raises:
        Interrupted: a signal came; nothing is kept.
    """
    normals = Normals(model, state, dataset, config, mesh, stop or StopRequest())
    normals.fit()
    distances = normals.all_unseen()
    normals.standardize(distances)
    found = normals.maps(distances)
    first = placed.FIRST if normals.count >= MANY else placed.FIRST_OF_FEW
    made = parts.make("made-up defects", lambda: _made(normals, config, first), None, together=True)
    chosen = made.chosen if made else first
    known = placed.Placed(normals.statistics, normals.colour, normals.grey, weights_of(chosen))
    left_out = scores_of(found, known.weights)
    drawn = np.asarray(placed.combined(found, known.weights))
    size = float(np.abs(left_out.combined).max())
    least = dict.fromkeys(("score", "map"), rounding.LEAST * size)
    tied = parts.make("rounding", lambda: _rounding(normals, state, known.weights, size), least, together=True)
    names = list(dataset.train.samples)[: normals.count]  # the rest are these again
    learnt = parts.make("what it takes to update", lambda: normals.learnt(names, distances), None, together=True)
    return Fitted(state.replace(statistics=known), left_out, drawn, made, chosen, weights, tied, learnt=learnt)


def _rounding(normals: Normals, state: TrainState, weights: dict[str, Any], size: float) -> dict[str, float]:
    """Of the score, and of the largest value of a map, by their names."""
    rows = evenly(normals.count, rounding.UNITS)
    images = normals.images(rows)

    def largest(state: TrainState | None) -> tuple[np.ndarray, np.ndarray]:
        found = normals.maps(normals.unseen(normals.features(images, state), rows))
        whole = np.asarray(placed.combined(found, weights))
        return whole.max((1, 2)), np.array([drawn.max() for drawn in pixels(whole, normals.shape)])

    before, moved = largest(None), [largest(other) for other in rounding.states(state)]
    names = ("score", "map")
    return {name: rounding.measure(before[n], [of[n] for of in moved], size) for n, name in enumerate(names)}


def pixels(found: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Maps `[N, rows, columns]` at the size of pictures."""
    return list(placed.drawn(found, *shape[:2], maps.SMOOTHING))


def _made(normals: Normals, config: Any, first: str) -> Made:
    """Scores of made-up defects and of next-day pictures, and what they choose: `first`, or a better candidate."""
    picked, seed = evenly(normals.count, MADE_ON), config.split_seed
    times = max(1, MADE_ON // len(picked))
    good, bad = np.repeat(picked, times), np.repeat(picked, PER * times)
    images = normals.images(picked)
    changed = next_day_of(images[np.searchsorted(picked, good)], seed, day=1)
    days = next_day_of(images[np.searchsorted(picked, bad)], seed, day=2)
    damaged, masks, kinds = defects.paste(days, sizes_of(days), seed, sources=images)
    found = [
        normals.maps(_unseen(normals, *of))
        for of in ((changed, good, "next day's images"), (damaged, bad, "made-up defects"))
    ]
    return made_of(found, changed, damaged, masks, kinds, first)


def made_of(
    found: list[dict[str, np.ndarray]],
    changed: np.ndarray,
    damaged: np.ndarray,
    masks: np.ndarray,
    kinds: list[str],
    first: str,
) -> Made:
    """What the maps by part of next-day pictures and of made-up defects, `found`, choose; the rest as for `Made`."""
    auc = {}
    for name in placed.CANDIDATES:
        auc[name] = metrics.auc_between(*(scores_of(maps, weights_of(name)).combined for maps in found))
    chosen = metrics.better(auc, first, placed.MARGIN)
    scores = [scores_of(maps, weights_of(chosen)) for maps in found]
    drawn = [np.asarray(placed.combined(maps, weights_of(chosen))) for maps in found]
    return Made(*scores, changed, drawn[0], damaged, drawn[1], masks, kinds, auc, chosen)


def _unseen(normals: Normals, pictures: np.ndarray, own: np.ndarray, what: str) -> dict[str, np.ndarray]:
    """Distances of pictures made from the normal ones `own`, which are left out."""
    parts = []
    with console.Phase(what, len(own), "images") as phase:
        for start in range(0, len(own), PIECE):
            rows = slice(start, start + PIECE)
            parts.append(normals.unseen(normals.features(pictures[rows]), own[rows]))
            phase.update(len(own[rows]))
    return joined(parts)


def next_day_of(images: np.ndarray, seed: int, day: int) -> np.ndarray:
    """Pictures `[N, H, W, 3]`, all real, as on another day."""
    return next_day.changed(images, sizes_of(images), seed, day)


def sizes_of(images: np.ndarray) -> np.ndarray:
    """Rows and columns `[N, 2]` of pictures that are all real."""
    return np.broadcast_to(np.array(images.shape[1:3]), (len(images), 2))


def _made_split(pictures: np.ndarray, samples: list[str], label: int, mask: Callable[[int], np.ndarray]) -> Split:
    labels = np.full(len(pictures), label, np.int32)
    return Split(pictures, labels, samples, pictures=Pictures(pictures, sizes_of(pictures), mask))


def weights_of(candidate: str) -> dict[str, np.ndarray]:
    """By part, 1 where the candidate adds it, otherwise 0."""
    return {part: np.float32(part in placed.CANDIDATES[candidate]) for part in PARTS}


def scores_of(maps: dict[str, np.ndarray], weights: dict[str, Any]) -> Scores:
    """Of maps `{part: [N, rows, columns]}`."""
    whole = maps | {SCORE: np.asarray(placed.combined(maps, weights))}
    found = {name: np.asarray(values) for name, values in placed.unit_scores(whole).items()}
    return Scores(found.pop(SCORE), found)
