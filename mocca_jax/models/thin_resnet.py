"""Thin residual networks for small pictures, after the CIFAR-10 networks of He et al. (2016), and a decoder for them.

Images are `[B, H, W, C]`, H and W divisible by 8. Layer 0 is a 3x3 convolution, layers 1 to 3 are groups of residual
blocks that halve the sides and double the channels, the last has `code_size` of them; the code is its mean over rows
and columns. `resnet8`, `resnet14` and `resnet20` have one, two and three blocks in a group: 8, 14 and 20 layers with
the one that a pretext adds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax

from mocca_jax.models import blocks, residual
from mocca_jax.models.heads import HEAD_PREFIX

GROUPS = 3


class Encoder(nn.Module):
    """Sows `features/layer{j}` for the selected layers."""

    code_size: int
    blocks: int
    layers: tuple[int, ...]
    head: Callable[..., nn.Module]
    rewritten: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        """The code `[B, code_size]`; with `features_only`, nothing beyond the deepest selected layer."""
        deepest = max(self.layers) if features_only and self.layers else GROUPS
        x = image
        for layer in range(deepest + 1):
            x = self._group(layer, x, mask, train)
            if layer in self.layers:
                feature = self.head(name=f"{HEAD_PREFIX}{layer}")(x, x.mean((1, 2)), mask, train)
                self.sow("features", f"layer{layer}", feature, reduce_fn=lambda _, new: new, init_fn=lambda: None)
        return x.mean((1, 2))

    def _group(self, layer: int, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        width = self.code_size >> (GROUPS - layer)
        if layer == 0:
            x = residual.Conv(width, (3, 3), (1, 1), rewritten=self.rewritten, name="conv")(x)
            return residual.norm("norm", self.rewritten, blocks.LEAK)(x, mask, train)
        x = residual.Downsample(width, (2, 2), rewritten=self.rewritten, name=f"down{layer}")(x, mask, train)
        for block in range(1, self.blocks):
            x = residual.Residual(self.rewritten, name=f"res{layer}_{block}")(x, mask, train)
        return x


class Decoder(nn.Module):
    """A linear layer, a group of upsampling blocks, a convolution; images are not bounded."""

    image_shape: tuple[int, int, int]
    rewritten: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """The code `[B, code_size]` -> an image `[B, *image_shape]`."""
        rows, columns = (side >> GROUPS for side in self.image_shape[:2])
        width = code.shape[-1]
        x = blocks.Dense(rows * columns * width, name="linear")(code).reshape(-1, rows, columns, width)
        x = residual.norm("norm", self.rewritten, blocks.LEAK)(x, mask, train)
        for group in range(1, GROUPS + 1):
            x = residual.Upsample(width >> group, (2, 2), rewritten=self.rewritten, name=f"up{group}")(x, mask, train)
        return residual.Conv(self.image_shape[-1], (1, 1), (1, 1), rewritten=self.rewritten, name="conv")(x)


@dataclass(frozen=True)
class Network:
    """What `models.ENCODERS` holds of one: `blocks` in a group."""

    blocks: int
    MAPS: tuple[int, ...] = tuple(range(GROUPS + 1))
    LAYERS: tuple[int, ...] = MAPS

    def cell_centre(self, layer: int) -> tuple[float, float]:
        """Where the cells of a layer's map look: cell i is centred at pixel `first + i * step`; returns both."""
        return 0.0, 2.0**layer

    def build(
        self, image_shape: tuple[int, int, int], code_size: int, layers: tuple[int, ...], head, rewritten: bool
    ) -> tuple[nn.Module, nn.Module]:
        """The encoder and decoder for one image shape.

        Raises:
            ValueError: a side or the code's size is no multiple of 8, or a layer does not exist.
        """
        name = f"resnet{2 + 2 * GROUPS * self.blocks}"
        if any(side % 8 for side in image_shape[:2]):
            raise ValueError(f"{name} takes images with sides divisible by 8, not {image_shape[0]}x{image_shape[1]}")
        if code_size % 8:
            raise ValueError(f"code_size={code_size}: {name} takes a multiple of 8, which its layers are halves of")
        unknown = [layer for layer in layers if layer not in self.LAYERS]
        if unknown:
            raise ValueError(f"layers={tuple(layers)}: {name} has the layers {self.LAYERS}, not {unknown}")
        encoder = Encoder(code_size, self.blocks, tuple(layers), head, rewritten)
        return encoder, Decoder(image_shape, rewritten)


NETWORKS = {f"resnet{2 + 2 * GROUPS * blocks}": Network(blocks) for blocks in (1, 2, 3)}
