"""What encoders have in common whose weights come from elsewhere: no decoder, no training, batch-norms folded away.

Their layers are all maps `[B, rows, columns, C]`: `layer{j}` is what block j puts out. They take images of three
channels and any sides that their patches divide.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax

from mocca_jax.models import pieces
from mocca_jax.models.heads import HEAD_PREFIX

Layers = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """An entry of `models.ENCODERS`: what the other networks' modules have as names."""

    LAYERS: Layers
    build: Callable[..., tuple[nn.Module, nn.Module]]
    cell_centre: Callable[[int], tuple[float, float]]
    normalize: str  # the name in `data.inputs.NORMALIZE` of what the weights were trained with
    DECODES: bool = False

    @property
    def MAPS(self) -> Layers:  # noqa: N802
        """All layers are."""
        return self.LAYERS


class NoDecoder(nn.Module):
    """In a decoder's place."""

    encoder: str

    def __call__(self, code: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        raise ValueError(no_decoder(self.encoder))


def no_decoder(encoder: str) -> str:
    """Why nothing can be reconstructed, and what to do."""
    return (
        f"encoder = {encoder!r} is pretrained and has no decoder: nothing can be reconstructed. Leave out the stages "
        "'reconstruction' and 'joint' (and maps = 'reconstruction'), or take an encoder that is trained, as 'resnet'"
    )


def network(
    name: str,
    layers: Layers,
    encoder: Callable[..., nn.Module],
    cell_centre: Callable[[int], tuple[float, float]],
    normalize: str,
    patch: int = 1,
) -> Network:
    """The entry of an encoder that is made as `encoder(layers=..., head=..., rewritten=...)`.

    `patch`: what the sides of images have to be multiples of.
    """
    return Network(layers, partial(_build, name, layers, patch, encoder), cell_centre, normalize)


def _build(
    name: str,
    known: Layers,
    patch: int,
    encoder: Callable[..., nn.Module],
    image_shape: tuple[int, ...],
    code_size: int,
    layers: Layers,
    head: Callable[..., nn.Module],
    rewritten: bool,
) -> tuple[nn.Module, nn.Module]:
    """The encoder, and what says that there is no decoder; there is no code, so `code_size` is not looked at.

    Raises:
        ValueError: not images of three channels, sides that do not fit, or a layer that does not exist.
    """
    if len(image_shape) != 3 or image_shape[-1] != 3:
        raise ValueError(f"{name} takes images of three channels, not {'x'.join(map(str, image_shape))}")
    if any(side % patch or not side for side in image_shape[:2]):
        fitting = "x".join(str(max(round(side / patch), 1) * patch) for side in image_shape[:2])
        raise ValueError(
            f"{name} takes images with sides that are multiples of {patch}, as {fitting}, "
            f"not {image_shape[0]}x{image_shape[1]}"
        )
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise ValueError(f"layers={tuple(layers)}: {name} has the layers {known}, not {unknown}")
    return encoder(layers=tuple(layers), head=head, rewritten=rewritten), NoDecoder(name)


def encoded(module: nn.Module, blocks: int, image: jax.Array, mask: jax.Array, features_only: bool) -> jax.Array:
    """Sows `features/layer{j}` for `module.layers`; returns the last map, or the deepest selected.

    To be called in the module's compact method. `module.maps(image, kept)` computes the maps of the blocks `kept`;
    where the module is `rewritten`, of a few images at a time.
    """
    deepest = max(module.layers) if features_only and module.layers else blocks - 1
    kept = tuple(sorted({*module.layers, deepest}))

    def maps(module: nn.Module, image: jax.Array) -> dict[int, jax.Array]:
        return module.maps(image, kept)

    found = pieces.mapped(module, maps, image) if module.rewritten else maps(module, image)
    for layer in module.layers:
        x = found[layer]
        feature = module.head(name=f"{HEAD_PREFIX}{layer}")(x, x.mean((1, 2)), mask, False)
        module.sow("features", f"layer{layer}", feature, reduce_fn=lambda _, new: new, init_fn=lambda: None)
    return found[deepest]
