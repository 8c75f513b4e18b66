"""Scoring: encoder over a split -> distances -> scores of units -> scores of samples -> metrics."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from mocca_jax import losses, metrics, parallel, scores
from mocca_jax.data import Split, batching
from mocca_jax.models import AutoEncoder, lookup
from mocca_jax.train import TrainState, distances, features_of

RECONSTRUCTION = "reconstruction"


@dataclass(frozen=True)
class Scores:
    """Sample scores `[S]` (larger = more anomalous): combined, and each layer's own."""

    combined: np.ndarray
    layers: dict[str, np.ndarray]


def make_scorer(model: AutoEncoder, config, preprocess) -> Callable:
    """A compiled `(state, raw, mask) -> {name: [B]}`: squared distances per layer, or reconstruction errors."""

    @jax.jit
    def score(params, batch_stats, centroids, rng, raw, mask):
        image = preprocess(raw, jax.random.wrap_key_data(rng))
        variables = {"params": params, "batch_stats": batch_stats}
        if config.score == RECONSTRUCTION:
            return {RECONSTRUCTION: losses.reconstruction_error(model.apply(variables, image, mask, False), image)}
        _, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
        return distances(features_of(sown), centroids)

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
    if config.score != RECONSTRUCTION:
        units = scores.layer_scores(
            units, jax.device_get(state.radii), boundary=config.boundary, norm=config.score_norm
        )
    to_samples = lookup(scores.AGGREGATES, aggregate, "aggregate")
    layers = {name: to_samples(np.asarray(values), split.sample_of_unit) for name, values in units.items()}
    return Scores(to_samples(np.asarray(scores.combine(units)), split.sample_of_unit), layers)


def measure(found: Scores, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """AUC, AP and maxBA of the combined score and of each layer's own."""
    table = {name: metrics.evaluate(labels, values) for name, values in found.layers.items()}
    return {"combined": metrics.evaluate(labels, found.combined), **table}


def contrast(normal: Scores, anomalous: Scores) -> dict[str, dict[str, float]]:
    """As `measure`, for two sets of scores."""
    labels = np.repeat([0, 1], [len(normal.combined), len(anomalous.combined)])
    layers = {name: np.concatenate([values, anomalous.layers[name]]) for name, values in normal.layers.items()}
    return measure(Scores(np.concatenate([normal.combined, anomalous.combined]), layers), labels)
