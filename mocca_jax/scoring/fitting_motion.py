"""Fitting the statistics of movement on normal videos, and choosing by made-up anomalies what counts.

Videos are dealt into two halves, and each is scored by the statistics of the other: so all normal frames count for
scale, threshold and p-values (cross-conformal prediction, Vovk 2015). Made-up anomalies lie in videos of the first
half.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from mocca_jax import console
from mocca_jax.data import Dataset, Split, batching, movement, views
from mocca_jax.method import metrics, motion, places
from mocca_jax.models import AutoEncoder, layer_name
from mocca_jax.scoring import evaluate, moving, rounding
from mocca_jax.scoring.evaluate import Scores
from mocca_jax.training import stages
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.parts import STRICT, Parts
from mocca_jax.training.step import TrainState, features_of

PIECE = 256  # frames that are added to the sums at once
CANDIDATES = {"movement and slowness": True, "movement": False}  # whether slowness counts
FIRST, MARGIN = "movement and slowness", 0.02  # taken unless another is better by this much AUC on made-up anomalies


@dataclass(frozen=True)
class Fitted:
    """What fitting gives, for `pipeline.finish`.

    `state` with statistics; `scale` of the parts of the score; `left_out`: the scores of normal frames, each by
    statistics that have not seen its half; `made`: of made-up anomalies; `auc`: of the candidates on these; `kinds`: of
    the chosen one, by kind; `rounding`: of the score.
    """

    state: TrainState
    scale: evaluate.Scale
    left_out: Scores
    made: Scores | None
    auc: dict[str, float]
    kinds: dict[str, float]
    chosen: str
    usual_speed: float
    rounding: dict[str, float]

    def scores(self) -> dict[str, Scores]:
        """By the names of the splits that `with_splits` adds."""
        return {"heldout": self.left_out} | ({"defects": self.made} if self.made else {})

    def with_splits(self, dataset: Dataset) -> Dataset:
        """The data set with the normal frames, left out, as `heldout`."""
        normal = replace(dataset.train, labels=np.zeros(len(dataset.train.samples), np.int32))
        return replace(dataset, heldout=normal, defects=dataset.defects if self.made else None)

    def as_dict(self) -> dict[str, Any]:
        """For `result.json`."""
        of = {"chosen": self.chosen, "candidates": self.auc, "kinds": self.kinds, "weights": None}
        return of | {"usual_speed": self.usual_speed}


def fit(
    model: AutoEncoder,
    state: TrainState,
    dataset: Dataset,
    config: Any,
    mesh: Any,
    stop: StopRequest,
    parts: Parts = STRICT,
) -> Fitted:
    """The statistics of all training frames.

    Args:
        model: `moving.network`.
        state: of it.
        dataset, config, mesh: of the run.
        stop: may ask to stop, between batches.
        parts: makes the choice on made-up anomalies, which may fail.

    Raises:
        Interrupted: a signal came; nothing is kept.
    """
    timeline = dataset.train.timeline
    first = movement.of_first_half(timeline.video)
    sums, speed = _sums(model, state, dataset, config, mesh, first, stop)
    both = {name: of + sums[1][name] for name, of in sums[0].items()}
    known = [_statistics(config, of, dataset.inputs.shape, speed) for of in (*sums, both)]
    program = evaluate.make_program(model, stages.last(config), dataset.inputs.preprocess, config)

    def units(split: Split, known: motion.Motion, what: str) -> dict[str, np.ndarray]:
        return evaluate.score_units(program, state.replace(statistics=known), split, config, mesh, what)

    unseen: dict[str, np.ndarray] = {}
    for half, by in ((first, known[1]), (~first, known[0])):
        for name, values in units(_only(dataset.train, half), by, "normal frames").items():
            unseen.setdefault(name, np.zeros(len(first), values.dtype))[half] = values
    left_out = motion.of_frames(unseen, timeline.pieces)
    scale = motion.scale_of(left_out)
    candidates = {name: _of(scale, slow) for name, slow in CANDIDATES.items()}

    def choose() -> tuple[dict[str, float], dict[str, np.ndarray], str] | None:
        if dataset.defects is None:
            return None
        planted = motion.of_frames(
            units(dataset.defects, known[1], "made-up anomalies"), dataset.defects.timeline.pieces
        )
        normal = {name: values[first] for name, values in left_out.items()}
        auc = {
            name: metrics.auc_between(moving.combined(normal, of)[0], moving.combined(planted, of)[0])
            for name, of in candidates.items()
        }
        return auc, planted, metrics.better(auc, FIRST, MARGIN)

    made = parts.make("made-up anomalies", choose, None, together=True)
    auc, planted, chosen = made or ({}, None, FIRST)
    scale = candidates[chosen]
    of_normal = evaluate.standardized(Scores(np.zeros(0), left_out), scale)
    of_made = evaluate.standardized(Scores(np.zeros(0), planted), scale) if planted else None
    kinds = _kinds(of_normal.combined[first], of_made.combined, dataset.defects) if of_made else {}
    tied = {"score": rounding.LEAST * float(np.abs(of_normal.combined).max())}
    return Fitted(state.replace(statistics=known[2]), scale, of_normal, of_made, auc, kinds, chosen, float(speed), tied)


def _only(split: Split, which: np.ndarray) -> Split:
    rows = np.flatnonzero(which)
    return Split(views.Rows(split.images, rows), split.labels[rows], [split.samples[row] for row in rows])


def _of(scale: evaluate.Scale, slow: bool) -> evaluate.Scale:
    return {name: of for name, of in scale.items() if slow or name != motion.SLOW}


def _sums(
    model: AutoEncoder,
    state: TrainState,
    dataset: Dataset,
    config: Any,
    mesh: Any,
    first: np.ndarray,
    stop: StopRequest,
) -> tuple[list[dict[str, places.Sums]], float]:
    """Of each half and layer, sums over its frames; and the usual speed of what moves."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}

    @jax.jit
    def features(raw: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        image = dataset.inputs.preprocess(raw)
        _, sown = model.apply(variables, image, jax.numpy.ones(len(raw)), False, method="encode", mutable=["features"])
        return features_of(sown), motion.speed_sums(image)

    rows, columns, size = dataset.inputs.shape
    halves = [
        {layer_name(layer): places.Sums(np.zeros((rows * columns, size))) for layer in config.layers} for _ in range(2)
    ]
    totals, count = np.zeros(2), len(first)
    with console.Phase("statistics of movement", count, "frames") as phase:
        for start in range(0, count, PIECE):
            stop.leave_statistics()
            at = np.arange(start, min(start + PIECE, count))
            found, speeds = jax.device_get(features(batching.filled(dataset.train.images[at], PIECE)))
            totals += [float(speeds[name][: len(at)].sum(dtype=np.float64)) for name in motion.SUMS]
            for half, which in zip(halves, (first[at], ~first[at]), strict=True):
                for name, sums in half.items() if which.any() else ():
                    sums.add(found[name][: len(at)][which].reshape(-1, rows * columns, size))
            phase.update(len(at))
    return halves, totals[0] / max(totals[1], np.finfo(float).tiny)


def _statistics(config: Any, of: dict[str, places.Sums], shape: tuple[int, ...], speed: float) -> motion.Motion:
    """Of the sums of each layer."""
    floors = {layer_name(layer): motion.FLOORS[layer] * speed for layer in config.layers}
    return motion.Motion({name: motion.fit(sums, shape[:2], floors[name]) for name, sums in of.items()})


def _kinds(normal: np.ndarray, planted: np.ndarray, split: Split) -> dict[str, float]:
    """AUC by kind, of videos named `<kind> <number>`."""
    kinds = np.array([name.rpartition(" ")[0] for name in split.timeline.videos])[split.timeline.video]
    return {str(kind): metrics.auc_between(normal, planted[kinds == kind]) for kind in np.unique(kinds)}
