"""The residual auto-encoder of the paper's MVTec AD experiments (section IV-D).

Images are `[B, S, S, 3]`, S divisible by 8; the paper takes 64 for texture patches and 128 for objects. Layers
0 to 4 are maps, 5 the hidden vector, 6 the code before its sigmoid and 7 after it; the decoder sees layer 7.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from mocca_jax.models import blocks, residual
from mocca_jax.models.heads import HEAD_PREFIX

STEM = 32
WIDTHS = (64, 128, 256)
HIDDEN = 256
LAYERS = tuple(range(8))
MAPS = LAYERS[:5]


def cell_centre(layer: int) -> tuple[float, float]:
    """Where the cells of a layer's map look: cell i is centred at pixel `first + i * step`; returns both."""
    return 1.0, 2.0 ** max(layer - 1, 0)


class Encoder(nn.Module):
    """Sows `features/layer{j}` for the selected layers."""

    code_size: int
    layers: tuple[int, ...]
    head: Callable[..., nn.Module]
    rewritten: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        """The code `[B, code_size]` in (0, 1); with `features_only`, nothing beyond the deepest selected layer."""
        deepest = max(self.layers) if features_only and self.layers else LAYERS[-1]
        x = image
        for layer in range(deepest + 1):
            x = self._layer(layer, x, mask, train)
            if layer in self.layers:
                mean = x.mean((1, 2)) if x.ndim == 4 else x
                feature = self.head(name=f"{HEAD_PREFIX}{layer}")(x, mean, mask, train)
                self.sow("features", f"layer{layer}", feature, reduce_fn=lambda _, new: new, init_fn=lambda: None)
        return x

    def _layer(self, layer: int, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        if layer == 0:
            return residual.Conv(STEM, (3, 3), (1, 1), padded=False, rewritten=self.rewritten, name="conv")(x)
        if layer == 1:
            return residual.Residual(self.rewritten, name="res")(blocks.leaky_relu(x), mask, train)
        if layer <= 4:
            width = WIDTHS[layer - 2]
            return residual.Downsample(width, (2, 2), rewritten=self.rewritten, name=f"down{layer - 1}")(x, mask, train)
        if layer == 5:
            hidden = blocks.Dense(HIDDEN, name="linear1")(x.reshape(x.shape[0], -1))
            return residual.norm("norm", self.rewritten, blocks.LEAK)(hidden, mask, train)
        if layer == 6:
            return blocks.Dense(self.code_size, name="linear2")(x)
        return jax.nn.sigmoid(x)


class Decoder(nn.Module):
    """Two linear layers, three upsampling blocks, a residual block; no final activation: images are in [-1, 1]."""

    image_shape: tuple[int, int, int]
    rewritten: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """The code `[B, code_size]` -> an image `[B, *image_shape]`."""
        height, width = (side // 8 for side in self.image_shape[:2])
        x = blocks.Dense(HIDDEN, name="linear1")(code)
        x = residual.norm("norm1", self.rewritten, blocks.LEAK)(x, mask, train)
        x = blocks.Dense(WIDTHS[-1] * height * width, name="linear2")(x)
        x = residual.norm("norm2", self.rewritten, blocks.LEAK)(x, mask, train)
        x = x.reshape(-1, height, width, WIDTHS[-1])
        for index, features in enumerate((*reversed(WIDTHS[:-1]), STEM), start=1):
            x = residual.Upsample(features, (2, 2), rewritten=self.rewritten, name=f"up{index}")(x, mask, train)
        x = residual.Residual(self.rewritten, name="res")(x, mask, train)
        return residual.Conv(self.image_shape[-1], (1, 1), (1, 1), rewritten=self.rewritten, name="conv")(x)


def build(
    image_shape: tuple[int, int, int], code_size: int, layers: tuple[int, ...], head, rewritten: bool
) -> tuple[nn.Module, nn.Module]:
    """The encoder and decoder for one image shape.

    Raises:
        ValueError: a side is no multiple of 8, or a layer does not exist.
    """
    height, width, _ = image_shape
    if height % 8 or width % 8:
        raise ValueError(f"resnet takes images with sides divisible by 8, not {height}x{width}")
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown:
        raise ValueError(f"layers={tuple(layers)}: resnet has the layers {LAYERS}, not {unknown}")
    return Encoder(code_size, tuple(layers), head, rewritten), Decoder(image_shape, rewritten)
