"""Residual blocks for any number of spatial axes: `[B, H, W, C]` images and `[B, T, H, W, C]` clips alike.

Sizes and strides are tuples with one entry per spatial axis. Each convolution is followed by a batch-norm with
scale and offset and has no bias. Initial weights are PyTorch's defaults. The attribute names are those of the
published program (`conv1a`, `norm1a` for its `bn1a`, ...).
"""

import math

import flax.linen as nn
import jax

from mocca_jax.models import blocks, convolutions, rewrites
from mocca_jax.models.ordering import Recipe

Sizes = tuple[int, ...]


class Conv(nn.Module):
    """A convolution, padded by half its kernel unless `padded` is False.

    `causal` leaves the last tap of the first spatial axis out, which has weights all the same: step t sees t-1 and t.
    """

    features: int
    kernel_size: Sizes
    strides: Sizes
    padded: bool = True
    use_bias: bool = False
    causal: bool = False
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, recipe: Recipe | None = None) -> jax.Array:
        """With `recipe`, `x` is made again for its gradient."""
        fan_in = x.shape[-1] * math.prod(self.kernel_size)
        init = blocks.torch_default(fan_in)
        kernel = self.param("kernel", init, (*self.kernel_size, x.shape[-1], self.features))
        padding = tuple((k // 2, k // 2) if self.padded else (0, 0) for k in self.kernel_size)
        if self.causal:
            kernel, padding = kernel[:-1], ((padding[0][0], 0), *padding[1:])
        if self.rewritten:
            y = convolutions.fast_conv(x, kernel, self.strides, padding, recipe)
        else:
            y = convolutions.conv(x, kernel, self.strides, padding)
        if self.use_bias:
            y = y + rewrites.per_channel(self.param("bias", init, (self.features,)), y)
        return y


class TransposedConv(nn.Module):
    """A transposed convolution that multiplies the sides by `strides`; the kernel is stored as a correlation's.

    Output padding is one on strided axes and zero elsewhere, padding half the kernel, as published.
    """

    features: int
    kernel_size: Sizes
    strides: Sizes
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = blocks.torch_default(self.features * math.prod(self.kernel_size))
        kernel = self.param("kernel", init, (*self.kernel_size, x.shape[-1], self.features))
        apply = convolutions.fast_transposed_conv if self.rewritten else convolutions.transposed_conv
        return apply(x, kernel, self.strides)


class Residual(nn.Module):
    """`leaky(norm(conv(leaky(norm(conv(x))))) + x)`, kernels of 3."""

    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        kernel, ones = (3,) * (x.ndim - 2), (1,) * (x.ndim - 2)
        y = Conv(x.shape[-1], kernel, ones, rewritten=self.rewritten, name="conv1")(x)
        y = norm("norm1", self.rewritten, blocks.LEAK)(y, mask, train)
        y = Conv(x.shape[-1], kernel, ones, rewritten=self.rewritten, name="conv2")(y)
        return blocks.leaky_relu(norm("norm2", self.rewritten)(y, mask, train) + x)


class Downsample(nn.Module):
    """A residual block whose first convolution and 1-sized shortcut convolution have `strides`."""

    features: int
    strides: Sizes
    causal: bool = False
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        kernel, ones = (3,) * len(self.strides), (1,) * len(self.strides)
        shared = {"rewritten": self.rewritten}
        y = Conv(self.features, kernel, self.strides, causal=self.causal, name="conv1a", **shared)(x)
        normal = norm("norm1a", self.rewritten, blocks.LEAK).with_recipe(y, mask, train)
        y = Conv(self.features, kernel, ones, causal=self.causal, name="conv1b", **shared)(*normal)
        shortcut = Conv(self.features, ones, self.strides, name="conv2a", **shared)(x)
        return blocks.leaky_relu(
            norm("norm1b", self.rewritten)(y, mask, train) + norm("norm2a", self.rewritten)(shortcut, mask, train)
        )


class Upsample(nn.Module):
    """A residual block that multiplies the sides by `strides`; `shortcut` is the side of the shortcut's kernel."""

    features: int
    strides: Sizes
    shortcut: int = 1
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        axes, shared = len(self.strides), {"rewritten": self.rewritten}
        y = TransposedConv(self.features, (5,) * axes, self.strides, name="conv1a", **shared)(x)
        normal = norm("norm1a", self.rewritten, blocks.LEAK).with_recipe(y, mask, train)
        y = Conv(self.features, (3,) * axes, (1,) * axes, name="conv1b", **shared)(*normal)
        side = TransposedConv(self.features, (self.shortcut,) * axes, self.strides, name="conv2a", **shared)(x)
        return blocks.leaky_relu(
            norm("norm1b", self.rewritten)(y, mask, train) + norm("norm2a", self.rewritten)(side, mask, train)
        )


def norm(name: str, rewritten: bool, slope: float = 1.0) -> blocks.BatchNorm:
    """Batch-norm with scale and offset, as everywhere in the residual networks; `slope`: then leaky ReLU."""
    return blocks.BatchNorm(1e-5, affine=True, slope=slope, rewritten=rewritten, name=name)
