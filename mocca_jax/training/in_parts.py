"""Units read a batch at a time onto all devices, for what looks at each of them once."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from mocca_jax.data import batching
from mocca_jax.training import parallel


def on_devices(take: Callable[[slice], Any], count: int, size: int, mesh: Any) -> Iterator[tuple[int, Any, jax.Array]]:
    """How many units are real, their arrays and their mask `[B]`, batch by batch.

    Args:
        take: the arrays of some of the units, any tree of `[n, ...]`.
        count: of units.
        size: of a batch; it is filled up for the devices, and so is the last one.
        mesh: the devices.
    """
    padded = parallel.padded(size, mesh)
    own = parallel.own_rows(padded, mesh)
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        real = rows.stop - rows.start
        arrays = jax.tree.map(lambda of: batching.filled(of, padded)[own], take(rows))
        yield real, *parallel.shard((arrays, batching.mask(real, padded)[own]), mesh)
