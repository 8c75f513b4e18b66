"""Anomaly maps: where in a picture the anomaly is. The paper has none; these are what its networks support.

A method is a function `(Context) -> Maps`; a `Maps` takes `Pictures` and yields one map `[rows, columns]` per
picture, at the resolution that the network sees; larger = more anomalous. To add one, write such a function and
name it in `METHODS`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mocca_jax import evaluate, losses, models, normal_features, parallel, scores
from mocca_jax.data import Dataset, views
from mocca_jax.data.pictures import Pictures
from mocca_jax.models import layer_name
from mocca_jax.train import TrainState, distances, features_of

Maps = Callable[[Pictures], Iterator[np.ndarray]]

SMOOTHING = 4.0  # pixels, standard deviation
POOLED = 32  # fit images for statistics over all positions: thousands of positions each


@dataclass(frozen=True)
class Context:
    """A trained run: what every method starts from. `model` is the one that the last stage used."""

    model: models.AutoEncoder
    state: TrainState
    dataset: Dataset
    config: Any
    mesh: Any

    @property
    def variables(self) -> dict:
        return {"params": self.state.params, "batch_stats": self.state.batch_stats}


def features(context: Context) -> Maps:
    """How unusual the features are at each position, among all positions of the fit images.

    The Mahalanobis distance of the features to their mean, as in PaDiM (Defard et al. 2021), mean over the
    selected layers that are maps.
    """
    return _mahalanobis(context, own_mean=False, own_scale=False)


def positions(context: Context) -> Maps:
    """As `features`, each position compared with its own mean over the fit images: for parts that lie alike."""
    return _mahalanobis(context, own_mean=True, own_scale=False)


def scaled_positions(context: Context) -> Maps:
    """As `positions`, in units of the distance that is usual at each position: where edges vary most."""
    return _mahalanobis(context, own_mean=True, own_scale=True)


def gradient(context: Context) -> Maps:
    """How much each pixel moves the score: the gradient's magnitude, summed over colours."""

    def magnitude(state, raw):
        image = context.dataset.preprocess(raw, jax.random.wrap_key_data(state.rng))

        def total(image):
            return _unit_scores(context, state, image).sum()

        return jnp.abs(jax.grad(total)(image)).sum(-1)

    return _from_units(context, magnitude, context.dataset.patch, SMOOTHING)


def patches(context: Context) -> Maps:
    """The scores of patches at a stride of `map_stride` pixels, averaged where they overlap. Textures only."""
    side = context.dataset.patch

    def score(state, raw):
        image = context.dataset.preprocess(raw, jax.random.wrap_key_data(state.rng))
        return jnp.broadcast_to(_unit_scores(context, state, image)[:, None, None], raw.shape[:3])

    return _from_units(context, score, min(context.config.map_stride, side), SMOOTHING)


def reconstruction(context: Context) -> Maps:
    """The squared error of the reconstruction, summed over colours."""

    def error(state, raw):
        image = context.dataset.preprocess(raw, jax.random.wrap_key_data(state.rng))
        mask = jnp.ones(len(image))
        return jnp.square(context.model.apply(_variables(state), image, mask, False) - image).sum(-1)

    return _from_units(context, error, context.dataset.patch, SMOOTHING)


METHODS: dict[str, Callable[[Context], Maps]] = {
    "features": features,
    "positions": positions,
    "scaled_positions": scaled_positions,
    "gradient": gradient,
    "patches": patches,
    "reconstruction": reconstruction,
}


def check(config) -> None:
    """Raises ValueError where a method of `config.maps` is unknown or cannot work with the other settings."""
    for name in config.get("maps", ()):
        models.lookup(METHODS, name, "method in maps")
        if name == "patches" and not config.patch:
            raise ValueError("maps: 'patches' needs patches; this config scores whole images (patch = 0)")
        if name.endswith("positions") and config.patch:
            raise ValueError(f"maps: {name!r} compares places of whole images; this config cuts patches")
        if name == "reconstruction" and config.score != evaluate.RECONSTRUCTION:
            raise ValueError("maps: 'reconstruction' needs score = 'reconstruction', where the decoder is kept")


def map_layers(config) -> tuple[int, ...]:
    """The selected layers that are maps, or the deepest map below the selected ones."""
    found = models.network(config).MAPS
    chosen = tuple(j for j in found if j in config.layers)
    return chosen or (max(j for j in found if not config.layers or j <= max(config.layers)),)


