"""Cells of optical flow as a network without weights: `layer{j}` is the mean over 2^j x 2^j cells around each.

The input is what `data/flow.py` makes of a frame, `[B, rows, columns, 3]`; see `method/motion.py`.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from mocca_jax.method import motion
from mocca_jax.models.heads import HEAD_PREFIX
from mocca_jax.models.pretrained import NoDecoder

NAME = "flow"
LAYERS = tuple(range(len(motion.FLOORS)))
MAPS = LAYERS
DECODES = False


class Encoder(nn.Module):
    """Sows `features/layer{j}` for the selected layers; returns the input."""

    layers: tuple[int, ...]
    head: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        for layer in self.layers:
            x = motion.boxed(image, 2**layer)
            feature = self.head(name=f"{HEAD_PREFIX}{layer}")(x, x.mean((1, 2)), mask, train)
            self.sow("features", f"layer{layer}", feature, reduce_fn=lambda _, new: new, init_fn=lambda: None)
        return image


def build(
    image_shape: tuple[int, ...], code_size: int, layers: tuple[int, ...], head, rewritten: bool
) -> tuple[nn.Module, nn.Module]:
    """The encoder, and what says that there is no decoder.

    Raises:
        ValueError: no cells of flow, or a layer that does not exist.
    """
    if len(image_shape) != 3 or image_shape[-1] != motion.CHANNELS:
        raise ValueError(f"{NAME} takes cells of optical flow, not {'x'.join(map(str, image_shape))}")
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown:
        raise ValueError(f"layers={tuple(layers)}: {NAME} has the layers {LAYERS}, not {unknown}")
    return Encoder(tuple(layers), head), NoDecoder(NAME)
