"""Anomaly maps: where in a picture the anomaly is. The paper has none; these are what its networks support.

A method is a pure function `(context, raw [B, h, w, C], state, statistics) -> [B, h, w]` of pictures or, except
`features`, their patches, whose maps are averaged where they overlap; larger = more anomalous. `statistics` is what
`fit` gathers from the normal pictures once, stored with the model; empty for most. To add a method, write such a
function and name it in `METHODS`, and in `FITS` what it needs to know of normal pictures.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mocca_jax import console, models
from mocca_jax.data import batching, views
from mocca_jax.data.inputs import Inputs, mirrored
from mocca_jax.data.pictures import Pictures
from mocca_jax.method import normal_features
from mocca_jax.models import layer_name
from mocca_jax.scoring import evaluate, placed, shared
from mocca_jax.training import parallel, stages
from mocca_jax.training.stages import Stage
from mocca_jax.training.step import TrainState, features_of

Maps = Callable[..., Iterator[np.ndarray]]  # of `Pictures` and, where it is not the context's, a `TrainState`
Statistics = dict[str, normal_features.Normal]  # by layer

SMOOTHING = 4.0  # pixels, standard deviation
POOLED = 32  # fit images for statistics over all positions: thousands of positions each


@dataclass(frozen=True)
class Context:
    """A trained model: what every method starts from. `model` is the one that the last stage used."""

    model: models.AutoEncoder
    state: TrainState
    inputs: Inputs
    config: Any
    mesh: Any

    @property
    def stage(self) -> Stage:
        """The last one, which the model comes from."""
        return stages.last(self.config)


def features(context: Context, raw: jax.Array, state: TrainState, statistics: Statistics) -> jax.Array:
    """How unusual the features are at each position, among all positions of the fit images.

    The Mahalanobis distance of the features to their mean, as in PaDiM (Defard et al. 2021), mean over the
    selected layers that are maps. `positions` compares each position with its own mean: for parts that lie alike;
    `scaled_positions` does so in units of the distance that is usual at each position: where edges vary most.
    """
    layers, network = map_layers(context.config), models.network(context.config)
    found = 0.0
    activations = _activations(context, _variables(state), raw)
    for layer in layers:
        d = normal_features.distance(activations[layer_name(layer)], statistics[layer_name(layer)])
        up, across = (
            _interpolation(raw.shape[1 + axis], d.shape[1 + axis], *network.cell_centre(layer)) for axis in (0, 1)
        )
        found = found + up[None] @ d @ across.T[None]
    return found / len(layers)


def gradient(context: Context, raw: jax.Array, state: TrainState, statistics: Statistics) -> jax.Array:
    """How much each pixel moves the score: the gradient's magnitude, summed over colours."""
    image = context.inputs.preprocess(raw)
    return jnp.abs(jax.grad(lambda image: _unit_scores(context, state, image).sum())(image)).sum(-1)


def patches(context: Context, raw: jax.Array, state: TrainState, statistics: Statistics) -> jax.Array:
    """The scores of patches at a stride of `map_stride` pixels, averaged where they overlap. Textures only."""
    found = _unit_scores(context, state, context.inputs.preprocess(raw))
    return jnp.broadcast_to(found[:, None, None], raw.shape[:3])


def reconstruction(context: Context, raw: jax.Array, state: TrainState, statistics: Statistics) -> jax.Array:
    """The squared error of the reconstruction, summed over colours."""
    image = context.inputs.preprocess(raw)
    made = context.model.apply(_variables(state), image, jnp.ones(image.shape[0]), False)
    return jnp.square(made - image).sum(-1)


def statistics(context: Context, raw: jax.Array, state: TrainState, statistics: Statistics) -> jax.Array:
    """The map whose largest value is the score, where a run scores by statistics of features by place."""
    image = context.inputs.preprocess(evaluate.seen(state, raw))
    mask = jnp.ones(raw.shape[0])
    _, sown = context.model.apply(_variables(state), image, mask, False, method="encode", mutable=["features"])
    found = placed.of_features(context.config, state.statistics, features_of(sown), image.shape[1:])
    return placed.enlarged(found[placed.SCORE], *raw.shape[1:3])


