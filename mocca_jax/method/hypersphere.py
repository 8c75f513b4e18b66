"""The geometry of the method: squared distances, centroids, radii (paper, section III).

Features are `[B, D]`, one row per unit, or `[B, steps, places, D]` where a head keeps where in a clip they are; a
mask `[B]` is 1 for a real unit and 0 for padding. Distances are squared wherever they have the plain name.
Everything here is pure and knows no network and no data set.
"""

import jax
import jax.numpy as jnp


def squared_distance(features: jax.Array, centroid: jax.Array) -> jax.Array:
    """Squared Euclidean distance of each unit's feature to the centroid (tau_j of Eq. 6).

    Of `[B, steps, places, D]`: the largest over the places of a step, averaged over the steps; each step and place has
    a centroid of its own.

    Args:
        features: `[B, D]` or `[B, steps, places, D]`.
        centroid: the same without B, a constant of the training.

    Returns:
        `[B]`, at least 0; larger = more anomalous.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> squared_distance(jnp.array([[3.0, 4.0]]), jnp.zeros(2)).tolist()
        [25.0]
    """
    if features.ndim not in (2, 4) or centroid.shape != features.shape[1:]:
        raise ValueError(
            "expected features [B, D] or [B, steps, places, D] and a centroid of the same shape without B, "
            f"got {features.shape} and {centroid.shape}"
        )
    squared = jnp.square(features - centroid[None]).sum(axis=-1)
    return squared if features.ndim == 2 else squared.max(axis=-1).mean(axis=-1)


def push_from_zero(centroid: jax.Array, eps: float) -> jax.Array:
    """Moves coordinates in (-eps, eps) out to -eps or eps by their sign; an exact 0 stays.

    Differs from the paper: the published program does this (with 0.1) and the paper does not say so. A
    coordinate near zero is too easily matched by a network that outputs nothing. `eps=0` switches it off.

    Example:
        >>> push_from_zero(jnp.array([-0.03, 0.0, 0.5]), 0.1).tolist()
        [-0.10000000149011612, 0.0, 0.5]
    """
    return jnp.where(jnp.abs(centroid) < eps, eps * jnp.sign(centroid), centroid)


def radius_quantile(distances: jax.Array, mask: jax.Array, nu: float) -> jax.Array:
    """The radius R_j: the 1-nu quantile of the distances of the real units (paper, below Eq. 2).

    The quantile is taken over (un-squared) distances with linear interpolation, as numpy does.

    Args:
        distances: `[B]`, *squared*.
        mask: `[B]`.
        nu: allowed share of outliers, in (0, 1].

    Returns:
        A scalar, in the unit of the features.

    Example:
        >>> round(float(radius_quantile(jnp.array([0., 1., 4., 99.]), jnp.array([1., 1., 1., 0.]), 0.25)), 3)
        1.5
    """
    ordered = jnp.sort(jnp.where(mask > 0, jnp.sqrt(distances), jnp.inf))
    last = mask.sum(dtype=distances.dtype) - 1
    position = (1 - nu) * last
    below = jnp.floor(position).astype(jnp.int32)
    above = jnp.minimum(below + 1, last.astype(jnp.int32))
    fraction = position - below
    return ordered[below] * (1 - fraction) + ordered[above] * fraction
