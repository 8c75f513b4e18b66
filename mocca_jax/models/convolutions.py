"""Convolutions over any number of spatial axes, and exact rewrites of them for CPUs.

`conv` and `transposed_conv` are the readable definitions. The `fast_` forms equal them in value and gradient:
XLA's CPU back end is slow at convolutions of a dilated image, and the fast transposed form takes the result apart
by phase instead; it is slow at convolutions over three axes, and clips become images whose channels are the
neighbouring frames that a kernel sees.

Arrays are channels-last: `[B, *sides, C]`, kernels `[*sides, C_in, C_out]`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mocca_jax.models import rewrites

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


def conv(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Padding) -> jax.Array:
    """Correlation with `kernel`, in `x`'s dtype."""
    kernel = kernel.astype(x.dtype)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_dimensions(x))


def transposed_conv(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`strides - 1` zeros between samples, then correlation: sides are multiplied by the strides.

    PyTorch's transposed convolution with padding k//2 and output padding stride-1, its kernel flipped.
    """
    padding = [(k // 2, k // 2 + s - 1) for k, s in zip(kernel.shape, strides, strict=False)]
    ones, kernel = (1,) * len(strides), kernel.astype(x.dtype)
    return lax.conv_general_dilated(x, kernel, ones, padding, lhs_dilation=strides, dimension_numbers=_dimensions(x))


def _dimensions(x: jax.Array) -> tuple[str, str, str]:
    axes = {3: "W", 4: "HW", 5: "THW"}[x.ndim]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def fast_conv(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Padding) -> jax.Array:
    """`conv`: pointwise as a matrix product, stride one by `rewrites.conv`; the rest as it is."""
    if x.ndim == 5:
        seen = _neighbours(x, kernel.shape[0], strides[0], padding[0])
        return _framewise(lambda y, k: fast_conv(y, k, strides[1:], padding[1:]), seen, _over_frames(kernel))
    if x.ndim != 4:
        return conv(x, kernel, strides, padding)
    if kernel.shape[:2] == (1, 1):
        return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0].astype(x.dtype)
    if strides == (1, 1) and padding == tuple((k // 2, k // 2) for k in kernel.shape[:2]):
        return rewrites.conv(x, kernel)
    return conv(x, kernel, strides, padding)


def fast_transposed_conv(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`transposed_conv` with strides of two: the four phases of the result as channels, then depth to space."""
    if x.ndim == 5 and strides[0] in (1, 2) and strides[1:] == (2, 2):
        return _fast_transposed_clip(x, kernel, strides)
    if x.ndim != 4 or strides != (2, 2):
        return transposed_conv(x, kernel, strides)
    if kernel.shape[:2] == (1, 1):
        batch, height, width, _ = x.shape
        y = (x @ kernel[0, 0].astype(x.dtype))[:, :, None, :, None]
        y = jnp.pad(y, ((0, 0), (0, 0), (0, 1), (0, 0), (0, 1), (0, 0)))
        return y.reshape(batch, 2 * height, 2 * width, kernel.shape[-1])
    return rewrites.depth_to_space(rewrites.conv(x, phases(kernel)))


def _fast_transposed_clip(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`transposed_conv` over three axes: the temporal phases of the result as channels too."""
    taps, by = kernel.shape[0], strides[0]
    if by == 1:
        reach, split = taps // 2, kernel
    else:
        choose = phase_taps(taps)
        reach = choose.shape[1] // 2
        split = jnp.einsum("pat,thwio->ahwipo", choose, kernel).reshape(2 * reach + 1, *kernel.shape[1:4], -1)
    seen = _neighbours(x, 2 * reach + 1, 1, (reach, reach))
    y = _framewise(lambda y, k: fast_transposed_conv(y, k, strides[1:]), seen, _over_frames(split))
    if by == 1:
        return y
    batch, steps, height, width, channels = y.shape
    y = y.reshape(batch, steps, height, width, by, channels // by).transpose(0, 1, 4, 2, 3, 5)
    return y.reshape(batch, by * steps, height, width, channels // by)


def _neighbours(x: jax.Array, taps: int, stride: int, padding: tuple[int, int]) -> jax.Array:
    """`[B, T, H, W, C]` -> `[B, T', H, W, taps * C]`: the frames that a kernel of `taps` sees at each of its steps."""
    padded = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
    last = padded.shape[1] - taps
    return jnp.concatenate([padded[:, tap : tap + last + 1 : stride] for tap in range(taps)], -1)


def _over_frames(kernel: jax.Array) -> jax.Array:
    """`[kT, kH, kW, C_in, C_out]` -> `[kH, kW, kT * C_in, C_out]`, for `_neighbours`."""
    taps, height, width, c_in, c_out = kernel.shape
    return kernel.transpose(1, 2, 0, 3, 4).reshape(height, width, taps * c_in, c_out)


def _framewise(apply, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A function of images on every frame of clips."""
    y = apply(x.reshape(-1, *x.shape[2:]), kernel)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def phases(kernel: jax.Array) -> jax.Array:
    """`[k, k, C_in, C_out]` on the image with zeros between its samples -> `[k', k', C_in, 4 C_out]` on itself."""
    choose = phase_taps(kernel.shape[0])
    chosen = jnp.einsum("atk,bul,klio->tuiabo", choose, choose, kernel)
    return chosen.reshape(choose.shape[1], choose.shape[1], kernel.shape[2], -1)


def phase_taps(size: int) -> np.ndarray:
    """`[2, k', k]`: which tap of a kernel of `size` meets which sample, for results between and on samples."""
    half = size // 2
    reach = (half + 1) // 2
    choose = np.zeros((2, 2 * reach + 1, size), np.float32)
    for phase in range(2):
        for tap in range(size):
            if (phase + tap - half) % 2 == 0:
                choose[phase, (phase + tap - half) // 2 + reach, tap] = 1
    return choose
