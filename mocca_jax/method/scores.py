"""Anomaly scores from distances (paper, Eq. 6). Larger = more anomalous.

`distances {layer: [B]}` are squared, `radii {layer: []}` un-squared. `AGGREGATES` names the functions that
turn the scores of units (what the network sees) into scores of samples (what is reported).
"""

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.method import frames

Layers = dict[str, jax.Array]


def layer_scores(distances: Layers, radii: Layers, *, boundary: str, norm: str = "squared") -> Layers:
    """Each layer's term of Eq. 6.

    Soft and hard scores rank alike: the radius shifts all scores of a layer by one constant.

    Args:
        distances: squared distances, `[B]` per layer.
        radii: one scalar per layer; not used with the hard boundary.
        boundary: `"hard"` subtracts nothing, every other the radius.
        norm: `"squared"` is Eq. 6. `"l2"` takes distance and radius un-squared, as the published program does
            for MVTec AD; with several layers this changes the ranking.

    Returns:
        `[B]` per layer.

    Raises:
        ValueError: an unknown norm.

    Example:
        >>> layer_scores({"layer0": jnp.array([9.0])}, {"layer0": jnp.array(2.0)}, boundary="soft")
        {'layer0': Array([5.], dtype=float32)}
    """
    if norm not in ("squared", "l2"):
        raise ValueError(f"unknown score norm {norm!r}; known: 'squared', 'l2'")
    scores = {}
    for layer, squared in distances.items():
        radius = 0.0 if boundary == "hard" else radii[layer]
        scores[layer] = squared - radius**2 if norm == "squared" else jnp.sqrt(squared) - radius
    return scores


def combine(scores: Layers) -> jax.Array:
    """The anomaly score gamma of Eq. 6: the mean of the layers' scores, `[B]`."""
    return sum(scores.values()) / len(scores)


def identity(unit_scores: np.ndarray, sample_of_unit: np.ndarray | None) -> np.ndarray:
    """A unit is a sample: `[S]` -> `[S]`."""
    del sample_of_unit
    return unit_scores


def largest(unit_scores: np.ndarray, sample_of_unit: np.ndarray) -> np.ndarray:
    """The largest score of a sample's units (Eq. 7: an image and its patches).

    Args:
        unit_scores: `[U]`.
        sample_of_unit: `[U]`, the sample of each unit, 0 to S-1, each with at least one unit.

    Returns:
        `[S]`.

    Example:
        >>> largest(np.array([1.0, 5.0, 2.0]), np.array([0, 0, 1])).tolist()
        [5.0, 2.0]
    """
    found = np.full(sample_of_unit.max() + 1, -np.inf, unit_scores.dtype)
    np.maximum.at(found, sample_of_unit, unit_scores)
    return found


AGGREGATES = {"identity": identity, "max": largest, "frames": frames.mean_over_clips}
