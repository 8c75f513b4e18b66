"""Convolutions over any number of spatial axes, and exact rewrites of them for CPUs.

`conv` and `transposed_conv` are the readable definitions. The `fast_` forms equal them in value and gradient:
XLA's CPU back end is slow at convolutions of a dilated image, and the fast transposed form takes the result apart
by phase instead; it is slow at convolutions over three axes, for which see `clips.py`.

Arrays are channels-last: `[B, *sides, C]`, kernels `[*sides, C_in, C_out]`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from mocca_jax.models import clips, rewrites
from mocca_jax.models.ordering import Recipe

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]
MANY = 32  # channels from which on one convolution for each phase is faster than one for all


def conv(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Padding) -> jax.Array:
    """Correlation with `kernel`, in `x`'s dtype."""
    kernel = kernel.astype(x.dtype)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_dimensions(x))


def transposed_conv(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`strides - 1` zeros between samples, then correlation: sides are multiplied by the strides.

    PyTorch's transposed convolution with padding k//2 and output padding stride-1, its kernel flipped. Its kernel
    gradient is made as that of the strided convolution whose transpose it is. JAX's own is a correlation with all of
    the result's gradient as the kernel, over an image with zeros between its samples, for which GPUs have no
    fast program.
    """

    def strided(y, kernel):
        return conv(y, _turned(kernel), strides, _half(kernel))

    gradient = rewrites.kernel_gradient_of(strided)
    spread = functools.partial(_spread, strides=strides)
    with_gradients = rewrites.with_gradients(spread, spread, lambda x, kernel, dy: gradient(dy, kernel, x))
    return with_gradients(x, kernel.astype(x.dtype))


def _spread(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`transposed_conv` with JAX's own gradients."""
    padding = [(before, after + s - 1) for (before, after), s in zip(_half(kernel), strides, strict=True)]
    ones = (1,) * len(strides)
    return lax.conv_general_dilated(x, kernel, ones, padding, lhs_dilation=strides, dimension_numbers=_dimensions(x))


def _turned(kernel: jax.Array) -> jax.Array:
    """The kernel of the transpose of a convolution."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-2, -1)


def _half(kernel: jax.Array) -> Padding:
    return tuple((side // 2, side // 2) for side in kernel.shape[:-2])


def _dimensions(x: jax.Array) -> tuple[str, str, str]:
    axes = {3: "W", 4: "HW", 5: "THW"}[x.ndim]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def fast_conv(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Padding, recipe: Recipe | None = None
) -> jax.Array:
    """`conv`: pointwise as a matrix product, stride one by `rewrites.conv`, strides with gradients of their own.

    With `recipe`, a clip `x` is made again for the gradient of the kernel.
    """
    if x.ndim == 5:
        if kernel.shape[:3] == strides == (1, 1, 1):
            return rewrites.matmul(x, kernel[0, 0, 0].astype(x.dtype))
        framewise = functools.partial(fast_conv, strides=strides[1:], padding=padding[1:])
        few = kernel.shape[-1] <= rewrites.FEW < len(kernel) * kernel.shape[-1]
        forward = clips.from_all_steps if few and strides[0] == 1 else clips.at_all_steps
        return clips.conv(forward, framewise, strides[0], padding[0], x, kernel.astype(x.dtype), recipe)
    if x.ndim != 4:
        return conv(x, kernel, strides, padding)
    height, width = kernel.shape[:2]
    if (height, width) == (1, 1):
        return rewrites.matmul(x[:, :: strides[0], :: strides[1]], kernel[0, 0].astype(x.dtype))
    same = ((height // 2,) * 2, (width // 2,) * 2)
    if strides == (1, 1) and padding == same:
        return rewrites.conv(x, kernel)
    if strides == (1, 1) and padding == ((0, 0), (0, 0)):
        return _inside(rewrites.conv(x, kernel), same)
    strided = functools.partial(conv, strides=strides, padding=padding)
    halved = strides == (2, 2) and padding == same and x.shape[1] % 2 == x.shape[2] % 2 == 0
    of_input = _halving if halved else strided
    return rewrites.with_gradients(strided, of_input, _kernel_gradient_of(strided))(x, kernel.astype(x.dtype))


def _kernel_gradient_of(conv: rewrites.Conv) -> rewrites.KernelGradient:
    return rewrites.in_parts(rewrites.kernel_gradient_of(conv))


def _halving(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv` with strides of two and half the kernel as padding, on even sides: `_by_phases` transposed.

    So its input gradient is `_by_phases`, without the zeros between samples that XLA's CPU back end is slow at.
    """
    batch, height, width, _ = x.shape
    y = jax.ShapeDtypeStruct((batch, height // 2, width // 2, kernel.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda y: _by_phases(y, _turned(kernel)), y)(x)[0]


def _inside(y: jax.Array, border: Padding) -> jax.Array:
    (top, bottom), (left, right) = border
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]


def fast_transposed_conv(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`transposed_conv` with strides of two: the phases of the result one by one, then woven together."""
    if x.ndim == 5 and strides[0] in (1, 2) and strides[1:] == (2, 2):
        return _fast_transposed_clip(x, kernel, strides)
    if x.ndim != 4 or strides != (2, 2):
        return transposed_conv(x, kernel, strides)
    kernel = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1):
        batch, height, width, _ = x.shape
        y = rewrites.matmul(x, kernel[0, 0])[:, :, None, :, None]
        y = jnp.pad(y, ((0, 0), (0, 0), (0, 1), (0, 0), (0, 1), (0, 0)))
        return y.reshape(batch, 2 * height, 2 * width, kernel.shape[-1])
    tiny = math.prod(x.shape[1:3]) <= math.prod(kernel.shape[:2]) // 4
    if tiny:
        return rewrites.depth_to_space(rewrites.conv(x, phases(kernel)))
    doubling = functools.partial(_spread, strides=strides)  # its input gradient is a strided convolution
    return rewrites.with_gradients(_by_phases, doubling, _kernel_gradient_of(_by_phases))(x, kernel)


def _by_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Four convolutions, each with the taps that meet samples at its phase.

    With few channels one convolution makes all four, with zeros for the taps that are missing: 36 products for 25 of a
    kernel of 5, but four times the channels.
    """
    rows, columns = (phase_taps(size) for size in kernel.shape[:2])
    if kernel.shape[-1] < MANY:
        return rewrites.depth_to_space(rewrites.same_conv(x, phases(kernel)))
    y = [[conv(x, kernel[i::2, j::2], (1, 1), (over, across)) for j, across in columns] for i, over in rows]
    return rewrites.depth_to_space(jnp.concatenate([y for row in y for y in row], -1))


def _fast_transposed_clip(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`transposed_conv` over three axes: the temporal phases of the result as channels too."""
    reach = kernel.shape[0] // 2
    if strides[0] == 2:
        kernel = _phases_as_channels(kernel)
        reach = kernel.shape[0] // 2
    framewise = functools.partial(fast_transposed_conv, strides=strides[1:])
    as_one = kernel.shape[1] > 1 and kernel.shape[-1] < MANY  # see `_by_phases`
    forward = functools.partial(clips.woven_at_all_steps, phases) if as_one else clips.at_all_steps
    y = clips.conv(forward, framewise, 1, (reach, reach), x, kernel.astype(x.dtype))
    if strides[0] == 1:
        return y
    batch, steps, height, width, channels = y.shape
    y = y.reshape(batch, steps, height, width, 2, channels // 2).transpose(0, 1, 4, 2, 3, 5)
    return y.reshape(batch, 2 * steps, height, width, channels // 2)


def phases(kernel: jax.Array) -> jax.Array:
    """`[k, k, C_in, C_out]` on the image with zeros between its samples -> `[k', k', C_in, 4 C_out]` on itself."""
    by_column = _phases_as_channels(kernel.swapaxes(0, 1)).swapaxes(0, 1)
    return _phases_as_channels(by_column)


def _phases_as_channels(kernel: jax.Array) -> jax.Array:
    """`[k, ..., C_out]` -> `[k', ..., 2 C_out]`: the phases of the result along the first axis, with odd `k'`."""
    taps = phase_taps(kernel.shape[0])
    reach = max(max(around) for _, around in taps)
    others = [(0, 0)] * (kernel.ndim - 1)
    return jnp.concatenate(
        [jnp.pad(kernel[first::2], [(reach - before, reach - after), *others]) for first, (before, after) in taps], -1
    )


def phase_taps(size: int) -> list[tuple[int, tuple[int, int]]]:
    """For results on samples and between them: the first of every second tap that meets one, and the padding."""
    half, found = size // 2, []
    for phase in (0, 1):
        first = (half - phase) % 2
        before = (half - phase - first) // 2
        found.append((first, (before, (size - first - 1) // 2 - before)))
    return found
