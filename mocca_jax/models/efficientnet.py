"""EfficientNet-Lite 0 to 2 (Tan and Le 2019; Lite: Liu 2020) for inference: `layer{j}` is what block j puts out.

As the other EfficientNets, but with ReLU6, without squeeze-and-excitation, and with stem and first and last stage of
one size for all. Padding is TensorFlow's "SAME": of an odd total, the larger part comes after. Batch-norms are folded
into the convolutions (`mocca_jax.weights.efficientnet`), so there are kernels and biases alone. The input is
`(grey level - 127) / 128`: `inputs.NORMALIZE["lite"]`.

XLA's CPU back end is slow at grouped convolutions: `rewritten`, a depthwise convolution is a sum of shifted products.
The first convolution then works on pairs of columns, and a batch is computed a few images at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mocca_jax.models import blocks, pretrained, rewrites

STEM = 32
STAGES = (  # repeats, kernel size, stride of the first, width, expansion
    (1, 3, 1, 16, 1),
    (2, 3, 2, 24, 6),
    (2, 5, 2, 40, 6),
    (3, 3, 2, 80, 6),
    (3, 5, 1, 112, 6),
    (4, 5, 2, 192, 6),
    (1, 3, 1, 320, 6),
)
SIZES = {  # multipliers of width and of depth
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}


@dataclass(frozen=True)
class Block:
    """Of one inverted residual: kernel's size, stride, widths, times that the input is widened."""

    kernel: int
    stride: int
    width_in: int
    width: int
    expansion: int


def plan(encoder: str) -> tuple[Block, ...]:
    """The blocks of a name in `SIZES`."""
    wider, deeper = SIZES[encoder]
    made, width_in = [], STEM
    for stage, (repeats, kernel, stride, width, expansion) in enumerate(STAGES):
        width = _rounded(width * wider)
        if 0 < stage < len(STAGES) - 1:
            repeats = math.ceil(repeats * deeper)
        for repeat in range(repeats):
            made.append(Block(kernel, 1 if repeat else stride, width_in, width, expansion))
            width_in = width
    return tuple(made)


def _rounded(width: float) -> int:
    """To a multiple of eight, by no more than a tenth downwards."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8


class Encoder(nn.Module):
    """Sows `features/layer{j}` for the selected layers."""

    plan: tuple[Block, ...]
    layers: tuple[int, ...]
    head: Callable[..., nn.Module]
    rewritten: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        """The last map; with `features_only`, that of the deepest selected layer."""
        return pretrained.encoded(self, len(self.plan), image, mask, features_only)

    def maps(self, image: jax.Array, kept: tuple[int, ...]) -> dict[int, jax.Array]:
        """What the blocks `kept` put out, in order; nothing beyond is computed."""
        x, found = relu6(Conv(STEM, 3, 2, self.rewritten, name="stem")(image)), {}
        for layer, block in enumerate(self.plan[: kept[-1] + 1]):
            x = InvertedResidual(block, self.rewritten, name=f"block{layer}")(x)
            if layer in kept:
                found[layer] = x
        return found


class InvertedResidual(nn.Module):
    """Widens, filters each channel by itself, narrows; adds the input where the shape stays."""

    block: Block
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        block, y = self.block, x
        if block.expansion > 1:
            y = relu6(blocks.Dense(block.expansion * block.width_in, name="expand")(y))
        y = relu6(Depthwise(block.kernel, block.stride, self.rewritten, name="depthwise")(y))
        y = blocks.Dense(block.width, name="project")(y)
        return x + y if block.stride == 1 and block.width_in == block.width else y


class Conv(nn.Module):
    """A convolution with bias and "SAME" padding."""

    features: int
    kernel_size: int
    stride: int
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        init = blocks.torch_default(math.prod(shape[:3]))
        kernel = self.param("kernel", init, shape)
        y = paired_conv(x, kernel) if self.rewritten and self.stride == 2 else same_conv(x, kernel, self.stride)
        return y + rewrites.per_channel(self.param("bias", init, (self.features,)), y)


class Depthwise(nn.Module):
    """A convolution of each channel with its own kernel, with bias and "SAME" padding."""

    kernel_size: int
    stride: int
    rewritten: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = blocks.torch_default(self.kernel_size**2)
        kernel = self.param("kernel", init, (self.kernel_size, self.kernel_size, x.shape[-1]))
        bias = self.param("bias", init, (x.shape[-1],))
        if self.rewritten:
            return shifted_products(x, kernel, bias, self.stride)
        y = same_conv(x, kernel[:, :, None], self.stride, groups=x.shape[-1])
        return y + rewrites.per_channel(bias, y)


def relu6(x: jax.Array) -> jax.Array:
    """x within 0 and 6."""
    return jnp.clip(x, 0, 6)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's: just enough for `ceil(side / stride)` results, the odd one after."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def same_conv(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    """Correlation of `[B, H, W, C]` with `[k, k, C / groups, D]`."""
    padding = [same_padding(side, kernel.shape[0], stride) for side in x.shape[1:3]]
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def paired_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv` with a stride of two, on pairs of neighbouring columns: a stride of one, twice the channels."""
    size, _, c_in, c_out = kernel.shape
    batch, _, width, _ = x.shape
    columns, pairs = -(-width // 2), (size + 1) // 2
    above, (left, _) = (same_padding(side, size, 2) for side in x.shape[1:3])
    whole = 2 * (columns + pairs - 1)
    x = jnp.pad(x, ((0, 0), above, (left, whole - width - left), (0, 0)))
    x = x.reshape(batch, -1, whole // 2, 2 * c_in)
    kernel = jnp.pad(kernel, ((0, 0), (0, 2 * pairs - size), (0, 0), (0, 0)))
    kernel = kernel.reshape(size, pairs, 2 * c_in, c_out).astype(x.dtype)
    return lax.conv_general_dilated(x, kernel, (2, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def shifted_products(x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int) -> jax.Array:
    """The depthwise correlation of `[B, H, W, C]` with `[k, k, C]`, as a sum over the kernel's elements."""
    size = kernel.shape[0]
    rows, columns = (-(-side // stride) for side in x.shape[1:3])
    padding = [same_padding(side, size, stride) for side in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    total = rewrites.per_channel(bias, x)
    for i in range(size):
        for j in range(size):
            seen = x[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
            total = total + rewrites.per_channel(kernel[i, j], x) * seen
    return total


def _cell_centre(blocks_: tuple[Block, ...], layer: int) -> tuple[float, float]:
    """For sides that the strides divide: all padding of a stride of two comes after, or one more than before."""
    step = 2.0 * math.prod(block.stride for block in blocks_[: layer + 1])
    return step - 1, step


def _network(name: str) -> pretrained.Network:
    blocks_ = plan(name)
    layers = tuple(range(len(blocks_)))
    return pretrained.network(name, layers, partial(Encoder, blocks_), partial(_cell_centre, blocks_), "lite")


NETWORKS = {name: _network(name) for name in SIZES}
