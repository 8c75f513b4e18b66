"""How much of a score is rounding, measured on a trained model when its run ends.

The network's weights are moved by a little more than float32 rounds by, and some normal units are scored again by the
programs that are compiled already. What scores move by then, with a margin, is the model's rounding: well above what
the size of a batch, the order and the devices make of a difference, far below what two pictures do. Where all normal
pictures are the same and their scores nothing but rounding, it moves these by as much as they are.
`method/threshold.py` says what it is good for.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.data import Split
from mocca_jax.data.pictures import Pictures
from mocca_jax.data.spread import evenly
from mocca_jax.scoring import maps
from mocca_jax.training.step import TrainState

MOVED = 2.0**-20  # of a weight, up or down: 16 times what float32 rounds by
DRAWS = 3  # times that all weights are moved
MARGIN = 4  # times the furthest that a score moved
LEAST = 32 * float(np.finfo(np.float32).eps)  # of the size of scores: adding up in another order makes no more
UNITS, PICTURES = 16, 8  # normal ones that are scored, or drawn, again: about as many


def measure(before: np.ndarray, moved: Iterable[np.ndarray], size: float) -> float:
    """The rounding of scores, at least 0.

    Args:
        before: `[N]`, of some normal units.
        moved: `[N]` each, of the same by `states`.
        size: the largest absolute value among normal scores.
    """
    furthest = max(float(np.abs(scores - before).max()) for scores in moved)
    return max(MARGIN * furthest, LEAST * size)


def states(state: TrainState) -> Iterator[TrainState]:
    """`DRAWS` states whose weights differ from those of `state` by about rounding; always the same."""
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)

        def moved(x: Any, rng=rng) -> Any:
            if not jnp.issubdtype(x.dtype, jnp.floating):
                return x
            up = rng.integers(0, 2, x.shape, np.int8).astype(x.dtype)
            return np.asarray(x) * (1 - MOVED + 2 * MOVED * up)

        held = jax.tree.map(moved, {"params": state.params, "batch_stats": state.batch_stats})
        yield state.replace(**held)


def of_split(score: Callable[[TrainState, Split], np.ndarray], state: TrainState, split: Split, size: float) -> float:
    """That of the scores of a split of normal units.

    Args:
        score: `[U]`, of the units of a split.
        state: the trained one.
        split: of which some units are taken.
        size: see `measure`.
    """
    rows = evenly(len(split), UNITS)
    some = Split(split.images[rows], np.zeros(len(rows), np.int32), [str(row) for row in rows])
    return measure(score(state, some), (score(moved, some) for moved in states(state)), size)


def of_maps(context: maps.Context, method: maps.Maps, pictures: Pictures, size: float) -> float:
    """That of the largest value of each map of normal `pictures`, of which some are taken; `size`: see `measure`."""
    rows = evenly(len(pictures), maps.at_once(pictures, context, PICTURES))
    some = Pictures(pictures.images[rows], pictures.sizes[rows])

    def largest(state: TrainState) -> np.ndarray:
        return np.array([values.max() for values in method(some, state)])

    return measure(largest(context.state), map(largest, states(context.state)), size)
