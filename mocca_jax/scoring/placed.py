"""Scores and maps from statistics of features by place (`method/places.py`), on an encoder that nothing was trained on.

Features of several layers are joined on two grids: `coarse`, cells of `config.cell` pixels, all of `config.layers`;
`fine`, cells half as large, `config.fine_layers`. Each grid gives two distances, so there are four maps, each in
deviations from what is usual at its place; the run's weights make one map of them, and its largest value is the score.
"""

import functools
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mocca_jax import models
from mocca_jax.config import setting
from mocca_jax.method import places, resampling
from mocca_jax.method.blas import one_thread
from mocca_jax.models import layer_name

SCORE = "statistics"  # the name of the score, and of the map
GRIDS = ("coarse", "fine")
KINDS = ("place", "near")
PARTS = tuple(f"{grid}_{kind}" for grid in GRIDS for kind in KINDS)
# What a run may choose: the parts that are added. `FIRST` is taken unless another is better by `MARGIN`.
CANDIDATES: dict[str, tuple[str, ...]] = {
    "coarse_and_fine_near": ("coarse_place", "coarse_near", "fine_near"),
    "all": PARTS,
    "fine": ("fine_place", "fine_near"),
    "place": ("coarse_place", "fine_place"),
}
FIRST, FIRST_OF_FEW = "coarse_and_fine_near", "place"  # of many normal pictures; of few
MARGIN = 0.02  # of AUC on made-up defects

Maps = dict[str, jax.Array]  # by part, `[B, rows, columns]` of the fine grid


@flax.struct.dataclass
class Placed:
    """What a run knows of its normal pictures: by grid, the mean colour, whether all are grey, each part's weight."""

    grids: dict[str, places.Statistics]
    colour: jax.Array  # [C]
    grey: jax.Array  # 1 or 0
    weights: dict[str, jax.Array]  # 1 or 0


@flax.struct.dataclass
class Judged:
    """Of B pictures: `scores {name: [B]}`, by grid `features`, and the run's `map [B, rows, columns]` (fine grid)."""

    scores: dict[str, jax.Array]
    map: jax.Array
    features: dict[str, jax.Array]


def is_used(config) -> bool:
    """Whether a config scores by statistics."""
    return config.score == SCORE


def layers(config) -> tuple[int, ...]:
    """The encoder's layers that are looked at."""
    return tuple(sorted({*config.layers, *setting(config, "fine_layers")}))


def layers_of(config, grid: str) -> tuple[int, ...]:
    """Those that a grid's features are joined of, in this order."""
    return tuple(sorted(config.layers if grid == "coarse" else setting(config, "fine_layers")))


def network(config, shape: tuple[int, ...]) -> models.AutoEncoder:
    """The encoder, which sows whole maps."""
    return models.build(config, shape, layers(config), head="activation")