def _variables(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _unit_scores(context: Context, state: TrainState, image: jax.Array) -> jax.Array:
    """The score `[B]` of each unit: Eq. 6, or the error of reconstruction."""
    config, mask = context.config, jnp.ones(len(image))
    if config.score == evaluate.RECONSTRUCTION:
        return losses.reconstruction_error(context.model.apply(_variables(state), image, mask, False), image)
    _, sown = context.model.apply(_variables(state), image, mask, False, method="encode", mutable=["features"])
    found = distances(features_of(sown), state.centroids)
    return scores.combine(scores.layer_scores(found, state.radii, boundary=config.boundary, norm=config.score_norm))


def _from_units(context: Context, values: Callable, stride: int, smoothing: float) -> Maps:
    """Maps put together from `values(state, raw [B, h, w, 3]) -> [B, h, w]` of whole pictures or their patches."""
    compiled, mesh, size = jax.jit(values), context.mesh, context.config.batch_size
    side = context.dataset.patch
    state = parallel.replicate(context.state, mesh)

    def maps(pictures: Pictures) -> Iterator[np.ndarray]:
        for index in range(0, len(pictures), 1 if side else size):
            chosen = np.arange(index, min(index + (1 if side else size), len(pictures)))
            raw = pictures.images[chosen]
            if not side:
                for row, found in zip(chosen, _in_batches(compiled, state, raw, size, mesh), strict=True):
                    rows, columns = pictures.sizes[row]
                    yield ndimage.gaussian_filter(found[:rows, :columns], smoothing)
                continue
            corners = views.patch_corners(pictures.sizes[chosen], side, stride)
            units = views.Patches(raw, corners, side)[np.arange(len(corners))]
            total = np.zeros(tuple(np.maximum(pictures.sizes[index], side)), np.float64)
            count = np.zeros_like(total)
            for (_, top, left), found in zip(corners, _in_batches(compiled, state, units, size, mesh), strict=True):
                place = np.s_[top : top + side, left : left + side]
                total[place] += found
                count[place] += 1
            yield ndimage.gaussian_filter((total / count).astype(np.float32), smoothing)

    return maps


def _in_batches(compiled: Callable, state: Any, raw: np.ndarray, size: int, mesh: Any) -> Iterator[np.ndarray]:
    """`compiled(state, batch)` over `raw`, one result per row."""
    padded = parallel.padded(size, mesh)
    for start in range(0, len(raw), size):
        part = raw[start : start + size]
        batch = np.zeros((padded, *raw.shape[1:]), raw.dtype)
        batch[: len(part)] = part
        yield from np.asarray(compiled(state, parallel.shard(batch, mesh)))[: len(part)]


def _mahalanobis(context: Context, own_mean: bool, own_scale: bool) -> Maps:
    config, dataset, mesh = context.config, context.dataset, context.mesh
    layers = map_layers(config)
    network = models.network(config)
    with_activations = models.build(config, dataset.image_shape, layers, head="activation")
    variables = parallel.replicate(context.variables, mesh)
    fitted = dataset.train.pictures
    size = _pictures_per_batch(fitted, context)
    used = len(fitted) if own_mean else min(len(fitted), POOLED)
    chosen = np.linspace(0, len(fitted) - 1, used).round().astype(int)

    @jax.jit
    def activations(variables, raw):
        image = dataset.preprocess(raw, jax.random.key(0))
        mask = jnp.ones(len(image))
        _, sown = with_activations.apply(variables, image, mask, False, method="encode", mutable=["features"])
        return features_of(sown)

    def passes() -> Iterator[dict[str, tuple[jax.Array, jax.Array]]]:
        for start in range(0, used, size):
            rows = chosen[start : start + size]
            raw = np.zeros((parallel.padded(size, mesh), *fitted.images.shape[1:]), fitted.images.dtype)
            raw[: len(rows)] = fitted.images[rows]
            batch = {}
            for layer, x in zip(layers, activations(variables, parallel.shard(raw, mesh)).values(), strict=True):
                real = _real_cells(fitted.sizes[rows], x.shape, *network.cell_centre(layer))
                batch[layer_name(layer)] = x, parallel.shard(real, mesh)
            yield batch

    normal = parallel.replicate(normal_features.fit(passes, own_mean, own_scale), mesh)

    @jax.jit
    def distance(variables, normal, raw):
        found = 0.0
        for layer, x in zip(layers, activations(variables, raw).values(), strict=True):
            d = normal_features.distance(x, normal[layer_name(layer)])
            up, across = (
                _interpolation(raw.shape[1 + axis], d.shape[1 + axis], *network.cell_centre(layer)) for axis in (0, 1)
            )
            found = found + up[None] @ d @ across.T[None]
        return found / len(layers)

    def maps(pictures: Pictures) -> Iterator[np.ndarray]:
        size = _pictures_per_batch(pictures, context)
        for start in range(0, len(pictures), size):
            rows = np.arange(start, min(start + size, len(pictures)))
            found = _in_batches(lambda v, raw: distance(v, normal, raw), variables, pictures.images[rows], size, mesh)
            for row, whole in zip(rows, found, strict=True):
                height, width = pictures.sizes[row]
                yield ndimage.gaussian_filter(whole[:height, :width], SMOOTHING)

    return maps


def _pictures_per_batch(pictures: Pictures, context: Context) -> int:
    """As many pictures as hold the pixels of one training batch, at least one."""
    height, width = context.dataset.image_shape[:2]
    return max(1, context.config.batch_size * height * width // math.prod(pictures.images.shape[1:3]))


def _interpolation(pixels: int, cells: int, first: float, step: float) -> np.ndarray:
    """`[pixels, cells]`: linear interpolation between cells centred at `first + i * step`, constant beyond the ends."""
    at = np.clip((np.arange(pixels) - first) / step, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)[None])).astype(np.float32)


def _real_cells(sizes: np.ndarray, shape: tuple[int, ...], first: float, step: float) -> np.ndarray:
    """`[B, h, w]`, 1 where a cell is centred in the real part of its picture; 0 for all cells of padding."""
    real = np.zeros(shape[:3], np.float32)
    for row, (height, width) in enumerate(sizes):
        real[row, : _cells_within(height, first, step), : _cells_within(width, first, step)] = 1
    return real


def _cells_within(pixels: int, first: float, step: float) -> int:
    return int((pixels - 1 - first) // step) + 1
