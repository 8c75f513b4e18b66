"""Scoring: encoder over a split -> distances -> scores of units -> scores of samples -> metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mocca_jax import console, models
from mocca_jax.data import Split, batching
from mocca_jax.errors import UserError
from mocca_jax.method import frames, metrics, motion, pooled, scores
from mocca_jax.models import AutoEncoder, lookup
from mocca_jax.scoring import moving, placed, pooling, shared
from mocca_jax.scoring.regions import Region
from mocca_jax.training import parallel, stages
from mocca_jax.training.stages import Stage
from mocca_jax.training.step import TrainState, distances, features_of

RECONSTRUCTION = "reconstruction"
ONE_CLASS = "one_class"
Scale = dict[str, tuple[float, float]]  # mean and standard deviation of each term, or part of the score


@dataclass(frozen=True)
class Scores:
    """Sample scores `[S]` (larger = more anomalous): combined, and its parts: each layer's own.

    Where a stage decodes and has centroids, `layers` also holds `one_class` (Eq. 6) and `reconstruction`.
    """

    combined: np.ndarray
    layers: dict[str, np.ndarray]
    terms: tuple[np.ndarray, ...] = ()  # what `combined` is the sum of, where it is one
    maps: np.ndarray | None = None  # coarse ones, where they were asked for and the score is made of them

    def only(self, which: np.ndarray) -> "Scores":
        """Of the samples where `which [S]` is True."""
        layers = {name: values[which] for name, values in self.layers.items()}
        return Scores(self.combined[which], layers, tuple(term[which] for term in self.terms))


def one_after_another(found: Sequence[Scores]) -> Scores:
    """Scores of the samples of all, at least one."""
    terms = zip(*(of.terms for of in found), strict=True)
    return Scores(
        np.concatenate([of.combined for of in found]),
        joined([of.layers for of in found]),
        tuple(np.concatenate(term) for term in terms),
        _together([of.maps for of in found]),
    )


@dataclass(frozen=True)
class Findings:
    """Of some pictures, or of a video's frames: scores `[N]` with each layer's part; larger = more anomalous.

    `p_value [N]` and `anomalous [N]` are None where nothing was held out. `regions`: of each picture, those that are
    anomalous, the weightiest first, none of pictures that are not; None where the run made no maps, and of videos.
    `maps`: as of `Scores`.
    """

    score: np.ndarray
    layers: dict[str, np.ndarray]
    p_value: np.ndarray | None
    anomalous: np.ndarray | None
    regions: list[list[Region]] | None = None
    maps: np.ndarray | None = None

    def coarse(self, n: int) -> np.ndarray | None:
        """The n-th of the `maps`, `[1, rows, columns]`, if there are any."""
        return None if self.maps is None else self.maps[n : n + 1]


def all_findings(parts: Sequence[Findings]) -> Findings:
    """Those of several batches by the same detector, without maps; raises UserError where there is none."""
    if not parts:
        raise UserError("no pictures were given")
    return Findings(
        np.concatenate([part.score for part in parts]),
        joined([part.layers for part in parts]),
        _together([part.p_value for part in parts]),
        _together([part.anomalous for part in parts]),
        None if parts[0].regions is None else [found for part in parts for found in part.regions],
    )


def _together(values: list[np.ndarray | None]) -> np.ndarray | None:
    return None if values[0] is None else np.concatenate(values)


def unit_scores(model: AutoEncoder, stage: Stage, config, state: TrainState, image, mask) -> dict[str, jax.Array]:
    """What a trained model says of units: `{name: [B]}`, larger = more anomalous. Pure.

    Each layer's term of Eq. 6 and their mean, `one_class`, where the stage has centroids; the `reconstruction` error
    where it decodes.
    """
    if isinstance(state.statistics, pooled.Pooled):
        return pooling.unit_scores(model, stage, config, state, image, mask)
    made, features = _encoded(model, stage, state, image, mask)
    if isinstance(state.statistics, motion.Motion):
        return moving.unit_scores(state.statistics, features, image)
    if state.statistics is not None:
        return placed.unit_scores(placed.of_features(config, state.statistics, features, image.shape[1:]))
    parts = {}
    if stage.has_centroids:
        found = distances(features, state.centroids)
        parts = scores.layer_scores(found, state.radii, boundary=config.boundary, norm=config.score_norm)
        parts[ONE_CLASS] = scores.combine(parts)
    return parts | ({RECONSTRUCTION: stage.pretext.loss(made, image)} if stage.decodes else {})


def _encoded(model: AutoEncoder, stage: Stage, state: TrainState, image, mask) -> tuple[Any, dict[str, jax.Array]]:
    """What the network gives for units, and the features that it sows."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    method = stage.method if state.statistics is None else "encode"  # statistics are of features alone
    made, sown = model.apply(variables, image, mask, False, method=method, mutable=["features"])
    return made, features_of(sown) if sown else {}


