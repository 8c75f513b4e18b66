"""Scoring: encoder over a split -> distances -> scores of units -> scores of samples -> metrics."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from mocca_jax import frames, losses, metrics, parallel, scores
from mocca_jax.data import Split, batching
from mocca_jax.models import AutoEncoder, lookup
from mocca_jax.stages import Stage
from mocca_jax.train import TrainState, distances, features_of

RECONSTRUCTION = "reconstruction"
ONE_CLASS = "one_class"


@dataclass(frozen=True)
class Scores:
    """Sample scores `[S]` (larger = more anomalous): combined, and its parts: each layer's own.

    Where a stage decodes and has centroids, `layers` also holds `one_class` (Eq. 6) and `reconstruction`.
    """

    combined: np.ndarray
    layers: dict[str, np.ndarray]
    terms: tuple[np.ndarray, ...] = ()  # what `combined` is the sum of, where it is one

    def only(self, which: np.ndarray) -> "Scores":
        """Of the samples where `which [S]` is True."""
        layers = {name: values[which] for name, values in self.layers.items()}
        return Scores(self.combined[which], layers, tuple(term[which] for term in self.terms))


def make_scorer(model: AutoEncoder, stage: Stage, preprocess) -> Callable:
    """A compiled `(state, raw, mask) -> {name: [B]}`: squared distances per layer, `reconstruction` errors, or both."""

    @jax.jit
    def score(params, batch_stats, centroids, rng, raw, mask):
        image = preprocess(raw, jax.random.wrap_key_data(rng))
        variables = {"params": params, "batch_stats": batch_stats}
        made, sown = model.apply(variables, image, mask, False, method=stage.method, mutable=["features"])
        found = distances(features_of(sown), centroids) if stage.has_centroids else {}
        return found | ({RECONSTRUCTION: losses.reconstruction_error(made, image)} if stage.decodes else {})

    return lambda state, raw, mask: score(state.params, state.batch_stats, state.centroids, state.rng, raw, mask)


def score_split(scorer: Callable, state: TrainState, split: Split, aggregate: str, config, mesh) -> Scores:
    """Eq. 6 over a split. The error of reconstruction takes the place of a layer where it is the score."""
    found: dict[str, list[np.ndarray]] = {}
    padded = parallel.padded(config.batch_size, mesh)
    for batch in batching.in_order(split, config.batch_size, padded):
        placed = parallel.shard(batch, mesh)
        real = int(batch["mask"].sum())
        for name, values in jax.device_get(scorer(state, placed["image"], placed["mask"])).items():
            found.setdefault(name, []).append(values[:real])
    units = {name: np.concatenate(parts) for name, parts in found.items()}
    error = units.pop(RECONSTRUCTION, None)
    parts = {}
    if units:
        layers = scores.layer_scores(
            units, jax.device_get(state.radii), boundary=config.boundary, norm=config.score_norm
        )
        parts = {**layers, ONE_CLASS: scores.combine(layers)}
    if error is not None:
        parts[RECONSTRUCTION] = error
    to_samples = lookup(scores.AGGREGATES, aggregate, "aggregate")
    where = split.timeline or split.sample_of_unit
    samples = {name: to_samples(np.asarray(values), where) for name, values in parts.items()}
    combined = samples[RECONSTRUCTION if config.score == RECONSTRUCTION else ONE_CLASS]
    if error is None:
        samples.pop(ONE_CLASS)
    return Scores(combined, samples)


def standardized(found: Scores, reference: Scores) -> Scores:
    """Combined = the sum of one-class score and reconstruction error, each in deviations from `reference`'s mean.

    `reference`: scores of held-out normal samples. Differs from the paper, which adds the two after scaling each
    by its extremes over the test video.
    """

    def deviations(name: str) -> np.ndarray:
        normal = reference.layers[name]
        return (found.layers[name] - normal.mean()) / max(float(normal.std()), np.finfo(np.float32).tiny)

    terms = deviations(ONE_CLASS), deviations(RECONSTRUCTION)
    return Scores(sum(terms), found.layers, terms)


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
