"""Building blocks shared by the networks: initialisers, batch-norm that knows padding, convolutions.

Arrays are channels-last. `mask [B]` is 1 for a real image and 0 for padding: padded images change no
statistic. Every block with two formulations computes the same numbers either way (`rewritten=True` picks
the forms of `rewrites.py`) and has the same parameters.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from mocca_jax.models import norms, rewrites
from mocca_jax.models.ordering import Recipe

LEAK = 0.01


def leaky_relu(x: jax.Array) -> jax.Array:
    """x, or x / 100 below zero."""
    return jnp.where(x >= 0, x, LEAK * x)


def uniform(bound: float) -> nn.initializers.Initializer:
    """Uniform in `+-bound`."""
    return lambda key, shape, dtype=float: jax.random.uniform(key, shape, dtype, -bound, bound)


def torch_default(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's default for convolutions and linear layers: uniform in `+-1/sqrt(fan_in)`."""
    return uniform(1 / math.sqrt(fan_in))


def xavier(kernel_size: int, c_in: int, c_out: int) -> nn.initializers.Initializer:
    """Xavier uniform with the gain of a leaky ReLU."""
    gain = math.sqrt(2 / (1 + LEAK**2))
    return uniform(gain * math.sqrt(6 / (kernel_size**2 * (c_in + c_out))))


class Conv(nn.Module):
    """Bias-free square convolution, stride one, size kept; optionally on the image with doubled sides."""

    features: int
    kernel_size: int
    init: nn.initializers.Initializer
    upsample: bool = False
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.init, shape)
        if self.rewritten:
            return rewrites.upsample_conv(x, kernel) if self.upsample else rewrites.conv(x, kernel)
        if self.upsample:
            x = x.repeat(2, axis=1).repeat(2, axis=2)
        return rewrites.same_conv(x, kernel)


class Dense(nn.Module):
    """A linear layer over the last axis, with PyTorch's default initial weights; the product is in `x`'s dtype."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = torch_default(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        y = rewrites.matmul(x, kernel.astype(x.dtype))
        return y + rewrites.per_channel(self.param("bias", init, (self.features,)), y) if self.use_bias else y


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; `affine`: with scale and offset; `slope`: then leaky ReLU.

    Training normalises with the biased variance of the real examples and folds the *unbiased* one into the
    running variance, as PyTorch does: new = 0.9 old + 0.1 batch.
    """

    eps: float
    momentum: float = 0.9
    affine: bool = False
    slope: float = 1.0
    rewritten: bool = False

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        return self.with_recipe(x, mask, train)[0]

    @nn.compact
    def with_recipe(self, x: jax.Array, mask: jax.Array, train: bool) -> tuple[jax.Array, Recipe | None]:
        """The result, and how it is made again, where there is a way."""
        running = _Running(self, x.shape[-1])
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
            bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        if train and self.affine and self.rewritten:
            out, mean, variance = norms.norm_activate(x, mask, scale, bias, self.eps, self.slope)
            running.update(mean, variance, _values_per_channel(x, mask))
            again = functools.partial(norms.normal_again, eps=self.eps, slope=self.slope)
            return out, Recipe(again, (x, scale, bias, mean, variance))
        if not train:
            mean, variance = running.mean.value, running.variance.value
        else:
            mean, variance = masked_moments(x, mask)
            running.update(mean, variance, _values_per_channel(x, mask))
        x = normalize(x, mean, variance, self.eps)
        if self.affine:
            x = x * rewrites.per_channel(scale, x) + rewrites.per_channel(bias, x)
        return x if self.slope == 1 else jnp.where(x >= 0, x, self.slope * x), None


class NormActivatePool(nn.Module):
    """Batch-norm (as `BatchNorm`), leaky ReLU, 2x2 max-pool. Returns the result and each image's mean of `y`."""

    eps: float
    momentum: float = 0.9
    rewritten: bool = False

    @nn.compact
    def __call__(self, y: jax.Array, mask: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        running = _Running(self, y.shape[-1])
        if not train:
            pooled = rewrites.max_pool(y) if self.rewritten else _window_max(y)
            normal = normalize(pooled, running.mean.value, running.variance.value, self.eps)
            return leaky_relu(normal), y.mean((1, 2))
        if self.rewritten:
            out, image_mean, mean, variance = norms.norm_activate_pool(y, mask, self.eps)
        else:
            image_mean = y.mean((1, 2))
            mean, variance = masked_moments(y, mask)
            out = _window_max(leaky_relu(normalize(y, mean, variance, self.eps)))
        running.update(mean, variance, _values_per_channel(y, mask))
        return out, image_mean


class _Running:
    """The running mean and variance of a batch-norm, kept in the `batch_stats` collection."""

    def __init__(self, module: nn.Module, features: int):
        self.module = module
        self.mean = module.variable("batch_stats", "mean", jnp.zeros, (features,))
        self.variance = module.variable("batch_stats", "var", jnp.ones, (features,))

    def update(self, mean: jax.Array, variance: jax.Array, count: jax.Array) -> None:
        if self.module.is_initializing() or not self.module.is_mutable_collection("batch_stats"):
            return
        keep = self.module.momentum
        unbiased = variance * count / jnp.maximum(count - 1, 1)
        self.mean.value = keep * self.mean.value + (1 - keep) * mean
        self.variance.value = keep * self.variance.value + (1 - keep) * unbiased


def normalize(x: jax.Array, mean: jax.Array, variance: jax.Array, eps: float) -> jax.Array:
    """`(x - mean) / sqrt(variance + eps)` with `mean` and `variance` `[C]`."""
    return (x - rewrites.per_channel(mean, x)) * rewrites.per_channel(jax.lax.rsqrt(variance + eps), x)


def masked_moments(x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over all axes but the last, `[C]` each, of the examples that `mask` keeps."""
    count = jnp.maximum(mask.sum(), 1)
    inner = tuple(range(1, x.ndim - 1))

    def mean_over_examples(values):
        per_example = values.mean(inner) if inner else values
        return (mask[:, None] * per_example).sum(0) / count

    mean = mean_over_examples(x)
    return mean, mean_over_examples(jnp.square(x - rewrites.per_channel(mean, x)))


def _values_per_channel(x: jax.Array, mask: jax.Array) -> jax.Array:
    return mask.sum() * math.prod(x.shape[1:-1])


def _window_max(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
