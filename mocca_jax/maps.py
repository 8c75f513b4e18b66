"""Anomaly maps: where in a picture the anomaly is. The paper has none; these are what its networks support.

A method is a function `(Context) -> Maps`; a `Maps` takes `Pictures` and yields one map `[rows, columns]` per
picture, at the resolution that the network sees; larger = more anomalous. To add one, write such a function and
name it in `METHODS`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mocca_jax import evaluate, losses, models, parallel, scores
from mocca_jax.data import Dataset, views
from mocca_jax.data.pictures import Pictures
from mocca_jax.models import layer_name
from mocca_jax.train import TrainState, distances, features_of

Maps = Callable[[Pictures], Iterator[np.ndarray]]

SMOOTHING = 4.0  # pixels, standard deviation
RIDGE = 0.01  # of the mean variance, added to the covariance of features


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
    return _mahalanobis(context, per_position=False)


def positions(context: Context) -> Maps:
    """As `features`, each position compared with its own mean over the fit images: for parts that lie alike."""
    return _mahalanobis(context, per_position=True)


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
        if name == "positions" and config.patch:
            raise ValueError("maps: 'positions' compares places of whole images; this config cuts patches")
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


@flax.struct.dataclass
class _Normal:
    """The fit images' features at one layer: mean `[h, w, C]` or `[1, 1, C]`, and a whitening matrix `[C, C]`."""

    mean: np.ndarray
    whiten: np.ndarray


def _mahalanobis(context: Context, per_position: bool) -> Maps:
    config, dataset, mesh = context.config, context.dataset, context.mesh
    layers = map_layers(config)
    network = models.network(config)
    with_activations = models.build(config, dataset.image_shape, layers, head="activation")
    variables = parallel.replicate(context.variables, mesh)

    def activations(variables, raw):
        image = dataset.preprocess(raw, jax.random.key(0))
        mask = jnp.ones(len(image))
        _, sown = with_activations.apply(variables, image, mask, False, method="encode", mutable=["features"])
        return features_of(sown)

    normal = _normal_features(jax.jit(activations), variables, dataset.train.pictures, network, context, per_position)

    @jax.jit
    def distance(variables, normal, raw):
        found = 0.0
        for layer, x in zip(layers, activations(variables, raw).values(), strict=True):
            of = normal[layer_name(layer)]
            d = jnp.square((x - of.mean[None]) @ of.whiten).mean(-1)
            up, across = (
                _interpolation(raw.shape[1 + axis], d.shape[1 + axis], *network.cell_centre(layer)) for axis in (0, 1)
            )
            found = found + up[None] @ d @ across.T[None]
        return found / len(layers)

    placed = parallel.replicate(normal, mesh)

    def maps(pictures: Pictures) -> Iterator[np.ndarray]:
        size = _pictures_per_batch(pictures, context)
        for start in range(0, len(pictures), size):
            rows = np.arange(start, min(start + size, len(pictures)))
            found = _in_batches(lambda v, raw: distance(v, placed, raw), variables, pictures.images[rows], size, mesh)
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


def _normal_features(activations, variables, pictures: Pictures, network, context: Context, per_position: bool) -> dict:
    """`{layer: _Normal}` from all real positions of the fit images."""
    sums: dict[str, list] = {}
    size = _pictures_per_batch(pictures, context)
    moments = jax.jit(_moments)
    for start in range(0, len(pictures), size):
        rows = np.arange(start, min(start + size, len(pictures)))
        found = activations(variables, parallel.shard(_padded(pictures.images[rows], size, context.mesh), context.mesh))
        for name, x in found.items():
            centre = network.cell_centre(int(name.removeprefix(layer_name(""))))
            real = _real_cells(pictures.sizes[rows], x.shape, *centre)
            parts = [np.asarray(part, np.float64) for part in moments(x, parallel.shard(real, context.mesh))]
            old = sums.get(name)
            sums[name] = parts if old is None else [a + b for a, b in zip(old, parts, strict=True)]
    return {name: _whitened(*parts, per_position) for name, parts in sums.items()}


def _padded(raw: np.ndarray, size: int, mesh: Any) -> np.ndarray:
    batch = np.zeros((parallel.padded(size, mesh), *raw.shape[1:]), raw.dtype)
    batch[: len(raw)] = raw
    return batch


def _real_cells(sizes: np.ndarray, shape: tuple[int, ...], first: float, step: float) -> np.ndarray:
    """`[B, h, w]`, 1 where a cell is centred in the real part of its picture; 0 for all cells of padding."""
    real = np.zeros(shape[:3], np.float32)
    for row, (height, width) in enumerate(sizes):
        real[row, : _cells_within(height, first, step), : _cells_within(width, first, step)] = 1
    return real


def _cells_within(pixels: int, first: float, step: float) -> int:
    return int((pixels - 1 - first) // step) + 1


def _moments(x: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum per position `[h, w, C]`, count per position `[h, w]`, sum of products over all `[C, C]`."""
    kept = x * real[..., None]
    flat = kept.reshape(-1, x.shape[-1])
    return kept.sum(0), real.sum(0), flat.T @ flat


def _whitened(total: np.ndarray, count: np.ndarray, products: np.ndarray, per_position: bool) -> _Normal:
    if per_position:
        mean = total / np.maximum(count, 1)[..., None]
        between = np.einsum("hwc,hwd->cd", mean * count[..., None], mean, optimize=True)
    else:
        mean = (total.sum((0, 1)) / count.sum())[None, None]
        between = count.sum() * np.outer(mean, mean)
    covariance = (products - between) / count.sum()
    channels = len(covariance)
    covariance += RIDGE * np.trace(covariance) / channels * np.eye(channels)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    return _Normal(mean.astype(np.float32), whiten.astype(np.float32))
