"""The causal auto-encoder of the paper's ShanghaiTech experiments (section IV-D): clips `[B, T, H, W, C]`.

Five residual blocks whose convolutions never look ahead in time (layers 0 to 4, maps), then two linear layers
shared by all time steps (layers 5 and 6; 6 is the code, `[B, T/4, code_size]` in (0, 1)). The decoder is not
causal. Sizes come from the clip: T divisible by 4, sides by 32.

What overlapping clips could share: a clip's first frame sees zeros where the film has earlier frames. These zeros
reach 2 frames into layer 0, 4 into layer 1, 7 into layer 2, 11 into layer 3 and all 16 of layer 4; beyond them
the maps of clips that start at the same phase of the temporal stride (1, 1, 2, 2, 4) are equal in inference mode.
The LSTMs and the decoder share nothing. It is not done: at the published size a clip takes 748 ms, the decoder 634 of
them, layers 0 to 4 69, 19, 10, 2 and 4 (2 CPU cores, batch 4, `experiments.bench.video_parts`). Clips that begin with
every frame would get 1.11 times as fast at most, 2.8 times where nothing is decoded; every fourth, 1.08 and 1.9 times.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mocca_jax.models import blocks, residual
from mocca_jax.models.heads import HEAD_PREFIX

STRIDES = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2), (2, 2, 2))
UP_STRIDES = ((2, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
REDUCTION = tuple(math.prod(stride) for stride in zip(*STRIDES, strict=True))
WIDTHS = (8, 16, 32, 64, 64)
HIDDEN = 512
LAYERS = tuple(range(len(WIDTHS) + 2))
MAPS = ()  # anomaly maps are made of pictures, not of clips


class Encoder(nn.Module):
    """Sows `features/layer{j}` for the selected layers."""

    code_size: int
    layers: tuple[int, ...]
    head: Callable[..., nn.Module]
    rewritten: bool = False

    @nn.compact
    def __call__(self, clip: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        """The code `[B, T/4, code_size]`; with `features_only`, nothing beyond the deepest selected layer."""
        deepest = max(self.layers) if features_only and self.layers else LAYERS[-1]
        x = clip
        for layer in range(deepest + 1):
            x = self._layer(layer, x, mask, train)
            if layer in self.layers:
                steps = x.mean((2, 3)) if x.ndim == 5 else x
                feature = self.head(name=f"{HEAD_PREFIX}{layer}")(x, steps, mask, train)
                self.sow("features", f"layer{layer}", feature, reduce_fn=lambda _, new: new, init_fn=lambda: None)
        return x

    def _layer(self, layer: int, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        if layer < len(WIDTHS):
            block = residual.Downsample(
                WIDTHS[layer], STRIDES[layer], causal=True, rewritten=self.rewritten, name=f"down{layer + 1}"
            )
            return block(x, mask, train)
        if layer == len(WIDTHS):
            return jnp.tanh(blocks.Dense(HIDDEN, name="linear1")(x.reshape(*x.shape[:2], -1)))
        return jax.nn.sigmoid(blocks.Dense(self.code_size, name="linear2")(x))


class Decoder(nn.Module):
    """Two shared linear layers and five upsampling blocks; no final activation: clips are in [0, 1].

    The published program reads the linear layers' result `[steps, C*H*W]` as if it were stored feature by feature
    instead of step by step, which deals each step's values out over all steps and places. So do we: weights and
    numbers agree, and a trained decoder has learned it.
    """

    image_shape: tuple[int, ...]
    rewritten: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        _, height, width = (side // by for side, by in zip(self.image_shape, REDUCTION, strict=False))
        steps, deepest = code.shape[1], WIDTHS[-1]
        x = jnp.tanh(blocks.Dense(HIDDEN, name="linear1")(code))
        x = blocks.leaky_relu(blocks.Dense(deepest * height * width, name="linear2")(x))
        x = x.swapaxes(1, 2).reshape(-1, deepest, steps, height, width).transpose(0, 2, 3, 4, 1)
        widths = (*reversed(WIDTHS[:-1]), WIDTHS[0])
        for index, (features, stride) in enumerate(zip(widths, UP_STRIDES, strict=True), start=1):
            block = residual.Upsample(features, stride, shortcut=5, rewritten=self.rewritten, name=f"up{index}")
            x = block(x, mask, train)
        ones = (1, 1, 1)
        return residual.Conv(self.image_shape[-1], ones, ones, use_bias=True, rewritten=self.rewritten, name="conv")(x)


def build(
    image_shape: tuple[int, ...], code_size: int, layers: tuple[int, ...], head, rewritten: bool
) -> tuple[nn.Module, nn.Module]:
    """The encoder and decoder for clips `(T, H, W, C)`.

    Raises:
        ValueError: not clips, a side that the strides do not divide, or a layer that does not exist.
    """
    if len(image_shape) != 4 or any(side % by for side, by in zip(image_shape, REDUCTION, strict=False)):
        raise ValueError(
            f"video_resnet takes clips whose frames, rows and columns are divisible by {REDUCTION}, "
            f"not {'x'.join(map(str, image_shape[:-1]))}"
        )
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown:
        raise ValueError(f"layers={tuple(layers)}: video_resnet has the layers {LAYERS}, not {unknown}")
    return Encoder(code_size, tuple(layers), head, rewritten), Decoder(image_shape, rewritten)
