"""Heads: what makes one feature vector per unit out of a layer's activation.

A head is a linen module called as `head(activation, spatial_mean, mask, train)`; `spatial_mean [B, C]` is the
activation's mean over its spatial axes, which the networks have at hand. A head named `head{j}` belongs to
layer j; its parameters, if it has any, exist only in the stages that use features.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mocca_jax.models import blocks

HEAD_PREFIX = "head"


class Mean(nn.Module):
    """Global average (the paper's "selector" on CIFAR-10). A vector passes unchanged."""

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        del activation, mask, train
        return spatial_mean


class Selector(nn.Module):
    """The trained selector of the MVTec AD experiments (section IV-D): `[B, 128]` from a map or a vector.

    A map `[B, H, W, C]` is max-pooled to 8x8 and reduced to one channel first. Then a linear layer to 256,
    batch-norm, ReLU and a linear layer to 128. Differs from the paper: it names a convolution, pooling,
    batch-norm and a two-layer network; order and sizes are the published program's.
    """

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        del spatial_mean
        x = activation
        if x.ndim == 4:
            x = blocks.Dense(1, name="conv")(adaptive_max_pool(x, 8))
            x = x.reshape(x.shape[0], -1)
        x = blocks.Dense(256, name="linear1")(x)
        x = blocks.BatchNorm(1e-5, affine=True, name="norm")(x, mask, train)
        return blocks.Dense(128, name="linear2")(jnp.maximum(x, 0))


class Activation(nn.Module):
    """The activation itself, `[B, H, W, C]` or `[B, D]`: for anomaly maps, not for training."""

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        del spatial_mean, mask, train
        return activation


def adaptive_max_pool(x: jax.Array, size: int) -> jax.Array:
    """`[B, H, W, C]` -> `[B, size, size, C]`: output i is the maximum over [floor(i H / size), ceil((i+1) H / size)).

    Windows overlap where `size` does not divide a side, and repeat where it exceeds it, as in PyTorch.
    """
    for axis in (1, 2):
        side = x.shape[axis]
        windows = [(i * side // size, -(-(i + 1) * side // size)) for i in range(size)]
        x = jnp.stack([jax.lax.slice_in_dim(x, a, b, axis=axis).max(axis) for a, b in windows], axis)
    return x


HEADS = {"mean": Mean, "selector": Selector, "activation": Activation}
