"""The networks: sizes, formulations, padding. The readable formulation is the reference of the rewritten one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mocca_jax import models
from mocca_jax.models import blocks, norms, rewrites
from tests.test_train import assert_close


def build(layers=(), formulation="plain", code_size=128, shape=(32, 32, 3)):
    config = ConfigDict({"encoder": "lenet", "head": "mean", "code_size": code_size, "formulation": formulation})
    return models.build(config, shape, layers)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("code_size, encoder, decoder", [(128, 520_544, 284_000), (32, 323_936, 264_800)])
def test_parameter_counts_equal_the_specification(code_size, encoder, decoder):
    model = build(code_size=code_size)
    params = models.init_variables(model, (32, 32, 3), jax.random.key(0), "__call__")["params"]
    assert (count(params["encoder"]), count(params["decoder"])) == (encoder, decoder)


def test_initial_kernels_fill_their_published_bounds():
    params = models.init_variables(build(), (32, 32, 3), jax.random.key(0), "__call__")["params"]
    bounds = {
        ("encoder", "conv1"): 0.11710,
        ("encoder", "conv2"): 0.070707,
        ("encoder", "conv3"): 0.049998,
        ("encoder", "linear"): 0.022097,
        ("decoder", "conv1"): 0.017678,
        ("decoder", "conv2"): 0.049998,
        ("decoder", "conv3"): 0.070707,
        ("decoder", "conv4"): 0.11710,
    }
    for (part, name), bound in bounds.items():
        largest = float(jnp.abs(params[part][name]["kernel"]).max())
        assert bound * 0.99 < largest <= bound * 1.0001, (part, name)


def test_features_are_the_means_of_the_selected_layers_alone(rng):
    model = build(layers=(0, 3))
    image, mask = jnp.asarray(rng.random((4, 32, 32, 3)), jnp.float32), jnp.ones(4)
    variables = models.init_variables(model, (32, 32, 3), jax.random.key(0), "encode")
    code, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
    features = sown["features"]["encoder"]
    assert {name: f.shape for name, f in features.items()} == {"layer0": (4, 32), "layer3": (4, 128)}
    np.testing.assert_array_equal(features["layer3"], code)


def test_stage_two_needs_only_the_encoder():
    variables = models.init_variables(build(), (32, 32, 3), jax.random.key(0), "encode")
    assert set(variables["params"]) == set(variables["batch_stats"]) == {"encoder"}


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("shape", [(4, 8, 6, 3), (64, 4, 4, 5), (3, 5, 7, 2), (6, 2, 3, 4), (2, 1, 1, 3)])
@pytest.mark.parametrize("upsample", [False, True])
def test_rewritten_convolutions_equal_the_readable_ones(double, rng, kernel_size, shape, upsample):
    x = jnp.asarray(rng.normal(size=shape))
    kernel = jnp.asarray(rng.normal(size=(kernel_size, kernel_size, shape[-1], 7)))

    def outputs(rewritten):
        module = blocks.Conv(7, kernel_size, blocks.uniform(1.0), upsample, rewritten)

        def total(x, kernel):
            y = module.apply({"params": {"kernel": kernel}}, x)
            return jnp.sin(y).sum(), y

        return jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, kernel)

    for fast, plain in zip(*map(jax.tree.leaves, (outputs(True), outputs(False))), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-11)


def test_rewritten_norm_activate_pool_equals_the_readable_one(double, rng):
    y = jnp.asarray(rng.normal(3, 2, size=(6, 8, 4, 5)))
    mask = jnp.array([1, 1, 1, 1, 0, 0.0])
    weight = jnp.asarray(rng.normal(size=(6, 4, 2, 5))) * mask.reshape(-1, 1, 1, 1)

    def outputs(rewritten):
        module = blocks.NormActivatePool(1e-4, rewritten=rewritten)
        variables = module.init(jax.random.key(0), y, mask, True)

        def total(y):
            (out, mean), updated = module.apply(variables, y, mask, True, mutable=["batch_stats"])
            return (weight * out).sum() + jnp.square(mean[:4]).sum(), (out[:4], mean, updated)

        return jax.jit(jax.grad(total, has_aux=True))(y)

    for fast, plain in zip(*map(jax.tree.leaves, (outputs(True), outputs(False))), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-11)


def test_a_tie_in_a_pooling_window_passes_the_gradient_once():
    gradient = jax.grad(lambda y: rewrites.max_pool(y).sum())(jnp.ones((1, 4, 4, 1)))
    assert gradient.reshape(2, 2, 2, 2).sum((1, 3)).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_rewritten_variance_is_exact_far_from_zero(rng):
    """Values of mean 1000 and deviation 1: a variance from plain sums of squares would be noise."""
    y = (1000 + rng.normal(size=(8, 16, 16, 3))).astype(np.float32)
    *_, variance = norms.norm_activate_pool(jnp.asarray(y), jnp.ones(8), 1e-4)
    np.testing.assert_allclose(variance, y.astype(np.float64).var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("method", ["encode", "__call__"])
def test_padding_changes_no_output_and_no_statistic(double, rng, formulation, method):
    model = build((0, 1, 2, 3), formulation)
    variables = models.init_variables(model, (32, 32, 3), jax.random.key(1), "__call__")
    image = jnp.asarray(rng.random((5, 32, 32, 3)))
    padded = jnp.concatenate([image, 7 * jnp.ones((3, 32, 32, 3))])
    mask = jnp.array([1, 1, 1, 1, 1, 0, 0, 0.0])

    @jax.jit
    def applied(image, mask):
        return model.apply(variables, image, mask, True, method=method, mutable=["features", "batch_stats"])

    short, short_seen = applied(image, jnp.ones(5))
    long, long_seen = applied(padded, mask)
    assert_close(long[:5], short)
    assert_close(long_seen["batch_stats"], short_seen["batch_stats"])


def test_running_variance_is_the_unbiased_one(rng):
    x = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    norm = blocks.BatchNorm(1e-5)
    variables = norm.init(jax.random.key(0), x, jnp.ones(4), False)
    _, updated = norm.apply(variables, x, jnp.ones(4), True, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * np.var(x, axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"shape": (28, 28, 1)}, "divisible by 8"),
        ({"shape": (32, 16, 3)}, "square"),
        ({"code_size": 100}, "multiple of 16"),
        ({"layers": (0, 4)}, r"not \[4\]"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    "field, name, said",
    [
        ("encoder", "resnet188", "; did you mean 'resnet18'?"),
        (
            "encoder",
            "vit",
            "; known: efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, flow, lenet, resnet",
        ),
        ("head", "selecter", "; did you mean 'selector'?"),
        ("head", "vit", "; known: activation, lstm, mean"),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all_that_are_known(field, name, said):
    names = {"encoder": "lenet", "head": "mean", "code_size": 16, "formulation": "plain", field: name}
    with pytest.raises(ValueError, match=re.escape(f"unknown {field} {name!r}{said}")):
        models.build(ConfigDict(names), (32, 32, 3), ())