METHODS: dict[str, Callable[..., jax.Array]] = {
    "features": features,
    "positions": features,
    "scaled_positions": features,
    "gradient": gradient,
    "patches": patches,
    "reconstruction": reconstruction,
    placed.SCORE: statistics,
}


def check(config) -> None:
    """Raises ValueError where a method of `config.maps` is unknown or cannot work with the other settings."""
    for name in config.get("maps", ()):
        models.lookup(METHODS, name, "method in maps")
        if name == "patches" and not config.patch:
            raise ValueError("maps: 'patches' needs patches; this config scores whole images (patch = 0)")
        if name.endswith("positions") and config.patch:
            raise ValueError(f"maps: {name!r} compares places of whole images; this config cuts patches")
        if (name == placed.SCORE) != placed.is_used(config):
            raise ValueError(f"maps: {placed.SCORE!r} goes with score = {placed.SCORE!r}, and no other map does")
        if name == "reconstruction" and config.score != evaluate.RECONSTRUCTION:
            raise ValueError("maps: 'reconstruction' needs score = 'reconstruction', where the decoder is kept")


def fit(name: str, context: Context, fitted: Pictures) -> Statistics:
    """What the method `name` needs to know of the normal pictures `fitted`."""
    return FITS[name](context, fitted) if name in FITS else {}


def make(name: str, context: Context, statistics: Statistics) -> Maps:
    """The maps of a method: takes `Pictures`, yields one map `[rows, columns]` each, as large as the network's view."""
    mesh = context.mesh

    def held_by(state: TrainState) -> Any:
        return parallel.replicate((state.replace(opt_state=()), statistics), mesh)

    own = held_by(context.state)
    bare = replace(context, state=None, mesh=None)  # what a program may hold on to
    compiled = shared.program(
        lambda: jax.jit(lambda held, raw: METHODS[name](bare, raw, *held)),
        *("map", METHODS[name], _unit_scores, bare.model, bare.inputs, bare.config),
    )
    of_patches = context.inputs.patch and name not in FITS
    side, stride = context.inputs.patch, patch_stride(name, context)

    def maps(pictures: Pictures, state: TrainState | None = None) -> Iterator[np.ndarray]:
        held = own if state is None else held_by(state)
        size = _pictures_per_batch(pictures, context)
        for start in range(0, len(pictures), 1 if of_patches else size):
            rows = np.arange(start, min(start + (1 if of_patches else size), len(pictures)))
            raw = pictures.images[rows]
            if not of_patches:
                chosen = pictures.sizes[rows]
                whole: dict[int, np.ndarray] = {}
                for members, batch in _by_canvas(raw, chosen, context.inputs):
                    whole |= zip(members.tolist(), _in_batches(compiled, held, batch, size, mesh), strict=True)
                for index, (height, width) in enumerate(chosen):
                    yield smoothed(whole[index][:height, :width])
                continue
            corners = views.patch_corners(pictures.sizes[rows], side, stride)
            units = views.Patches(raw, corners, side)[np.arange(len(corners))]
            total = np.zeros(tuple(np.maximum(pictures.sizes[start], side)), np.float64)
            count = np.zeros_like(total)
            batch = context.config.batch_size
            for (_, top, left), found in zip(corners, _in_batches(compiled, held, units, batch, mesh), strict=True):
                place = np.s_[top : top + side, left : left + side]
                total[place] += found
                count[place] += 1
            yield smoothed((total / count).astype(found.dtype))

    return maps


