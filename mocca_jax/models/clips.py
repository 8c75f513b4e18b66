"""Convolutions over three axes, at which XLA is slow on CPUs, as convolutions of images whose channels are frames.

An image holds all the frames that the kernel sees at a step, or a frame's result holds what it gives to all steps. Both
take three to five times the memory of the clip: they are not kept for the gradient but made once more, and of a large
clip some frames at a time.

Clips are `[B, T, H, W, C]`, kernels `[kT, kH, kW, C, C_out]`. `framewise` is the convolution over rows and columns, of
images and kernels `[kH, kW, C, C_out]`; `stride` and `padding` are those along the frames.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from mocca_jax.models import rewrites
from mocca_jax.models.ordering import Recipe, after_each, empty, frame_at, frame_by_frame, is_large

NEIGHBOURS = 2**25  # values of such images on one device at a time
AS_IT_IS = (0, 0, 0)  # of an axis that is not padded


def conv(
    forward: Callable[..., jax.Array],
    framewise: rewrites.Conv,
    stride: int,
    padding: tuple[int, int],
    x: jax.Array,
    kernel: jax.Array,
    recipe: Recipe | None = None,
) -> jax.Array:
    """A convolution over three axes.

    Args:
        forward: `at_all_steps` or its equal.
        framewise: the convolution over rows and columns.
        stride: frames between steps.
        padding: frames of zeros before and after the clip.
        x: the clip.
        kernel: all of it.
        recipe: how `x` is made again for the gradient; without one it is kept.
    """
    make, of = recipe or (lambda x: x, (x,))

    def again(*of: jax.Array) -> jax.Array:
        return make(*of).astype(x.dtype)

    return _conv(forward, framewise, stride, padding, again, x, kernel, of)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3, 4))
def _conv(forward, framewise, stride, padding, again, x, kernel, of):
    return forward(framewise, stride, padding, x, kernel)


def _conv_backward(forward, framewise, stride, padding, again, residuals, dy):
    del forward
    kernel, of = residuals
    x = jax.eval_shape(again, *of)
    starts = [tap - padding[0] for tap in range(len(kernel))]

    def of_images(images, kernel):
        return framewise(images, _over_frames(kernel))

    def gradients(dy):
        images = jnp.zeros((len(dy), *x.shape[2:4], len(kernel) * x.shape[-1]), x.dtype)
        return jax.vjp(lambda images: of_images(images, kernel), images)[1](dy)[0]

    dx = _dealt_out(gradients, dy, x.shape[1], starts, stride)
    x = again(after_each(dx, of[0]), *of[1:])
    images, dy = _neighbours(x, starts, stride, dy.shape[1]), after_each(dx, dy)
    dkernel = rewrites.kernel_gradient_of(of_images)(_flat(images), kernel, _flat(dy))
    return dx, dkernel, jax.tree.map(lambda _: None, of)


_conv.defvjp(lambda *given: (_conv(*given), given[6:]), _conv_backward)


def at_all_steps(framewise, stride, padding, x, kernel):
    """Of an image for each step, of all the frames that the kernel sees."""
    steps = (x.shape[1] + sum(padding) - len(kernel)) // stride + 1
    images = _neighbours(x, [tap - padding[0] for tap in range(len(kernel))], stride, steps)
    return _of_frames(lambda images: framewise(images, _over_frames(kernel)), images)


def woven_at_all_steps(phases, framewise, stride, padding, x, kernel):
    """The same of a doubling whose phases come as channels, of `phases(kernel)`, and are woven together."""
    del framewise
    y = at_all_steps(lambda x, kernel: rewrites.same_conv(x, phases(kernel)), stride, padding, x, kernel)
    return frame_by_frame(functools.partial(_of_frames, rewrites.depth_to_space), y)


def from_all_steps(framewise, stride, padding, x, kernel):
    """The same with a stride of one: what each frame gives to all steps, as channels, added up.

    A result with few channels takes half the time so: its convolution has as many times the channels.
    """
    del stride
    to_steps = kernel.transpose(1, 2, 3, 0, 4).reshape(*kernel.shape[1:4], -1)
    steps = x.shape[1] + sum(padding) - len(kernel) + 1
    starts = [padding[0] - tap for tap in range(len(kernel))]
    return _dealt_out(lambda images: framewise(images, to_steps), x, steps, starts, 1)


def _over_frames(kernel):
    """`[kT, kH, kW, C, C_out]` -> `[kH, kW, kT C, C_out]`."""
    return kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])


def _flat(clip):
    return clip.reshape(-1, *clip.shape[2:])


def _of_frames(make, clip):
    """`[B, T, ...]` of what makes `[B T, ...]` of images."""
    made = make(_flat(clip))
    return made.reshape(*clip.shape[:2], *made.shape[1:])


def _neighbours(x, starts, stride, steps):
    """`[B, steps, H, W, n C]`: as channels the `n` frames `starts + stride * step`, zeros where there is none."""
    ends = [(-start, start + stride * (steps - 1) + 1 - x.shape[1], 0) for start in starts]  # below zero: frames less
    return jnp.concatenate([_padded(x, end)[:, ::stride] for end in ends], -1)


def _padded(clip, frames):
    return lax.pad(clip, jnp.zeros((), clip.dtype), (AS_IT_IS, frames, *[AS_IT_IS] * 3))


def _dealt_out(shares_of, clip, places, starts, stride):
    """Sums `[B, places, ...]` of what each frame of a clip gives to several places.

    Args:
        shares_of: makes a frame's shares, as channels, of images.
        clip: the frames.
        places: how many there are.
        starts: of frame t, the i-th share's place is `starts[i] + stride * t`, if that exists.
        stride: places between frames.
    """
    if stride > 1 or len(starts) == 1 or not is_large(clip):
        return _added_up(_of_frames(shares_of, clip), places, starts, stride)
    total = None
    for frames in _frame_parts(clip, len(starts)):
        part = clip[:, frames.start : frames.stop]
        shares = _of_frames(shares_of, part if total is None else after_each(total, part))
        total = _add_by_place(total, shares, places, [start + frames.start for start in starts])
    return total


def _added_up(shares, places, starts, stride):
    last = stride * (shares.shape[1] - 1) + 1
    each = zip(jnp.split(shares, len(starts), -1), starts, strict=True)
    return sum(_padded(share, (start, places - start - last, stride - 1)) for share, start in each)


def _frame_parts(clip, copies):
    """Ranges of frames, of which so many copies are made at a time that each device holds `NEIGHBOURS` values."""
    frames, parts = clip.shape[1], 1
    while frames % (2 * parts) == 0 and copies * clip.size // jax.device_count() > parts * NEIGHBOURS:
        parts *= 2
    return [range(part * frames // parts, (part + 1) * frames // parts) for part in range(parts)]


def _add_by_place(total, shares, places, starts):
    """`total`, or zeros, and the shares of frames that are neighbours, place by place."""
    batch, frames, *sides, channels = shares.shape
    size = (batch, 1, *sides, channels // len(starts))
    if total is None:
        total = empty((batch, places, *size[2:]), shares)

    def turn(place, total):
        sums = frame_at(place, total)
        for index, start in enumerate(starts):
            frame = place - start
            share = lax.dynamic_slice(shares, (0, jnp.clip(frame, 0, frames - 1), 0, 0, index * size[-1]), size)
            sums += jnp.where((frame >= 0) & (frame < frames), share, 0)
        return lax.dynamic_update_slice_in_dim(total, sums, place, 1)

    return lax.fori_loop(max(0, min(starts)), min(places, max(starts) + frames), turn, total)
