"""A recurrent network over clips, written so that little is left in its loop.

The inputs of all steps are multiplied at once, before the loop, and the gradients of all weights are made at once,
after it: inside, every step would make its part of them, and devices would add these up between any two steps.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mocca_jax.models import rewrites

GATES = "ifgo"  # input, forget, cell, output


class LSTM(nn.Module):
    """One layer of long short-term memory (Hochreiter and Schmidhuber 1997) over a clip, from zeros: `[B, T, size]`.

    `reverse` goes from the last step to the first. Parameters are named as by `flax.linen.OptimizedLSTMCell` in a
    `flax.linen.RNN`: with `{i, h}{i, f, g, o}` for the gates' weights of the input and of the step before.
    """

    size: int
    kernel_init: nn.initializers.Initializer
    reverse: bool = False
    dtype: str = "float32"  # of the products; "float32": that of inputs and parameters

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        of_input, of_hidden, bias = _Weights(self.size, self.kernel_init, name="cell")(x.shape[-1])
        if self.dtype != "float32":
            x, of_input, of_hidden = (array.astype(self.dtype) for array in (x, of_input, of_hidden))
        driven = rewrites.matmul(x, of_input).astype(bias.dtype)
        driven = (driven + rewrites.per_channel(bias, driven)).swapaxes(0, 1)
        hidden = _recur(driven[::-1], of_hidden)[::-1] if self.reverse else _recur(driven, of_hidden)
        return hidden.swapaxes(0, 1)


class _Weights(nn.Module):
    """Of all gates side by side: `[C, 4 size]` for the input, `[size, 4 size]` and `[4 size]` for the step before."""

    size: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        given = [_Linear(self.size, self.kernel_init, use_bias=False, name="i" + gate)(channels) for gate in GATES]
        kept = [_Linear(self.size, self.kernel_init, use_bias=True, name="h" + gate)(self.size) for gate in GATES]
        return tuple(jnp.concatenate(arrays, -1) for arrays in ([k for k, _ in given], *zip(*kept, strict=True)))


class _Linear(nn.Module):
    """The parameters of a linear layer."""

    features: int
    kernel_init: nn.initializers.Initializer
    use_bias: bool

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array | None]:
        kernel = self.param("kernel", self.kernel_init, (channels, self.features))
        return kernel, self.param("bias", self.kernel_init, (self.features,)) if self.use_bias else None


def _hidden_states(driven: jax.Array, kernel: jax.Array) -> jax.Array:
    """Hidden states `[T, B, H]` of gates `driven [T, B, 4 H]` by the input, plus `hidden @ kernel [H, 4 H]`."""

    def step(carry, driven):
        cell, hidden = carry
        gates = driven + (hidden.astype(kernel.dtype) @ kernel).astype(driven.dtype)
        enter, keep, candidate, show = jnp.split(gates, 4, -1)
        cell = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        hidden = jax.nn.sigmoid(show) * jnp.tanh(cell)
        return (cell, hidden), hidden

    nothing = jnp.zeros((driven.shape[1], len(kernel)), driven.dtype)
    return lax.scan(step, (nothing, nothing), driven)[1]


def _recur_forward(driven, kernel):
    hidden, of_driven = jax.vjp(lambda driven: _hidden_states(driven, kernel), driven)
    return hidden, (of_driven, hidden, kernel)


def _recur_backward(residuals, d_hidden):
    of_driven, hidden, kernel = residuals
    (d_driven,) = of_driven(d_hidden)
    before = jnp.concatenate([jnp.zeros_like(hidden[:1]), hidden[:-1]])
    over = ((0, 1), (0, 1))
    return d_driven, lax.dot_general(before.astype(kernel.dtype), d_driven.astype(kernel.dtype), (over, ((), ())))


_recur = jax.custom_vjp(_hidden_states)
_recur.defvjp(_recur_forward, _recur_backward)
