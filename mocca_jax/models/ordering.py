"""What is computed before what, where that decides how much memory a program needs."""

from typing import Any

import jax


def after(done: Any, tree: Any) -> Any:
    """The same values, which XLA cannot use before all arrays of `done` are there.

    `jax.lax.optimization_barrier`, on which `jax.checkpoint` relies, is no help on CPUs: it is gone before XLA chooses
    an order. Where `done` is not finite, neither is the result.
    """
    nothing = 0 * sum(leaf.ravel()[0] for leaf in jax.tree.leaves(done))
    return jax.tree.map(lambda x: x + nothing.astype(x.dtype), tree)
