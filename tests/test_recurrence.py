"""The LSTM of the clips' heads: flax's, in value, gradient and first weights, with little in its loop."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mocca_jax.models import blocks, recurrence
from mocca_jax.training import parallel
from tests.test_parallel import mesh_of

SIZE, INIT = 7, blocks.torch_default(7)


class Flax(nn.Module):
    reverse: bool

    @nn.compact
    def __call__(self, x):
        cell = nn.OptimizedLSTMCell(
            SIZE, param_dtype=float, kernel_init=INIT, recurrent_kernel_init=INIT, bias_init=INIT, parent=None
        )
        return nn.RNN(cell, reverse=self.reverse, keep_order=True, name="lstm0")(x)


class Ours(nn.Module):
    reverse: bool
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        return recurrence.LSTM(SIZE, INIT, self.reverse, self.dtype, name="lstm0")(x)


def weighted(module):
    """A scalar of the result that no unit and no step enters like another."""
    return lambda variables, x: (jnp.sin(module.apply(variables, x)) * jnp.arange(5.0 * SIZE).reshape(1, 5, -1)).sum()


@pytest.mark.parametrize("reverse", [False, True])
def test_it_equals_flaxs_with_the_same_names_and_first_weights(double, rng, reverse):
    x = jnp.asarray(rng.normal(size=(3, 5, 4)))
    ours, flax = (module.init(jax.random.key(0), x) for module in (Ours(reverse), Flax(reverse)))
    jax.tree.map(np.testing.assert_array_equal, ours, flax)
    found, wanted = (jax.value_and_grad(weighted(m), (0, 1))(flax, x) for m in (Ours(reverse), Flax(reverse)))
    jax.tree.map(lambda f, w: np.testing.assert_allclose(f, w, rtol=1e-9, atol=1e-11), found, wanted)


def test_products_in_bfloat16_leave_states_and_weights_in_single_precision(rng):
    x = jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32)
    variables = Ours(False).init(jax.random.key(0), x)
    exact, rounded = (Ours(False, dtype).apply(variables, x) for dtype in ("float32", "bfloat16"))
    assert rounded.dtype == jnp.float32 and 1e-6 < abs(rounded - exact).max() < 0.05
    gradient = jax.grad(weighted(Ours(False, "bfloat16")))(variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_devices_exchange_nothing_in_the_loop(rng):
    mesh = mesh_of(8)
    x = parallel.shard(rng.normal(size=(8, 5, 4)).astype(np.float32), mesh)
    variables = parallel.replicate(Ours(False).init(jax.random.key(0), np.asarray(x)), mesh)

    def exchanges_in_loops(module):
        text = jax.jit(jax.grad(weighted(module))).lower(variables, x).compile().as_text()
        assert "all-reduce" in text
        return sum("all-reduce(" in line and "/while/body" in line for line in text.splitlines())

    assert exchanges_in_loops(Ours(False)) == 0
    assert exchanges_in_loops(Flax(False)) > 0  # what is looked for would be seen