def sides(config, shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Rows and columns of each grid, for images of this shape."""
    coarse = tuple(max(1, round(side / setting(config, "cell"))) for side in shape[:2])
    return {"coarse": coarse, "fine": tuple(2 * side for side in coarse)}


def relit(raw: jax.Array, colour: jax.Array, grey: jax.Array) -> jax.Array:
    """Pictures `[B, H, W, C]` as under the lamp of the normal ones: each channel's mean is brought to `colour`'s.

    A lamp's brightness and colour are gone, but for what it had saturated; so is a picture's mean colour. Where the
    normal pictures are grey, the channels are then averaged.
    """
    raw = raw.astype(jnp.float32)
    return greyed(raw * (colour[None, None, None] / jnp.maximum(raw.mean((1, 2), keepdims=True), 1.0)), grey)


def greyed(raw: jax.Array, grey: jax.Array) -> jax.Array:
    """The channels `[B, H, W, C]` averaged where `grey` is 1."""
    return raw + grey * (raw.mean(-1, keepdims=True) - raw)


def joined(config, features: Mapping[str, jax.Array], shape: tuple[int, ...]) -> dict[str, jax.Array]:
    """The layers' maps `{layer: [B, h, w, C]}` brought to each grid and joined: `{grid: [B, P, D]}`."""
    found = {}
    for grid, (rows, columns) in sides(config, shape).items():
        parts = []
        for layer in layers_of(config, grid):
            x = features[layer_name(layer)]
            down, across = resampling.means(rows, x.shape[1]), resampling.means(columns, x.shape[2])
            parts.append(jnp.einsum("ai,nijc,bj->nabc", down, x, across))
        whole = jnp.concatenate(parts, -1)
        found[grid] = whole.reshape(whole.shape[0], rows * columns, -1)
    return found


def distances(
    config,
    grids: Mapping[str, places.Statistics],
    x: Mapping[str, jax.Array],
    shape: tuple[int, ...],
    own: jax.Array | None = None,
    base: Mapping[str, jax.Array] | None = None,
) -> dict[str, jax.Array]:
    """`{part: [B, P]}` of joined features; `own`, `base` as for `places.distances`."""
    found = {}
    for grid, statistics in grids.items():
        size, of_grid = sides(config, shape)[grid], None if base is None else base[grid]
        for kind, values in places.distances(statistics, x[grid], size, own, of_grid).items():
            found[f"{grid}_{kind}"] = values
    return found


def maps(config, grids: Mapping[str, places.Statistics], away: Mapping[str, jax.Array], shape: tuple[int, ...]) -> Maps:
    """Each part's map of distances `{part: [B, P]}`, in deviations from the usual."""
    found, sizes = {}, sides(config, shape)
    for grid, statistics in grids.items():
        standard = places.standardized(statistics, {kind: away[f"{grid}_{kind}"] for kind in KINDS})
        for kind, values in standard.items():
            found[f"{grid}_{kind}"] = on_fine_grid(values, sizes[grid], sizes["fine"])
    return found


def on_fine_grid(values: jax.Array, size: tuple[int, int], fine: tuple[int, int]) -> jax.Array:
    """`[B, P]` on a grid of this size -> `[B, rows, columns]` of the fine one."""
    values = values.reshape(values.shape[0], *size)
    if size == fine:
        return values
    down, across = (resampling.linear(*pair) for pair in zip(fine, size, strict=True))
    return jnp.einsum("ai,nij,bj->nab", down, values, across)


def combined(found: Maps, weights: Mapping[str, jax.Array]) -> jax.Array:
    """The parts that count, added: `[B, rows, columns]`."""
    return sum(weights[part] * values for part, values in found.items())


def of_features(config, known: Placed, features: Mapping[str, jax.Array], shape: tuple[int, ...]) -> Maps:
    """Each part's map of pictures, and with it the run's own, `statistics`, from what the encoder has sown."""
    return _of_joined(config, known, joined(config, features, shape), shape)


def judged(config, known: Placed, features: Mapping[str, jax.Array], shape: tuple[int, ...]) -> Judged:
    """All that is known of pictures from what the encoder has sown."""
    x = joined(config, features, shape)
    found = _of_joined(config, known, x, shape)
    return Judged(unit_scores(found), found[SCORE], x)


def _of_joined(config, known: Placed, x: Mapping[str, jax.Array], shape: tuple[int, ...]) -> Maps:
    found = maps(config, known.grids, distances(config, known.grids, x, shape), shape)
    return found | {SCORE: combined(found, known.weights)}


def unit_scores(found: Maps) -> dict[str, jax.Array]:
    """`{name: [B]}`: the largest value of each map."""
    return {name: values.max((1, 2)) for name, values in found.items()}


def enlarged(found: jax.Array, rows: int, columns: int) -> jax.Array:
    """A map `[B, r, c]` at the size of pictures."""
    down, across = resampling.linear(rows, found.shape[1]), resampling.linear(columns, found.shape[2])
    return jnp.einsum("ai,nij,bj->nab", down, found, across)


def drawn(found: np.ndarray, rows: int, columns: int, smoothing: float) -> np.ndarray:
    """Maps `[..., r, c]` as `enlarged`, and smoothed by a Gaussian of so many pixels, mirrored at the edges."""
    down, across = (_drawing(*sides, smoothing) for sides in zip((rows, columns), found.shape[-2:], strict=True))
    with one_thread():
        return down @ found @ across.T


@functools.lru_cache(maxsize=16)
def _drawing(cells: int, size: int, smoothing: float) -> np.ndarray:
    """`[cells, size]`: what `drawn` does along one axis."""
    smooth = ndimage.gaussian_filter1d(np.eye(cells), smoothing, axis=0)
    return (smooth @ resampling.linear(cells, size)).astype(np.float32)