def seen(state: TrainState, raw: jax.Array) -> jax.Array:
    """Raw units as the encoder gets them, before scaling: under one lamp where statistics are compared with."""
    known = state.statistics
    return placed.relit(raw, known.colour, known.grey) if isinstance(known, placed.Placed) else raw


def built(config, shape: tuple[int, ...]) -> AutoEncoder:
    """The network that a finished run scores with."""
    for statistics in (placed, moving, pooling):
        if statistics.is_used(config):
            return statistics.network(config, shape)
    return models.build(config, shape, tuple(config.layers) if stages.last(config).has_centroids else ())


def make_scorer(model: AutoEncoder, stage: Stage, preprocess, config) -> Callable:
    """A compiled `(state, raw, mask) -> {name: [B]}`: `unit_scores` of raw units."""
    program = make_program(model, stage, preprocess, config)
    # The optimiser's state, which scoring does not use, stays out of the program.
    return lambda state, raw, mask: scores_in(program(state.replace(opt_state=()), raw, mask))


def scores_in(found: placed.Judged | dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The scores of what a program of `make_program` gives."""
    return found.scores if isinstance(found, placed.Judged) else found


def make_program(model: AutoEncoder, stage: Stage, preprocess, config) -> Callable:
    """As `make_scorer`, of states without the optimiser's; can be compiled ahead of time. Equal arguments share it.

    Where a run scores by statistics of places it gives `placed.Judged`: the maps that scores are made of, too.
    """

    def make() -> Callable:
        @jax.jit
        def score(state, raw, mask):
            image = preprocess(seen(state, raw), jax.random.wrap_key_data(state.rng))
            if isinstance(state.statistics, placed.Placed):
                _, features = _encoded(model, stage, state, image, mask)
                return placed.judged(config, state.statistics, features, image.shape[1:])
            return unit_scores(model, stage, config, state, image, mask)

        return score

    return shared.program(make, "score", model, stage, preprocess, config)


def make_movement_map(model: AutoEncoder, scale: Scale) -> Callable:
    """A compiled `(state, cells [B, rows, columns, 3]) -> [B, rows, columns]`: see `moving.maps`."""

    @jax.jit
    def drawn(state, cells):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        mask = jax.numpy.ones(cells.shape[0])
        _, sown = model.apply(variables, cells, mask, False, method="encode", mutable=["features"])
        return moving.maps(state.statistics, features_of(sown), scale)

    return drawn


def score_split(
    scorer: Callable, state: TrainState, split: Split, aggregate: str, config, mesh, name: str = "samples"
) -> Scores:
    """The scores of a split's samples; `name`: what to call it while it lasts."""
    found = score_units(scorer, state, split, config, mesh, name)
    return of_samples(found, aggregate, split.timeline or split.sample_of_unit, config)


def score_units(scorer: Callable, state: TrainState, split: Split, config, mesh, name: str) -> dict[str, np.ndarray]:
    """What the scorer says of a split's units, `{name: [U]}`."""
    found: list[dict[str, np.ndarray]] = []
    padded = parallel.padded(config.batch_size, mesh)
    state = parallel.replicate(state.replace(opt_state=()), mesh)
    with console.Phase(f"scoring {name}", len(split), "units") as phase:
        for batch in batching.in_order(split, config.batch_size, padded, parallel.own_rows(padded, mesh)):
            scored = parallel.fetch(scorer(state, *parallel.shard((batch.image, batch.mask), mesh)))
            found.append({part: values[: batch.units] for part, values in scored.items()})
            phase.update(batch.units)
    return joined(found)


def joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays by name, those of the parts behind each other; nothing of no parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def of_samples(units: dict[str, np.ndarray], aggregate: str, where, config) -> Scores:
    """Scores of units -> scores of samples.

    Args:
        units: what `unit_scores` gives, over all units.
        aggregate: a name in `scores.AGGREGATES`; `where` is its second argument.
        config: says which part is the score.
    """
    if moving.is_used(config):
        parts = motion.of_frames(units, where.pieces)
        return Scores(np.max([parts[name] for name in parts if name != motion.SLOW], axis=0), parts)
    to_samples = lookup(scores.AGGREGATES, aggregate, "aggregate")
    samples = {name: to_samples(np.asarray(values), where) for name, values in units.items()}
    for statistics, name in ((placed, placed.SCORE), (pooling, pooled.SCORE)):
        if statistics.is_used(config):
            return Scores(samples.pop(name), samples)
    combined = samples[RECONSTRUCTION if config.score == RECONSTRUCTION else ONE_CLASS]
    if RECONSTRUCTION not in samples:
        samples.pop(ONE_CLASS)
    return Scores(combined, samples)


LEAST_SPREAD = 1e-20  # whose inverse float32 holds


def scale_of(reference: Scores) -> Scale:
    """Mean and standard deviation of one-class score and reconstruction error over held-out normal samples.

    The deviation is at least what float32 tells apart: samples that are all alike differ by rounding, or not at all.
    """
    scale = {}
    for name in (ONE_CLASS, RECONSTRUCTION):
        values = reference.layers[name]
        least = max(float(np.finfo(np.float32).eps * np.abs(values).max()), LEAST_SPREAD)
        scale[name] = float(values.mean()), max(float(values.std()), least)
    return scale


def standardized(found: Scores, scale: Scale) -> Scores:
    """Combined = the sum of one-class score and reconstruction error, each in deviations from its mean.

    Differs from the paper, which adds the two after scaling each by its extremes over the test video. Without a scale,
    as it was. Where movement is scored, its parts are standardised and combined.
    """
    if not scale:
        return found
    if ONE_CLASS not in scale:
        combined, parts = moving.combined(found.layers, scale)
        return Scores(combined, parts, (combined,))
    least = np.finfo(np.float32).tiny
    terms = tuple((found.layers[name] - mean) / max(spread, least) for name, (mean, spread) in scale.items())
    return Scores(sum(terms), found.layers, terms)


def size(found: Scores, scale: Scale) -> float:
    """The largest absolute value among combined scores; of terms that were standardised, before that, in its unit."""
    if not scale:
        return float(np.abs(found.combined).max())
    return sum(float(np.abs(found.layers[name]).max()) / spread for name, (_, spread) in scale.items())


def measure(found: Scores, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """AUC, AP and maxBA of the combined score and of each layer's own, over the samples whose label is known."""
    known = labels >= 0
    table = {name: metrics.evaluate(labels[known], values[known]) for name, values in found.layers.items()}
    return {"combined": metrics.evaluate(labels[known], found.combined[known]), **table}


def measure_frames(found: Scores, split: Split) -> dict[str, dict[str, float]]:
    """Frame AUC by scaling (`frames.table`) of one-class score, reconstruction error, their sum, and each layer."""
    terms = {name: [values] for name, values in found.layers.items()}
    if found.terms:
        terms["combined"] = list(found.terms)
    return frames.table(terms, split.labels, split.timeline.lengths)


def contrast(normal: Scores, anomalous: Scores) -> dict[str, dict[str, float]]:
    """As `measure`, for two sets of scores."""
    labels = np.repeat([0, 1], [len(normal.combined), len(anomalous.combined)])
    layers = {name: np.concatenate([values, anomalous.layers[name]]) for name, values in normal.layers.items()}
    return measure(Scores(np.concatenate([normal.combined, anomalous.combined]), layers), labels)
