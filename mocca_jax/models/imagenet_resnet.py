"""ResNet-18 and Wide ResNet-50-2 (He et al. 2016, Zagoruyko and Komodakis 2016) for inference, as torchvision has them.

`layer{j}` is what block j puts out. The four stages of torchvision ("layer1" to "layer4") end with blocks 1, 3, 5 and 7
of ResNet-18, with blocks 2, 6, 12 and 15 of Wide ResNet-50-2, at strides 4, 8, 16 and 32. Batch-norms are folded into
the convolutions (`mocca_jax.weights.imagenet_resnet`). The input is scaled by ImageNet's mean and deviation:
`inputs.NORMALIZE["imagenet"]`.

`rewritten` changes the pooling, and a batch is computed a few images at a time: convolutions of this kind are near to
what matrix products reach on a CPU as they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mocca_jax.models import pretrained, residual

STEM = 64
STAGE_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Size:
    """Blocks of each stage; whether they narrow first ("bottleneck"), to how many times the stage's width."""

    repeats: tuple[int, ...]
    narrows: bool
    inner: int = 1


SIZES = {
    "resnet18": Size((2, 2, 2, 2), narrows=False),
    "wide_resnet50_2": Size((3, 4, 6, 3), narrows=True, inner=2),
}


@dataclass(frozen=True)
class Block:
    """`narrows`: 1x1, 3x3, 1x1 convolutions instead of two of 3x3."""

    width_in: int
    inner: int
    width: int
    stride: int
    narrows: bool


def plan(encoder: str) -> tuple[Block, ...]:
    """The blocks of a name in `SIZES`."""
    size = SIZES[encoder]
    made, width_in = [], STEM
    for stage, (repeats, base) in enumerate(zip(size.repeats, STAGE_WIDTHS, strict=True)):
        width = 4 * base if size.narrows else base
        for repeat in range(repeats):
            made.append(Block(width_in, size.inner * base, width, 2 if stage and not repeat else 1, size.narrows))
            width_in = width
    return tuple(made)


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
        stem = _conv(STEM, 7, 2, "stem")
        x, found = max_pool(jax.nn.relu(stem(image)), self.rewritten), {}
        for layer, block in enumerate(self.plan[: kept[-1] + 1]):
            x = ResidualBlock(block, name=f"block{layer}")(x)
            if layer in kept:
                found[layer] = x
        return found


class ResidualBlock(nn.Module):
    """Two or three convolutions, and the input, by a convolution of its own where the shape changes."""

    block: Block

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        block = self.block
        changes = block.stride > 1 or block.width_in != block.width
        shortcut = _conv(block.width, 1, block.stride, "shortcut")(x) if changes else x
        if block.narrows:
            y = jax.nn.relu(_conv(block.inner, 1, 1, "conv1")(x))
            y = jax.nn.relu(_conv(block.inner, 3, block.stride, "conv2")(y))
            y = _conv(block.width, 1, 1, "conv3")(y)
        else:
            y = jax.nn.relu(_conv(block.inner, 3, block.stride, "conv1")(x))
            y = _conv(block.width, 3, 1, "conv2")(y)
        return jax.nn.relu(y + shortcut)


def _conv(width: int, kernel: int, stride: int, name: str) -> residual.Conv:
    return residual.Conv(width, (kernel, kernel), (stride, stride), use_bias=True, name=name)


def max_pool(x: jax.Array, rewritten: bool) -> jax.Array:
    """Windows of 3x3 at a stride of 2, one row and column of padding on each side; `x` is nowhere negative."""
    if not rewritten:
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    rows, columns = (-(-side // 2) for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down = lax.max(lax.max(*(x[:, i : i + 2 * rows - 1 : 2] for i in (0, 1))), x[:, 2 : 2 * rows + 1 : 2])
    across = lax.max(*(down[:, :, j : j + 2 * columns - 1 : 2] for j in (0, 1)))
    return lax.max(across, down[:, :, 2 : 2 * columns + 1 : 2])


def _cell_centre(blocks: tuple[Block, ...], layer: int) -> tuple[float, float]:
    """Padding is alike on both sides, so every first cell looks at the first pixel."""
    return 0.0, 4.0 * math.prod(block.stride for block in blocks[: layer + 1])


def _network(name: str) -> pretrained.Network:
    blocks = plan(name)
    layers = tuple(range(len(blocks)))
    return pretrained.network(name, layers, partial(Encoder, blocks), partial(_cell_centre, blocks), "imagenet")


NETWORKS = {name: _network(name) for name in SIZES}
