"""The LeNet-like auto-encoder of the paper's CIFAR-10 experiments (section IV-D), after Deep SVDD.

Images are `[B, S, S, C]` with S divisible by 8. Layers 0, 1, 2 are the *raw* outputs of the three
convolutions, before batch-norm, activation and pooling; layer 3 is the code. At S=32, C=3 and a code of 128
the encoder has 520,544 parameters and the decoder 284,000.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from mocca_jax.models import blocks
from mocca_jax.models.heads import HEAD_PREFIX

EPS = 1e-4
WIDTHS = (32, 64, 128)
CODE_LAYER = len(WIDTHS)
MAPS = tuple(range(len(WIDTHS)))
LAYERS = (*MAPS, CODE_LAYER)


def cell_centre(layer: int) -> tuple[float, float]:
    """Where the cells of a layer's map look: cell i is centred at pixel `first + i * step`; returns both."""
    return (2.0**layer - 1) / 2, 2.0**layer


class Encoder(nn.Module):
    """Three 5x5 convolutions and a linear layer; sows `features/layer{j}` for the selected layers."""

    code_size: int
    layers: tuple[int, ...]
    head: Callable[..., nn.Module]
    rewritten: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        """The code `[B, code_size]`; with `features_only`, nothing beyond the deepest selected layer."""
        deepest = max(self.layers) if features_only and self.layers else CODE_LAYER
        x = image
        for layer, width in enumerate(WIDTHS[: deepest + 1]):
            init = blocks.xavier(5, x.shape[-1], width)
            y = blocks.Conv(width, 5, init, rewritten=self.rewritten, name=f"conv{layer + 1}")(x)
            norm = blocks.NormActivatePool(EPS, rewritten=self.rewritten, name=f"norm{layer + 1}")
            x, spatial_mean = norm(y, mask, train)
            self._emit(layer, y, spatial_mean, mask, train)
        if deepest < CODE_LAYER:
            return x
        x = x.reshape(x.shape[0], -1)
        code = blocks.Dense(self.code_size, use_bias=False, name="linear")(x)
        self._emit(CODE_LAYER, code, code, mask, train)
        return code

    def _emit(self, layer: int, *activation_mean_mask_train) -> None:
        if layer in self.layers:
            feature = self.head(name=f"{HEAD_PREFIX}{layer}")(*activation_mean_mask_train)
            self.sow("features", f"layer{layer}", feature, reduce_fn=lambda _, new: new, init_fn=lambda: None)


class Decoder(nn.Module):
    """Batch-norm twice (as published), four 5x5 transposed convolutions with nearest upsampling, sigmoid.

    A transposed convolution with stride one is a correlation with the flipped kernel; kernels are stored as
    correlations.
    """

    image_shape: tuple[int, int, int]
    rewritten: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """The code `[B, code_size]` -> an image in (0, 1), `[B, *image_shape]`."""
        side = self.image_shape[0] // 8
        code = blocks.BatchNorm(EPS, name="code_norm1")(code, mask, train)
        code = blocks.BatchNorm(EPS, name="code_norm2")(code, mask, train)
        x = code.reshape(code.shape[0], -1, side, side).transpose(0, 2, 3, 1)
        x = blocks.leaky_relu(x)
        widths = (*reversed(WIDTHS), self.image_shape[-1])
        for index, width in enumerate(widths, start=1):
            if index == 1:
                init, upsample = blocks.torch_default(25 * width), False
            else:
                x = blocks.leaky_relu(blocks.BatchNorm(EPS, name=f"norm{index - 1}")(x, mask, train))
                init, upsample = blocks.xavier(5, x.shape[-1], width), True
            x = blocks.Conv(width, 5, init, upsample, self.rewritten, name=f"conv{index}")(x)
        return jax.nn.sigmoid(x)


def build(
    image_shape: tuple[int, int, int], code_size: int, layers: tuple[int, ...], head, rewritten: bool
) -> tuple[nn.Module, nn.Module]:
    """The encoder and decoder for one image shape.

    Raises:
        ValueError: the sides are unequal or no multiple of 8, or the code does not fill the decoder's input.
    """
    height, width, _ = image_shape
    if height != width or height % 8:
        raise ValueError(f"lenet takes square images with a side divisible by 8, not {height}x{width}")
    cells = (height // 8) ** 2
    if code_size % cells:
        raise ValueError(
            f"code_size={code_size} does not fill lenet's decoder: for images of side {height} "
            f"it must be a multiple of {cells}"
        )
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown:
        raise ValueError(f"layers={tuple(layers)}: lenet has the layers {LAYERS}, not {unknown}")
    return Encoder(code_size, tuple(layers), head, rewritten), Decoder(image_shape, rewritten)
