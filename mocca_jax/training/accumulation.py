"""A batch in equal parts, one after the other, for less memory.

Part p holds the units p, p + parts, p + 2 parts, ...: each device's share of a batch is cut alike, so no image moves
between devices, and the padding at a batch's end is dealt out over all parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mocca_jax.models.ordering import after


def take(tree: Any, part: int, parts: int) -> Any:
    """One part of arrays `[B, ...]`, `[B / parts, ...]`."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:])[:, part], tree)


def join(trees: list[Any]) -> Any:
    """The inverse: arrays `[B, ...]` in the order of the batch, of one tree for each part."""
    return jax.tree.map(lambda *xs: jnp.stack(xs, 1).reshape(-1, *xs[0].shape[1:]), *trees)


def gradients(gradient: Callable, params: Any, given: Any, mask: jax.Array, key: jax.Array, parts: int):
    """The sum of the parts' gradients, and of each what else it gave.

    Args:
        gradient: `(params, given, mask, key) -> (aux, gradients)`, where gradients are parts of a sum over units.
        given, mask: arrays `[B, ...]` of the whole batch; `parts` divides B.
        key: the first part gets it, the others keys made of it.

    Returns:
        Gradients of the whole batch; a list of aux.

    The parts are written out one by one: XLA runs convolutions inside a loop on a slow path on CPUs. Each waits for
    the gradients of the one before; all at once, their temporary memory would add up.
    """
    total, found = None, []
    for part in range(parts):
        chosen = take((given, mask), part, parts)
        if total is not None:
            chosen = after(total, chosen)
        aux, grads = gradient(params, *chosen, jax.random.fold_in(key, part) if part else key)
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
        found.append(aux)
    return total, found


def statistics(before: Any, after: list[Any], units: list[jax.Array]) -> Any:
    """Running statistics of a step: the mean of those that the parts made of `before`, weighted by real units.

    A running mean is then exactly that of the whole batch; a running variance lacks the spread between the parts'
    means. A part of padding alone says nothing.
    """
    weights = [count / jnp.maximum(sum(units), 1) for count in units]

    def mean(old: jax.Array, *new: jax.Array) -> jax.Array:
        return old + sum(weight * (value - old) for weight, value in zip(weights, new, strict=True))

    return jax.tree.map(mean, before, *after)
