"""Precision: which parts of a program are in single, double and half precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from mocca_jax import models
from mocca_jax.data.inputs import Inputs
from mocca_jax.training import step as train
from tests.test_memory import built, small, step_of


def products(jaxpr):
    """The types of both factors of all products of a program, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield tuple(str(v.aval.dtype) for v in equation.invars)
        for inner in jaxprs_in_params(equation.params):
            yield from products(inner)


def results_in(jaxpr, dtype):
    """The operations of a program, inner programs included, that give arrays of this dtype."""
    for equation in jaxpr.eqns:
        if any(v.aval.dtype == dtype for v in equation.outvars):
            yield equation.primitive.name
        for inner in jaxprs_in_params(equation.params):
            yield from results_in(inner, dtype)


def traced_step(name, **changes):
    """A training step's program and the types of the numbers in its state before and after."""
    config, stage, shape = small(name)
    config.update(layers=models.network(config).LAYERS, **changes)
    made = []
    state = jax.eval_shape(lambda: made.append(step_of(config, stage, shape)) or made[0][1])
    images = jax.ShapeDtypeStruct((4, *shape), np.uint8), jax.ShapeDtypeStruct((4,), jnp.zeros(()).dtype)
    preprocess = Inputs(shape).preprocess

    def step(state, raw, mask):
        return made[0][0](state, preprocess(raw), mask)

    program, after = jax.make_jaxpr(step, return_shape=True)(state, *images)
    return program.jaxpr, {leaf.dtype.name for leaf in jax.tree.leaves((state, after))}


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("name", ["lenet", "resnet", "video"])
def test_in_double_precision_a_step_rounds_nothing_to_single(double, name, formulation):
    program, types = traced_step(name, formulation=formulation)
    assert types == {"float64", "int32", "uint32"}
    assert not list(results_in(program, jnp.float32))


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("name", ["lenet", "resnet", "video"])
def test_a_step_in_bfloat16_keeps_its_state_in_single_precision(name, formulation):
    program, types = traced_step(name, formulation=formulation, compute_dtype="bfloat16")
    assert types == {"float32", "int32", "uint32"}
    assert ("bfloat16", "bfloat16") in set(products(program))


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("name", ["lenet", "resnet", "video"])
def test_all_products_of_images_are_in_bfloat16_and_all_else_is_float32(name, formulation):
    config, _, shape = small(name)
    config.update(formulation=formulation, compute_dtype="bfloat16", layers=models.network(config).LAYERS)
    model = models.build(config, shape, config.layers)
    images = jax.ShapeDtypeStruct((4, *shape), np.float32), jax.ShapeDtypeStruct((4,), np.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, *images: model.init(key, *images, False), key, *images)

    def apply(variables, *images):
        variables = {name: variables[name] for name in ("params", "batch_stats")}
        return model.apply(variables, *images, True, mutable=["features", "batch_stats"])

    program, made = jax.make_jaxpr(apply, return_shape=True)(variables, *images)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((variables, made))} == {"float32"}
    found = set(products(program.jaxpr))
    # Kernels are brought into their rewritten form in float32, before they meet an image.
    assert ("bfloat16", "bfloat16") in found
    assert found <= {("bfloat16", "bfloat16")} | ({("float32", "float32")} if formulation == "rewritten" else set())


@pytest.mark.parametrize("name", ["lenet", "resnet", "video"])
def test_bfloat16_changes_distances_a_little(name, rng):
    config, stage, shape = small(name)
    image, found = jnp.asarray(rng.random((4, *shape)), jnp.float32), []
    _, _, variables = built(config, stage, shape)
    for dtype in ("float32", "bfloat16"):
        config.compute_dtype = dtype
        model = models.build(config, shape, tuple(config.layers))
        encode = jax.jit(functools.partial(model.apply, train=False, method="encode", mutable=["features"]))
        _, sown = encode(variables, image, mask=jnp.ones(4))
        found.append(np.concatenate([np.ravel(f) for f in train.features_of(sown).values()]))
    assert found[1].dtype == np.float32
    error = np.linalg.norm(found[1] - found[0]) / np.linalg.norm(found[0])
    assert 0 < error < 0.02
