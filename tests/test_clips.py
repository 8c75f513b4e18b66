"""Convolutions and norms over clips: loops over large ones, parts of them and what is made again change no number."""

import jax
import jax.numpy as jnp
import pytest

from mocca_jax.models import clips, convolutions, ordering, residual, rewrites
from tests.test_resnet import assert_same_values_and_gradients
from tests.test_train import assert_close


@pytest.fixture(params=["whole", "in parts"])
def large(request, monkeypatch):
    """Clips of a few pixels count as large. Small ones are compared with the published network's numbers."""
    monkeypatch.setattr(ordering, "LARGE", 0)
    if request.param == "in parts":
        monkeypatch.setattr(clips, "NEIGHBOURS", 1)


@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize(
    "strides, taps, padding",
    [
        ((1, 1, 1), 3, (1, 1)),
        ((1, 1, 1), 2, (1, 0)),
        ((1, 1, 1), 3, (0, 0)),
        ((1, 1, 1), 1, (0, 0)),
        ((2, 1, 1), 3, (1, 1)),
        ((2, 2, 2), 2, (1, 0)),
        ((1, 2, 2), 1, (0, 0)),
    ],
)
def test_convolutions_of_clips_equal_the_definition(double, rng, large, strides, taps, padding, channels):
    side = 1 if taps == 1 else 3
    padding = (padding, *[(side // 2, side // 2)] * 2)
    clip = jnp.asarray(rng.normal(size=(2, 8, 4, 6, 7)))
    kernel = jnp.asarray(rng.normal(size=(taps, side, side, 7, channels)))
    assert_same_values_and_gradients(
        lambda x, k: convolutions.fast_conv(x, k, strides, padding),
        lambda x, k: convolutions.conv(x, k, strides, padding),
        clip,
        kernel,
    )


@pytest.mark.parametrize("strides", [(1, 2, 2), (2, 2, 2)])
def test_transposed_convolutions_of_clips_equal_the_definition(double, rng, large, strides):
    clip = jnp.asarray(rng.normal(size=(2, 8, 4, 6, 3)))
    kernel = jnp.asarray(rng.normal(size=(5, 5, 5, 3, 2)))
    assert_same_values_and_gradients(
        lambda x, k: convolutions.fast_transposed_conv(x, k, strides),
        lambda x, k: convolutions.transposed_conv(x, k, strides),
        clip,
        kernel,
    )


@pytest.mark.parametrize("block", [residual.Downsample(6, (1, 2, 2), causal=True), residual.Upsample(2, (1, 2, 2), 5)])
def test_blocks_of_clips_equal_the_readable_ones_and_ignore_padding(double, rng, large, block):
    clip = jnp.asarray(rng.normal(2, 3, size=(2, 4, 8, 8, 3)))
    padded = jnp.concatenate([clip, 9 * jnp.ones((1, *clip.shape[1:]))])
    variables = block.init(jax.random.key(0), clip, jnp.ones(2), False)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), variables["params"])

    def outcome(rewritten, x, mask):
        def total(params, x):
            given = {**variables, "params": params}
            y, updated = block.clone(rewritten=rewritten).apply(given, x, mask, True, mutable=["batch_stats"])
            return jnp.sin(y[:2]).sum(), (y[:2], updated)

        gradients, made = jax.jit(jax.grad(total, (0, 1), has_aux=True))(params, x)
        return gradients[0], gradients[1][:2], made

    wanted = outcome(False, clip, jnp.ones(2))
    assert_close(outcome(True, clip, jnp.ones(2)), wanted)
    assert_close(outcome(True, padded, jnp.array([1.0, 1.0, 0.0])), wanted)


def test_what_lies_between_a_norm_and_a_convolution_is_not_kept(rng):
    """Of a block's first norm, its input alone."""
    block, clip = residual.Upsample(8, (1, 2, 2), 5, rewritten=True), jnp.ones((1, 4, 8, 8, 8))
    variables = block.init(jax.random.key(0), clip, jnp.ones(1), False)

    def made(clip):
        return block.apply(variables, clip, jnp.ones(1), True, mutable=["batch_stats"])[0]

    kept = [array for array in jax.tree.leaves(jax.vjp(made, clip)[1]) if array.shape == (1, 4, 16, 16, 8)]
    assert len({id(array) for array in kept}) == 4  # before each of three norms, and where the last ReLU is positive


def test_a_large_clips_gradient_takes_less_memory_in_loops(monkeypatch):
    block, clip = residual.Upsample(8, (1, 2, 2), 5, rewritten=True), jnp.ones((8, 16, 16, 16, 8))
    variables = block.init(jax.random.key(0), clip, jnp.ones(8), False)

    def temporary():
        def total(params):
            given = {**variables, "params": params}
            return block.apply(given, clip, jnp.ones(8), True, mutable=["batch_stats"])[0].sum()

        compiled = jax.jit(jax.grad(total)).lower(variables["params"]).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    as_it_comes = temporary()
    monkeypatch.setattr(ordering, "LARGE", 0)
    assert temporary() < 0.85 * as_it_comes


def test_a_linear_layers_gradient_over_large_clips_is_the_same(double, rng, monkeypatch):
    monkeypatch.setattr(ordering, "LARGE", 0)
    clip, kernel = jnp.asarray(rng.normal(size=(2, 3, 4, 5, 6))), jnp.asarray(rng.normal(size=(6, 2)))
    assert_same_values_and_gradients(rewrites.matmul, jnp.matmul, clip, kernel)
