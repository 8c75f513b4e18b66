"""Heads: what makes one feature vector per unit out of a layer's activation.

A head is a linen module called as `head(activation, spatial_mean)`; `spatial_mean [B, C]` is the
activation's mean over its spatial axes, which the networks have at hand. A head named `head{j}` belongs to
layer j; its parameters, if it has any, exist only in the stages that use features.
"""

import flax.linen as nn
import jax

HEAD_PREFIX = "head"


class Mean(nn.Module):
    """Global average (the paper's "selector" on CIFAR-10). A vector passes unchanged."""

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array) -> jax.Array:
        del activation
        return spatial_mean


HEADS = {"mean": Mean}
