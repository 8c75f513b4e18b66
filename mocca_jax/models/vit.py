"""DINOv2's and DINOv3's vision transformers (Oquab et al. 2023, Siméoni et al. 2025) for inference, as timm has them.

`layer{j}` is what block j puts out for the patches, `[B, rows / patch, columns / patch, width]`, before the last
normalisation; class token and registers take part but are not seen. What a layer-norm multiplies by and adds, and the
scales of the residual branches, are folded into the linear layers (`mocca_jax.weights.vit`). DINOv2 adds embeddings of
places, interpolated from the grid it was trained on; DINOv3 turns queries and keys by angles that depend on the place.
The input is scaled by ImageNet's mean and deviation: `inputs.NORMALIZE["imagenet"]`.

`rewritten`, a batch is computed a few images at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.models import blocks, pretrained

WIDENED = 4  # times that the inner linear layer is wider
TEMPERATURE = 100.0  # ratio of the longest to (nearly) the shortest period of DINOv3's angles


@dataclass(frozen=True)
class Size:
    """`grid`: side of the grid of trained place embeddings, 0 = angles instead; `eps` of the layer-norms."""

    patch: int
    width: int
    heads: int
    registers: int
    grid: int
    eps: float
    depth: int = 12


SIZES = {
    "vit_small_patch14_dinov2": Size(14, 384, 6, 0, 37, 1e-6),
    "vit_base_patch14_dinov2": Size(14, 768, 12, 0, 37, 1e-6),
    "vit_small_patch14_reg4_dinov2": Size(14, 384, 6, 4, 37, 1e-6),
    "vit_base_patch14_reg4_dinov2": Size(14, 768, 12, 4, 37, 1e-6),
    "vit_small_patch16_dinov3": Size(16, 384, 6, 4, 0, 1e-5),
    "vit_base_patch16_dinov3": Size(16, 768, 12, 4, 0, 1e-5),
}


class Encoder(nn.Module):
    """Sows `features/layer{j}` for the selected layers."""

    size: Size
    layers: tuple[int, ...]
    head: Callable[..., nn.Module]
    rewritten: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool, features_only: bool = False) -> jax.Array:
        """The last map; with `features_only`, that of the deepest selected layer."""
        return pretrained.encoded(self, self.size.depth, image, mask, features_only)

    def maps(self, image: jax.Array, kept: tuple[int, ...]) -> dict[int, jax.Array]:
        """What the blocks `kept` put out for the patches; nothing beyond is computed."""
        size, init = self.size, nn.initializers.normal(0.02)
        x = blocks.Dense(size.width, name="embed")(patches(image, size.patch))
        batch, rows, columns, width = x.shape
        angles = None
        if size.grid:
            trained = self.param("places", init, (size.grid, size.grid, width))
            x = x + placed(trained, (rows, columns)).astype(x.dtype)[None]
        else:
            angles = turning_angles((rows, columns), width // size.heads)
        first = self.param("first", init, (1 + size.registers, width)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(first[None], (batch, *first.shape)), x.reshape(batch, -1, width)], 1)
        found = {}
        for layer in range(kept[-1] + 1):
            x = Block(size, name=f"block{layer}")(x, angles)
            if layer in kept:
                found[layer] = x[:, len(first) :].reshape(batch, rows, columns, width)
        return found


class Block(nn.Module):
    """Attention and two linear layers, each on normalised tokens and added to its input: `[B, N, D]` both ways."""

    size: Size

    @nn.compact
    def __call__(self, x: jax.Array, angles: np.ndarray | None) -> jax.Array:
        size, (batch, tokens, width) = self.size, x.shape
        qkv = blocks.Dense(3 * width, name="qkv")(normalized(x, size.eps))
        queries, keys, values = jnp.moveaxis(qkv.reshape(batch, tokens, 3, size.heads, -1), 2, 0)
        if angles is not None:
            queries, keys = turned(queries, angles), turned(keys, angles)
        weights = jnp.einsum("bnhd,bmhd->bhnm", queries / math.sqrt(width // size.heads), keys)
        seen = jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(weights, -1), values)
        x = x + blocks.Dense(width, name="out")(seen.reshape(batch, tokens, width))
        y = blocks.Dense(WIDENED * width, name="up")(normalized(x, size.eps))
        return x + blocks.Dense(width, name="down")(jax.nn.gelu(y, approximate=False))


def patches(image: jax.Array, side: int) -> jax.Array:
    """`[B, H, W, C]` -> `[B, H / side, W / side, side * side * C]`."""
    batch, height, width, channels = image.shape
    cut = image.reshape(batch, height // side, side, width // side, side, channels).swapaxes(2, 3)
    return cut.reshape(batch, height // side, width // side, -1)


def placed(trained: jax.Array, sides: tuple[int, int]) -> jax.Array:
    """Embeddings of places `[g, g, D]` on a grid of other sides: bicubic, averaged where it is coarser."""
    if trained.shape[:2] == sides:
        return trained
    return jax.image.resize(trained, (*sides, trained.shape[-1]), "cubic", antialias=True)


def normalized(x: jax.Array, eps: float) -> jax.Array:
    """Each token to mean 0 and variance 1."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps)


def turning_angles(sides: tuple[int, int], size: int) -> np.ndarray:
    """`[rows * columns, size / 2]`: a quarter of a head's values turns with the row, a quarter with the column.

    Places are in (-1, 1) along each side whatever the number of patches; periods grow from 1 towards 100.
    """
    periods = TEMPERATURE ** (2 * np.arange(size // 4) / (size // 2))
    along = [2 * (np.arange(side) + 0.5) / side - 1 for side in sides]
    coordinates = np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, 2, 1)
    return (2 * np.pi * coordinates / periods).reshape(len(coordinates), -1)


def turned(x: jax.Array, angles: np.ndarray) -> jax.Array:
    """`[B, N, heads, size]`: value i and value i + size/2 of the last tokens turn together; the first ones stay."""
    first, rest = x[:, : x.shape[1] - len(angles)], x[:, x.shape[1] - len(angles) :]
    sine, cosine = (jnp.asarray(f(angles), x.dtype)[None, :, None] for f in (np.sin, np.cos))
    a, b = jnp.split(rest, 2, -1)
    return jnp.concatenate([first, jnp.concatenate([a * cosine - b * sine, b * cosine + a * sine], -1)], 1)


def _network(name: str) -> pretrained.Network:
    size = SIZES[name]

    def cell_centre(layer: int) -> tuple[float, float]:
        """A patch is a cell."""
        return (size.patch - 1) / 2, float(size.patch)

    layers = tuple(range(size.depth))
    return pretrained.network(name, layers, partial(Encoder, size), cell_centre, "imagenet", size.patch)


NETWORKS = {name: _network(name) for name in SIZES}
