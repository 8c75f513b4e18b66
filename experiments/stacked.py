"""Several one-class models trained at once, stacked by `vmap`: Table I's classes in one program.

Order, initial weights and steps are those of the runs one by one (`mocca_jax.pipeline`), but for rounding and for the
units that one class has more than another: those are left out. The pictures lie on the device; a step of all models is
one call, whose convolutions are grouped, which a CPU is slow at.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax import data, models
from mocca_jax.data import batching
from mocca_jax.scoring import evaluate
from mocca_jax.training import handover, parallel
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES


def auc_of_each(configs: Sequence[Any]) -> list[float]:
    """Trains the models of all configs, which differ in their normal class alone; the AUC of each on its test set.

    Raises:
        ValueError: a data set changes its pictures from epoch to epoch.
        UserError: the data is not there.
    """
    datasets = [data.load(config) for config in configs]
    model, states = trained(configs[0], datasets)
    return [_auc(*of, model, _one(states, number)) for number, of in enumerate(zip(configs, datasets, strict=True))]


def trained(config, datasets: Sequence[data.Dataset]) -> tuple[models.AutoEncoder, train.TrainState]:
    """The network of the last stage, and its state after training on each of the data sets, stacked."""
    if any(dataset.augment for dataset in datasets):
        raise ValueError("stacked models see the same pictures in every epoch: no augmentation")
    count = min(len(dataset.train) for dataset in datasets)
    images = jnp.stack([dataset.inputs.preprocess(jnp.asarray(dataset.train.images[:count])) for dataset in datasets])
    states = None
    for index, name in enumerate(config.stages):
        model, starts = _starts(config, name, images, states)
        states = _trained(config, model, name, index, starts, images)
    return model, states


def _starts(config, name: str, images: jax.Array, before: Any) -> tuple[models.AutoEncoder, Any]:
    """A stage's network and the states it starts from, stacked: with the encoders of the stage before."""
    stage, shape = STAGES[name], images.shape[2:]
    model = models.build(config, shape, tuple(config.layers) if stage.has_centroids else ())
    key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(name.encode()))
    variables = models.init_variables(model, shape, key, stage.method)
    shapes = train.feature_shapes(model, variables, shape) if stage.has_centroids else {}
    fresh = train.create_state(variables, _optimizer(config, name, images), shapes, key)
    made = []
    for number, own in enumerate(images):
        start = fresh
        if before is not None and config.transfer:
            source = _one(before, number)
            pair = ({"params": of.params, "batch_stats": of.batch_stats} for of in (source, start))
            start = start.replace(**handover.transfer_encoder(*pair)[0])
        if stage.has_centroids:
            batches = (own[at : at + config.batch_size] for at in range(0, len(own), config.batch_size))
            masked = ((batch, jnp.ones(len(batch))) for batch in batches)
            start = start.replace(centroids=train.compute_centroids(model, start, _as_is, masked, config.centroid_push))
        made.append(start)
    return model, jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


def _trained(config, model, name: str, index: int, states: Any, images: jax.Array) -> Any:
    """The states after a stage."""
    size = config.batch_size
    steps = batching.steps_per_epoch(images.shape[1], size)
    step = train.make_step(model, STAGES[name], config, _optimizer(config, name, images), _as_is, steps)
    together = _together(step)
    for epoch in range(config[name].epochs):
        order = batching.epoch_order(images.shape[1], config.seed, index, epoch)
        for start in range(0, len(order), size):
            units = order[start : start + size]
            filled = np.concatenate([units, np.repeat(units[:1], size - len(units))])
            states = together(states, images, filled, batching.mask(len(units), size))
    return states


def _together(step: Callable) -> Callable:
    """A step of all models: `(states, images [M, N, ...], units [B], mask [B]) -> states`."""

    def together(states: Any, images: jax.Array, units: jax.Array, mask: jax.Array) -> Any:
        return jax.vmap(step, in_axes=(0, 0, None))(states, images[:, units], mask)[0]

    return jax.jit(together, donate_argnums=0)


def _auc(config, dataset: data.Dataset, model, state: train.TrainState) -> float:
    mesh = parallel.own_mesh(1)
    scorer = evaluate.make_scorer(model, STAGES[config.stages[-1]], dataset.inputs.preprocess, config)
    found = evaluate.score_split(scorer, state, dataset.test, dataset.aggregate, config, mesh)
    return evaluate.measure(found, dataset.test.labels)["combined"]["auc"]


def _optimizer(config, name: str, images: jax.Array) -> Any:
    return train.make_optimizer(config[name], batching.steps_per_epoch(images.shape[1], config.batch_size))


def _one(states: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], states)


def _as_is(raw: jax.Array, key: jax.Array) -> jax.Array:
    return raw
