"""Scores from statistics of movement by place (`method/motion.py`), of cells of optical flow; nothing is trained."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mocca_jax import models
from mocca_jax.data import flow
from mocca_jax.method import motion

SCORE = "motion"  # the name of the score, and of what turns units into frames
Scale = Mapping[str, tuple[float, float]]


def is_used(config: Mapping[str, Any]) -> bool:
    """Whether a config scores by movement."""
    return config["score"] == SCORE


def called(part: str) -> str:
    """What a part of the score is called where people read it.

    Example:
        >>> called("layer1"), called("slow")
        ('cells of 16 pixels', 'slower than usual')
    """
    if part == motion.SLOW:
        return "slower than usual"
    number = part.removeprefix("layer")
    return f"cells of {flow.CELL * 2 ** int(number)} pixels" if number.isdecimal() else part


def network(config, shape: tuple[int, ...]) -> models.AutoEncoder:
    """The cells at all sizes that are looked at."""
    return models.build(config, shape, tuple(config.layers), head="activation")


def unit_scores(known: motion.Motion, features: Mapping[str, jax.Array], image: jax.Array) -> dict[str, jax.Array]:
    """Of cells `[B, rows, columns, 3]` and what the encoder has sown: `motion.of_frames`' units."""
    found = {name: motion.distances(known.layers[name], x).max((1, 2)) for name, x in features.items()}
    return found | motion.speed_sums(image)


def maps(known: motion.Motion, features: Mapping[str, jax.Array], scale: Scale) -> jax.Array:
    """`[B, rows, columns]`: each place's largest distance of all layers, in deviations from the usual largest."""
    standard = [
        (motion.distances(known.layers[name], x) - scale[name][0]) / scale[name][1] for name, x in features.items()
    ]
    return jax.numpy.stack(standard).max(0)


def combined(parts: Mapping[str, np.ndarray], scale: Scale) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The score `[S]`, and its parts in deviations from the usual; without `motion.SLOW` in `scale`, it is not one."""
    standard = motion.standardized(parts, scale)
    return motion.combined(standard, motion.SLOW in scale), standard
