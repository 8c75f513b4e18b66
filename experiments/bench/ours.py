"""Our training step and our scorer, as the benchmarks time them: on one batch that stays on the devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mocca_jax import models
from mocca_jax.scoring import evaluate
from mocca_jax.training import memory, parallel
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES


def unchanged(raw: jax.Array, key: jax.Array) -> jax.Array:
    return raw


def make(
    config, batch: np.ndarray, stage_name: str, layers: tuple[int, ...], scores=False, preprocess=unchanged
) -> Callable[[], object]:
    """A function without arguments that does one step on `batch [B, *image_shape]`, or scores it, and waits for it.

    `preprocess` turns the batch into the network's input, of `config`'s side where it cuts.
    """
    jitted, state, images = program(config, batch, stage_name, layers, scores, preprocess)
    compiled = jitted.lower(state, *images).compile()
    memory.give_back()
    if scores:
        return lambda: jax.block_until_ready(compiled(state, *images))
    return stepping(compiled, state, images)


def stepping(compiled, state: Any, images: tuple[Any, Any]) -> Callable[[], object]:
    """A function that does a step from the state that the last one left, and waits for it."""
    held = [state]

    def step():
        held[0], metrics = compiled(held[0], *images)
        return jax.block_until_ready((held[0], metrics))

    return step


def program(
    config, batch: np.ndarray, stage_name: str, layers: tuple[int, ...], scores=False, preprocess=unchanged
) -> tuple[Any, Any, tuple[Any, Any]]:
    """The jitted step or scorer, its state and its batch on the devices."""
    stage = STAGES[stage_name]
    layers = layers if stage.has_centroids else ()
    shape = jax.eval_shape(preprocess, batch, jax.random.key(0)).shape[1:]
    model = models.build(config, shape, layers)
    variables = models.init_variables(model, shape, jax.random.key(0), stage.method)
    optimizer = train.make_optimizer(config[stage_name], 20)
    features = train.feature_shapes(model, variables, shape) if layers else {}
    mesh = parallel.make_mesh()
    state = parallel.replicate(train.create_state(variables, optimizer, features, jax.random.key(0)), mesh)
    images = parallel.shard((batch, np.ones(len(batch), np.float32)), mesh)
    if scores:
        return evaluate.make_program(model, stage, preprocess, config), state.replace(opt_state=()), images
    return train.make_step(model, stage, config, optimizer, preprocess, 20), state, images


def operations(config, batch: np.ndarray, stage_name: str, layers: tuple[int, ...], scores=False) -> float:
    """Floating-point operations of the readable formulation, as XLA counts them before it optimises."""
    config = config.copy_and_resolve_references()
    config.formulation = "plain"
    jitted, state, images = program(config, batch, stage_name, layers, scores)
    return jitted.lower(state, *images).cost_analysis()["flops"]
