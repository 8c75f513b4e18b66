"""Losses, one number per example; the caller averages (paper, Eqs. 2-4).

A one-class loss takes `distances {layer: [B]}` (squared), `radii {layer: []}` (un-squared) and `nu`, and
returns `[B]`. The mean over a batch of what it returns is the paper's loss; radii and centroids are constants
for the gradient. To add one, write such a function and name it in `LOSSES`: it is then a value of `config.boundary`.
Radii follow the distances' quantile, and are subtracted from the score, for every boundary but "hard".
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Layers = dict[str, jax.Array]


def soft_boundary(distances: Layers, radii: Layers, *, nu: float) -> jax.Array:
    """The soft-boundary loss, Eq. 2, averaged over the layers as in Eq. 4.

    The weight decay term of Eq. 4 is the optimiser's.

    Args:
        distances: squared distances to the centroids, `[B]` per layer.
        radii: one scalar per layer.
        nu: allowed share of outliers, in (0, 1].

    Returns:
        `[B]`: the mean over layers of `R^2 + max(0, d - R^2) / nu`.

    Raises:
        ValueError: nu is not in (0, 1], or the layers of the two arguments differ.

    Example:
        >>> soft_boundary({"layer0": jnp.array([3.0, 5.0])}, {"layer0": jnp.array(2.0)}, nu=0.5).tolist()
        [4.0, 6.0]
    """
    if not 0 < nu <= 1:
        raise ValueError(f"the soft boundary needs nu in (0, 1], got {nu}")
    if distances.keys() != radii.keys():
        raise ValueError(f"distances have layers {sorted(distances)}, radii {sorted(radii)}")
    squared = {layer: jnp.square(radius) for layer, radius in radii.items()}
    return _mean_over_layers(
        [squared[layer] + jnp.maximum(0, d - squared[layer]) / nu for layer, d in distances.items()]
    )


def hard_boundary(distances: Layers, radii: Layers, *, nu: float) -> jax.Array:
    """The hard-boundary loss, Eq. 3, averaged over the layers as in Eq. 4; radii are not used.

    `nu=0` leaves the factor 1/nu out; so does the published program (`nu=1`).

    Returns:
        `[B]`: the mean over layers of `d / nu`.

    Example:
        >>> hard_boundary({"layer0": jnp.array([3.0]), "layer1": jnp.array([1.0])}, {}, nu=0.5).tolist()
        [4.0]
    """
    del radii
    if not 0 <= nu <= 1:
        raise ValueError(f"the hard boundary needs nu in [0, 1], got {nu}")
    return _mean_over_layers(list(distances.values())) / (nu or 1)


def reconstruction_error(reconstruction: jax.Array, image: jax.Array) -> jax.Array:
    """Squared error summed over all values of an image: `[B, ...]` twice -> `[B]`.

    Raises:
        ValueError: the shapes differ.
    """
    if reconstruction.shape != image.shape:
        raise ValueError(f"reconstruction {reconstruction.shape} and image {image.shape} differ in shape")
    return jnp.square(reconstruction - image).sum(axis=tuple(range(1, image.ndim)))


def _mean_over_layers(per_layer: list[jax.Array]) -> jax.Array:
    if not per_layer:
        raise ValueError("a one-class loss needs at least one layer")
    return sum(per_layer) / len(per_layer)


LOSSES: dict[str, Callable[..., jax.Array]] = {"soft": soft_boundary, "hard": hard_boundary}
