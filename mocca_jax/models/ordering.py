"""What is computed before what, where that decides how much memory a program needs.

`jax.lax.optimization_barrier`, on which `jax.checkpoint` relies, is no help on CPUs: it is gone before XLA chooses an
order. Here the values do depend on what they wait for. Where that is not finite, neither are they.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

LARGE = 2**22  # values of a clip on one device


def after(done: Any, tree: Any) -> Any:
    """The same values, which XLA cannot use before all arrays of `done` are there, on any device."""
    nothing = 0 * sum((leaf.ravel()[0] for leaf in jax.tree.leaves(done)), jnp.zeros(()))
    return jax.tree.map(lambda x: x + nothing.astype(x.dtype), tree)


def after_each(done: jax.Array, x: jax.Array) -> jax.Array:
    """The same `x [B, ...]`, each example after its own of `done [B, ...]`: no device waits for another."""
    nothing = 0 * done.reshape(len(done), -1)[:, 0]
    return x + nothing.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)


class Recipe(NamedTuple):
    """An array that is made again, `make(clip, *others)`, where keeping it from forward to backward pass costs more."""

    make: Callable[..., jax.Array]
    of: tuple[jax.Array, ...]


def is_large(clip: jax.Array) -> bool:
    """Whether `[B, T, H, W, C]` is worth loops over its frames, in which nothing is kept that need not be.

    An exported program's batch, which may be of any size, is not: it has no gradient.
    """
    return clip.ndim == 5 and isinstance(clip.size, int) and clip.size // jax.device_count() >= LARGE


def frame_by_frame(make: Callable[..., jax.Array], *clips: jax.Array, done: Any = ()) -> jax.Array:
    """`make(*clips)` of arrays `[B, T, ...]`, in a loop over the frames where they are large.

    XLA makes what is cheap once more wherever it is used, and keeps all that it is made of until then; not so the
    result of a loop. Its memory is taken when the last of `clips` and `done`, what else `make` needs, are there.
    """
    if not is_large(clips[-1]):
        return make(*clips)

    def turn(step, made):
        frame = make(*(frame_at(step, clip) for clip in clips))
        return lax.dynamic_update_slice_in_dim(made, frame, step, 1)

    whole = jax.eval_shape(make, *clips)
    return lax.fori_loop(0, whole.shape[1], turn, after(done, empty(whole.shape, clips[-1])))


def sum_of_frames(make: Callable[..., jax.Array], *clips: jax.Array) -> jax.Array:
    """The sum of `make(...)` over the frames of arrays `[B, T, ...]`, of all at once where they are not large."""
    if not is_large(clips[-1]):
        return make(*clips)

    def made_of(step):
        return make(*(frame_at(step, clip) for clip in clips))

    return lax.fori_loop(1, clips[-1].shape[1], lambda step, made: made + made_of(step), made_of(0))


def frame_at(step: jax.Array | int, clip: jax.Array) -> jax.Array:
    """`[B, 1, ...]` of `[B, T, ...]`."""
    return lax.dynamic_slice_in_dim(clip, step, 1, 1)


def empty(shape: tuple[int, ...], done: jax.Array) -> jax.Array:
    """Zeros of `done`'s type, not before it is there."""
    return after_each(done, jnp.zeros(shape, done.dtype))
