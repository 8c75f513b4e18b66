"""How unusual a feature is where all places share one set of statistics: the distances of `places.py` without places.

For textures, and for the tiles of large pictures: what lies anywhere may lie everywhere. The statistics are those of
`places.fit` with one place, of which every cell of every normal picture is a sample.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.method import places

BANK = 2048  # features that neighbours are looked for in, at most


def distances(found: places.Statistics, x: jax.Array) -> dict[str, jax.Array]:
    """`place` and `near`, not squared, `[N]`.

    Args:
        found: statistics of one place.
        x: `[N, D]`.
    """
    away = x - found.mean
    white = jnp.matmul(away, found.whitener[0], precision=places.PRECISE)
    z = jnp.matmul(away, found.shared, precision=places.PRECISE)
    length = jnp.square(z).sum(-1)
    products = jnp.matmul(z, found.bank[0], precision=places.PRECISE)
    least = (found.squares - 2 * products).min(-1) + length
    near = jnp.maximum(least, places.CANCELLED * length)
    return {"place": jnp.sqrt(jnp.square(white).sum(-1)), "near": jnp.sqrt(near)}


def usual(count: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> places.Usual:
    """What a distance usually is on unseen normal pictures, all places alike.

    Args:
        count, mean, variance: `[N]`, of the places of each picture.
    """
    share = count / count.sum()
    whole = float(share @ mean)
    spread = np.sqrt(share @ (variance + np.square(mean - whole)))
    least = max(places.LEAST_DEVIATION, np.finfo(np.float32).eps * abs(whole))
    return places.Usual(np.array([whole], np.float32), np.array([max(spread, least)], np.float32))
