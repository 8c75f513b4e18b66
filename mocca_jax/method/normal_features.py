"""What is normal for the features of a layer's map, and how far from it a feature is.

The distance is the Mahalanobis distance to a mean, as in PaDiM (Defard et al. 2021), with one covariance for all
positions: a tenth of a data set's images do not give one per position.
"""

from collections.abc import Callable, Iterable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.method import places

RIDGE = 0.01  # of the mean variance, added to the covariance
LEAST_USUAL = 0.1  # of the mean squared distance, added to what is usual at each position
LEAST_SQUARED = 0.01  # of what is usual: where all images are alike, less is rounding

Batch = dict[str, tuple[jax.Array, jax.Array]]


@flax.struct.dataclass
class Normal:
    """Of one layer: mean `[h, w, C]` or `[1, 1, C]`, whitening matrix `[C, C]`, usual squared distance `[h, w]`."""

    mean: jax.Array
    whiten: jax.Array
    usual: jax.Array


def fit(passes: Callable[[], Iterable[Batch]], own_mean: bool, own_scale: bool) -> dict[str, Normal]:
    """Statistics of every layer.

    Args:
        passes: gives, each time it is called, the batches of all images: `{layer: (x [B, h, w, C], real [B, h, w])}`,
            real = 1 where a cell counts.
        own_mean: a mean for each cell; else one for all.
        own_scale: a usual distance for each cell, from a second pass; else 1.

    Returns:
        `{layer: Normal}`.
    """
    moments, usual = jax.jit(_moments), jax.jit(_usual)
    about: dict[str, jax.Array] = {}  # values near the mean

    def of_moments(name: str, x: jax.Array, real: jax.Array) -> tuple[jax.Array, ...]:
        if name not in about:
            about[name] = x[0] if own_mean else x[0].mean((0, 1), keepdims=True)
        return moments(x, real, about[name])

    sums = _sums(of_moments, passes())
    normal = {name: _whitened(*parts, np.asarray(about[name], np.float64), own_mean) for name, parts in sums.items()}
    if not own_scale:
        return normal
    spread = _sums(lambda name, x, real: usual(x, real, normal[name]), passes())
    return {name: of.replace(usual=_floored(*spread[name])) for name, of in normal.items()}


def distance(x: jax.Array, normal: Normal) -> jax.Array:
    """`[B, h, w, C]` -> `[B, h, w]`, at least 0: 1 where the squared distance is what is usual at that place."""
    return jnp.sqrt(_squared(x, normal) / normal.usual[None])


def _squared(x: jax.Array, normal: Normal) -> jax.Array:
    return jnp.square((x - normal.mean[None]) @ normal.whiten).mean(-1)


def _sums(of: Callable, batches: Iterable[Batch]) -> dict[str, list[np.ndarray]]:
    """Sums over batches in float64 of the arrays that `of(layer, x, real)` returns."""
    sums: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        for name, (x, real) in batch.items():
            parts = [np.asarray(part, np.float64) for part in of(name, x, real)]
            sums[name] = parts if name not in sums else [a + b for a, b in zip(sums[name], parts, strict=True)]
    return sums


def _moments(x: jax.Array, real: jax.Array, about: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum per position `[h, w, C]`, count per position `[h, w]`, sum of products over all `[C, C]`.

    `about` `[h, w, C]` or `[1, 1, C]`, near the mean, is taken off first, so that nothing cancels.
    """
    kept = (x - about[None]) * real[..., None]
    flat = kept.reshape(-1, x.shape[-1])
    return kept.sum(0), real.sum(0), flat.T @ flat


def _usual(x: jax.Array, real: jax.Array, normal: Normal) -> tuple[jax.Array, jax.Array]:
    """Sum of squared distances and count per position, `[h, w]` each."""
    return (_squared(x, normal) * real).sum(0), real.sum(0)


def _whitened(total: np.ndarray, count: np.ndarray, products: np.ndarray, about: np.ndarray, own_mean: bool) -> Normal:
    if own_mean:
        mean = total / np.maximum(count, 1)[..., None]
        between = np.einsum("hwc,hwd->cd", mean * count[..., None], mean, optimize=True)
    else:
        mean = (total.sum((0, 1)) / count.sum())[None, None]
        between = count.sum() * np.outer(mean, mean)
    covariance = (products - between) / count.sum()
    channels = len(covariance)
    mean += about
    covariance += max(RIDGE * np.trace(covariance) / channels, places.least_variance(mean)) * np.eye(channels)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    return Normal(_floats(mean), _floats(whiten), jnp.ones((1, 1)))


def _floored(total: np.ndarray, count: np.ndarray) -> jax.Array:
    seen = count > 0
    usual = np.where(seen, total / np.maximum(count, 1), 1.0)
    return _floats(np.maximum(usual + LEAST_USUAL * usual[seen].mean(), LEAST_SQUARED))


def _floats(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x, jnp.result_type(float))
