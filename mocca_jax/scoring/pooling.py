"""Scores from pooled features of whole pictures (`method/pooled.py`), of an encoder that a pretext or others trained.

A picture is looked at in one or several views; with the pretext's loss in the score these are the pretext's own.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax import console, models
from mocca_jax.config import setting
from mocca_jax.data import Dataset, defects
from mocca_jax.data.spread import evenly
from mocca_jax.method import metrics, pooled
from mocca_jax.method.pooled import DISTANCE, PRETEXT
from mocca_jax.models import AutoEncoder
from mocca_jax.training import in_parts, parallel, pretexts, stages
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.stages import Stage
from mocca_jax.training.step import TrainState, features_of

AT_ONCE = 256  # units that distances are computed of
LEAST_BATCH = 64  # pictures that are looked at together; training may want fewer
MOST = 10_000  # normal units that statistics are made of: distances to more would take too long
TERMS = {"distance": (DISTANCE,), "pretext": (PRETEXT,), "combined": (DISTANCE, PRETEXT)}  # by the config's score


Seen = tuple[dict[str, Any], Any]  # features `{layer: [B, V, D]}`, and the pretext's loss `[B]` or None


def is_used(config) -> bool:
    """Whether a config scores by statistics of pooled features, or by its pretext."""
    return setting(config, "distance") != "centroid" or config.score == "pretext"


def terms(config) -> tuple[str, ...]:
    """What the score is the sum of."""
    return TERMS[config.score]


def network(config, shape: tuple[int, ...]) -> AutoEncoder:
    """The network that scores: with the head of its pretext, where that counts."""
    outputs = stages.last(config).pretext.outputs if PRETEXT in terms(config) else 0
    return models.build(config, shape, tuple(config.layers) if DISTANCE in terms(config) else (), outputs=outputs)


def seen(model: AutoEncoder, stage: Stage, config, state: TrainState, image: jax.Array, mask: jax.Array) -> Seen:
    """What the network makes of pictures. Pure."""
    answers = PRETEXT in terms(config)
    if answers:
        inputs, targets = stage.pretext.make(image, None)
    else:
        inputs, targets = pretexts.VIEWS[setting(config, "score_views")](image), ()
    count, views = inputs.shape[:2]
    inputs, targets = pretexts.flat((inputs, targets))
    made, sown = model.apply(
        {"params": state.params, "batch_stats": state.batch_stats},
        *(inputs, jnp.repeat(mask, views), False),
        method="__call__" if answers else "encode",
        mutable=["features"],
    )
    features = features_of(sown) if DISTANCE in terms(config) else {}
    features = {name: x.reshape(count, views, -1) for name, x in features.items()}
    return features, stage.pretext.loss(made, targets).reshape(count, views).mean(1) if answers else None


def unit_scores(
    model: AutoEncoder, stage: Stage, config, state: TrainState, image: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """`pooled.unit_scores` of pictures. Pure."""
    features, loss = seen(model, stage, config, state, image, mask)
    distance = pooled.DISTANCES.get(setting(config, "distance"))
    parts = pooled.of_layers(distance, state.statistics.layers, features)
    parts |= {} if loss is None else {PRETEXT: loss}
    return pooled.unit_scores(state.statistics, parts, terms(config))


def fit(state: TrainState, dataset: Dataset, config, mesh: Any, stop: StopRequest) -> TrainState:
    """The state with the statistics of the normal training units, at most `MOST` of them.

    What distances and the pretext's loss usually are is taken on the units that were watched in training and not
    trained on, or, without such, on the training units, each left out of the statistics.
    """
    look = looking(state, dataset, config, mesh, stop)
    count = len(dataset.train)
    chosen = evenly(count, MOST)
    trained = look(dataset.train.images, chosen, "features of normal units")
    watched = anomalous = None
    if dataset.watched is not None:
        images = dataset.watched.images
        watched = look(images, np.arange(len(images)), "features of watched units")
        if setting(config, "layer_weights") == "made_up":
            anomalous = look(*_damaged(images), "made-up anomalies")
    return state.replace(statistics=statistics(trained, watched, setting(config, "distance"), anomalous))


def _damaged(images: Any) -> tuple[np.ndarray, np.ndarray]:
    """The pictures with a made-up defect each, and their numbers."""
    pictures = np.asarray(images[np.arange(len(images))])
    sizes = np.broadcast_to(np.array(pictures.shape[1:3]), (len(pictures), 2))
    return defects.paste(pictures, sizes, seed=0)[0], np.arange(len(pictures))


def looking(state: TrainState, dataset: Dataset, config, mesh: Any, stop: StopRequest) -> Callable[..., Seen]:
    """What makes `seen` of raw units, `(images, rows, what) -> Seen`, on all devices; `what`: for the console."""
    stage, preprocess = stages.last(config), dataset.inputs.preprocess
    model = network(config, dataset.inputs.shape)
    held = parallel.replicate(state.replace(opt_state=(), statistics=None), mesh)
    size = max(config.batch_size, LEAST_BATCH)

    @jax.jit
    def look(state, raw, mask):
        image = preprocess(raw, jax.random.wrap_key_data(state.rng))
        return seen(model, stage, config, state, image, mask)

    def over(images: Any, rows: np.ndarray, what: str) -> Seen:
        found = []
        with console.Phase(what, len(rows), "units") as phase:
            for real, raw, mask in in_parts.on_devices(lambda part: images[rows[part]], len(rows), size, mesh):
                stop.leave_statistics()
                found.append(jax.tree.map(itemgetter(slice(real)), parallel.fetch(look(held, raw, mask))))
                phase.update(real)
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    return over


def statistics(trained: Seen, watched: Seen | None, distance: str, anomalous: Seen | None = None) -> pooled.Pooled:
    """Of normal units `trained`, with what is usual from `watched`, or from themselves, each left out.

    Args:
        trained, watched: what `seen` made of them.
        distance: a name in `pooled.DISTANCES`; without layers it is not looked at.
        anomalous: the same of made-up anomalies: layers weigh by how well they tell these from `watched`. None: alike.
    """
    layers = {name: pooled.fit(x, distance) for name, x in trained[0].items()}
    features, loss = watched or trained
    parts = of_parts(distance, layers, features, left_out=watched is None)
    weights = pooled.equal(layers)
    if anomalous is not None:
        unusual = of_parts(distance, layers, anomalous[0])
        weights = pooled.by_auc({name: metrics.auc_between(parts[name], unusual[name]) for name in layers})
    return pooled.Pooled(layers, usual(parts, loss, weights), weights)


def usual(
    parts: dict[str, np.ndarray], loss: np.ndarray | None, weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Mean and deviation of normal units' distances by layer, of their weighted mean, and of the pretext's loss."""
    found = {name: pooled.usual(values) for name, values in parts.items()}
    if parts:
        together = sum(weights[name] * (parts[name] - found[name][0]) / found[name][1] for name in parts)
        found[DISTANCE] = pooled.usual(together)
    return found | ({} if loss is None else {PRETEXT: pooled.usual(loss)})


def of_parts(
    distance: str, layers: dict[str, Any], features: dict[str, np.ndarray], left_out: bool = False
) -> dict[str, np.ndarray]:
    """Each layer's distance `[N]` of features `{layer: [N, V, D]}`; `left_out`: they are those of the statistics."""

    @jax.jit
    def away(layers, features, own):
        return pooled.of_layers(pooled.DISTANCES[distance], layers, features, own)

    count = len(next(iter(features.values()))) if features else 0
    layers, found = jax.device_put(layers), []
    for start in range(0, count, AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        part = {name: x[rows] for name, x in features.items()}
        numbers = np.arange(start, min(start + AT_ONCE, count), dtype=np.int32)
        found.append(jax.device_get(away(layers, part, numbers if left_out else None)))
    return {name: np.concatenate([of[name] for of in found]) for name in layers}
