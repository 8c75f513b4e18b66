"""Heads: what makes one feature vector per unit out of a layer's activation.

A head is a linen module called as `head(activation, spatial_mean, mask, train)`; `spatial_mean` is the
activation's mean over rows and columns, which the networks have at hand: `[B, C]` of images, `[B, T, C]` of
clips. A head named `head{j}` belongs to layer j; its parameters, if it has any, exist only in the stages that
use features.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from mocca_jax.config import LATER, suggestion
from mocca_jax.models import blocks, recurrence, residual

HEAD_PREFIX = "head"


class Mean(nn.Module):
    """Global average (the paper's "selector" on CIFAR-10), of clips over time too. A vector passes unchanged."""

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        del activation, mask, train
        return spatial_mean.mean(1) if spatial_mean.ndim == 3 else spatial_mean


class Whole(nn.Module):
    """A layer's whole map as one vector, `[B, H * W * C]`: also where something is tells. A vector passes unchanged."""

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        del spatial_mean, mask, train
        return activation.reshape(activation.shape[0], -1)


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


class LSTM(nn.Module):
    """What a recurrent network knows at a clip's last step (section IV-D): `[B, size]`, or `[B, 2 size]`.

    With two directions the forward one's last and the backward one's first step are joined. `dropout` acts between
    layers, in training. With `selects`, maps pass a trained selector instead of their mean over rows and columns.
    """

    size: int = 100
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    selects: bool = False
    dtype: str = "float32"  # of the products; "float32": that of inputs and parameters

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        x = spatial_mean
        if self.selects and activation.ndim == 5:
            x = ClipSelector(name="selector")(activation, mask, train)
        for layer in range(self.layers):
            if layer:
                x = nn.Dropout(self.dropout, deterministic=not train or not self.dropout)(x)
            forward = self._direction(x, f"lstm{layer}", reverse=False)
            if not self.bidirectional:
                x = forward
                continue
            x = jnp.concatenate([forward, self._direction(x, f"lstm{layer}_reverse", reverse=True)], -1)
        return x[:, -1]

    def _direction(self, x: jax.Array, name: str, reverse: bool) -> jax.Array:
        """`[B, T, C]` -> `[B, T, size]`. PyTorch has two bias vectors; the second is the weight of a constant input."""
        constant = jnp.ones((*x.shape[:2], 1), x.dtype)
        layer = recurrence.LSTM(self.size, blocks.torch_default(self.size), reverse, self.dtype, name=name)
        return layer(jnp.concatenate([x, constant], -1))


class ClipSelector(nn.Module):
    """The published program's trained reduction of a clip's map, `[B, T, H, W, C]` -> `[B, T, C]`; not causal.

    Its last batch-norm takes time steps for channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        conv = partial(residual.Conv, use_bias=True)
        x = conv(2 * channels, (3, 3, 3), (1, 2, 2), name="conv1")(x)
        x = jnp.maximum(blocks.BatchNorm(1e-5, affine=True, name="norm1")(x, mask, train), 0)
        x = conv(4 * channels, (3, 3, 3), (1, 1, 1), name="conv2")(x)
        x = jnp.maximum(blocks.BatchNorm(1e-5, affine=True, name="norm2")(x, mask, train), 0)
        x = conv(4 * channels, (1, 1, 1), (1, 1, 1), name="conv3")(x)
        x = blocks.Dense(256, name="linear1")(x.reshape(*x.shape[:2], -1)).swapaxes(1, 2)
        x = blocks.BatchNorm(1e-5, affine=True, name="norm3")(x, mask, train).swapaxes(1, 2)
        return blocks.Dense(channels, name="linear2")(jnp.maximum(x, 0))


class Places(nn.Module):
    """The activation itself, averaged over cells: `[B, T, H, W, C]` -> `[B, T, places, C]`, of vectors one place.

    A unit's distance is then that of its most distant place, each from a centroid of its own
    (`hypersphere.squared_distance`). A small object, which a mean over the whole picture dilutes, decides alone; what
    is usual at one place need not be at another. For cameras that do not move.

    `cells`: rows and columns that a map is averaged down to; a map that has fewer keeps its own.
    """

    cells: tuple[int, int] = (8, 12)

    @nn.compact
    def __call__(self, activation: jax.Array, spatial_mean: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        del mask, train
        if activation.ndim != 5:
            return spatial_mean[:, :, None]
        window = [max(1, side // most) for side, most in zip(activation.shape[2:4], self.cells, strict=True)]
        x = nn.avg_pool(activation, (1, *window), (1, *window))
        return x.reshape(*x.shape[:2], -1, x.shape[-1])


class Answers(nn.Module):
    """What answers a pretext's question: a linear layer on the code, called in the decoder's place."""

    outputs: int

    @nn.compact
    def __call__(self, code: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """The code `[B, D]` -> `[B, outputs]`."""
        return blocks.Dense(self.outputs, name="linear")(code)


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


def make(name: str, config) -> Callable[..., nn.Module]:
    """The head of this name, with the config's settings.

    Raises:
        ValueError: unknown name, or the config lacks a field of the head's.
    """
    if name not in HEADS:
        raise ValueError(f"unknown head {name!r}{suggestion(name, HEADS)}")
    fields = LATER | dict(config)
    lacking = [field for field in SETTINGS.get(name, {}).values() if field not in fields]
    if lacking:
        raise ValueError(f"head = {name!r} needs the fields {', '.join(lacking)}, which configs of such data have not")
    settings = {ours: fields[field] for ours, field in SETTINGS.get(name, {}).items()}
    return partial(HEADS[name], **settings)


HEADS: dict[str, Callable[..., nn.Module]] = {
    "mean": Mean,
    "whole": Whole,
    "selector": Selector,
    "lstm": LSTM,
    "selector_lstm": partial(LSTM, selects=True),
    "places": Places,
    "activation": Activation,
}
_LSTM = {
    "size": "lstm_size",
    "layers": "lstm_layers",
    "bidirectional": "lstm_bidirectional",
    "dropout": "lstm_dropout",
    "dtype": "compute_dtype",
}
SETTINGS = {"lstm": _LSTM, "selector_lstm": _LSTM, "places": {"cells": "cells"}}  # a head's attributes: config fields