def canvas(sizes: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Rows and columns `[..., 2]` that the network sees of pictures of these sizes: few, and each picture's own.

    What lies beyond the picture is its mirror image, whatever other pictures there are.
    """
    return -(-sizes // inputs.patch) * inputs.patch if inputs.fit == "canvas" else sizes


def _by_canvas(raw: np.ndarray, sizes: np.ndarray, inputs: Inputs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which of the pictures have a canvas of one size, and these pictures on it."""
    wanted = canvas(sizes, inputs)
    for sides in np.unique(wanted, axis=0):
        members = np.flatnonzero((wanted == sides).all(1))
        own = zip(raw[members], sizes[members], strict=True)
        yield members, np.stack([mirrored(pixels[:height, :width], sides) for pixels, (height, width) in own])


def patch_stride(name: str, context: Context) -> int:
    """Pixels between the patches that a map is put together from."""
    side = context.inputs.patch
    return min(context.config.map_stride, side) if name == "patches" else side


def smoothed(values: np.ndarray) -> np.ndarray:
    """A map `[rows, columns]`, Gaussian of `SMOOTHING` pixels, mirrored at the edges."""
    return ndimage.gaussian_filter(values, SMOOTHING)


def map_layers(config) -> tuple[int, ...]:
    """The selected layers that are maps, or the deepest map below the selected ones."""
    found = models.network(config).MAPS
    chosen = tuple(j for j in found if j in config.layers)
    return chosen or (max(j for j in found if not config.layers or j <= max(config.layers)),)


def _variables(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _unit_scores(context: Context, state: TrainState, image: jax.Array) -> jax.Array:
    """The score `[B]` of each unit: Eq. 6, or the error of reconstruction."""
    parts = evaluate.unit_scores(context.model, context.stage, context.config, state, image, jnp.ones(image.shape[0]))
    return parts[evaluate.RECONSTRUCTION if context.config.score == evaluate.RECONSTRUCTION else evaluate.ONE_CLASS]


def _in_batches(compiled: Callable, state: Any, raw: np.ndarray, size: int, mesh: Any) -> Iterator[np.ndarray]:
    """`compiled(state, batch)` over `raw`, one result per row."""
    for start in range(0, len(raw), size):
        part = raw[start : start + size]
        batch = batching.filled(part, parallel.bucket(len(part), size, mesh))
        yield from np.asarray(compiled(state, parallel.shard(batch, mesh)))[: len(part)]


def _activations(context: Context, variables: dict, raw: jax.Array) -> dict[str, jax.Array]:
    """`{layer: [B, h, w, C]}` of the layers that maps are made of."""
    model = models.build(context.config, context.inputs.shape, map_layers(context.config), head="activation")
    image, mask = context.inputs.preprocess(raw), jnp.ones(raw.shape[0])
    _, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
    return features_of(sown)


def _fit(context: Context, fitted: Pictures, own_mean: bool, own_scale: bool) -> Statistics:
    layers, mesh, network = map_layers(context.config), context.mesh, models.network(context.config)
    variables = parallel.replicate(_variables(context.state), mesh)
    activations = jax.jit(partial(_activations, context))
    size = _pictures_per_batch(fitted, context)
    used = len(fitted) if own_mean else min(len(fitted), POOLED)
    chosen = np.linspace(0, len(fitted) - 1, used).round().astype(int)

    def passes() -> Iterator[dict[str, tuple[jax.Array, jax.Array]]]:
        starts = range(0, used, size)
        for start in console.steps(starts, "maps: what is normal", len(starts), "batches"):
            rows = chosen[start : start + size]
            raw = batching.filled(fitted.images[rows], parallel.padded(size, mesh))
            batch = {}
            found = activations(variables, parallel.shard(raw, mesh))
            for layer in layers:
                x = found[layer_name(layer)]
                real = _real_cells(fitted.sizes[rows], x.shape, *network.cell_centre(layer))
                batch[layer_name(layer)] = x, parallel.shard(real, mesh)
            yield batch

    return jax.device_get(normal_features.fit(passes, own_mean, own_scale))


FITS: dict[str, Callable[[Context, Pictures], Statistics]] = {
    "features": partial(_fit, own_mean=False, own_scale=False),
    "positions": partial(_fit, own_mean=True, own_scale=False),
    "scaled_positions": partial(_fit, own_mean=True, own_scale=True),
}


def at_once(pictures: Pictures, context: Context, least: int) -> int:
    """How many make whole batches, at least `least` where there are as many: sizes that are compiled already."""
    size = _pictures_per_batch(pictures, context)
    return min(len(pictures), size * -(-least // size))


def _pictures_per_batch(pictures: Pictures, context: Context) -> int:
    """As many pictures as hold the pixels of one training batch, at least one."""
    height, width = context.inputs.shape[:2]
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
    return max(int((pixels - 1 - first) // step) + 1, 1)
