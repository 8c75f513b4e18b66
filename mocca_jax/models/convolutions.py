"""Convolutions over any number of spatial axes, and exact rewrites of them for CPUs.

`conv` and `transposed_conv` are the readable definitions. The `fast_` forms equal them in value and gradient
for two spatial axes: XLA's CPU back end is slow at convolutions of a dilated image, and the fast transposed form
takes the result apart by phase instead. Other ranks use the definitions.

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
    """Correlation with `kernel`."""
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_dimensions(x))


def transposed_conv(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`strides - 1` zeros between samples, then correlation: sides are multiplied by the strides.

    PyTorch's transposed convolution with padding k//2 and output padding stride-1, its kernel flipped.
    """
    padding = [(k // 2, k // 2 + s - 1) for k, s in zip(kernel.shape, strides, strict=False)]
    ones = (1,) * len(strides)
    return lax.conv_general_dilated(x, kernel, ones, padding, lhs_dilation=strides, dimension_numbers=_dimensions(x))


def _dimensions(x: jax.Array) -> tuple[str, str, str]:
    axes = {3: "W", 4: "HW", 5: "THW"}[x.ndim]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def fast_conv(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Padding) -> jax.Array:
    """`conv`: pointwise as a matrix product, stride one by `rewrites.conv`; the rest as it is."""
    if x.ndim != 4:
        return conv(x, kernel, strides, padding)
    if kernel.shape[:2] == (1, 1):
        return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
    if strides == (1, 1) and padding == tuple((k // 2, k // 2) for k in kernel.shape[:2]):
        return rewrites.conv(x, kernel)
    return conv(x, kernel, strides, padding)


def fast_transposed_conv(x: jax.Array, kernel: jax.Array, strides: Sizes) -> jax.Array:
    """`transposed_conv` with strides of two: the four phases of the result as channels, then depth to space."""
    if x.ndim != 4 or strides != (2, 2):
        return transposed_conv(x, kernel, strides)
    if kernel.shape[:2] == (1, 1):
        batch, height, width, _ = x.shape
        y = (x @ kernel[0, 0])[:, :, None, :, None]
        y = jnp.pad(y, ((0, 0), (0, 0), (0, 1), (0, 0), (0, 1), (0, 0)))
        return y.reshape(batch, 2 * height, 2 * width, kernel.shape[-1])
    return rewrites.depth_to_space(rewrites.conv(x, phases(kernel)))


def phases(kernel: jax.Array) -> jax.Array:
    """`[k, k, C_in, C_out]` on the image with zeros between its samples -> `[k', k', C_in, 4 C_out]` on itself."""
    size, _, c_in, _ = kernel.shape
    half = size // 2
    reach = (half + 1) // 2
    choose = np.zeros((2, 2 * reach + 1, size), np.float32)
    for phase in range(2):
        for tap in range(size):
            if (phase + tap - half) % 2 == 0:
                choose[phase, (phase + tap - half) // 2 + reach, tap] = 1
    chosen = jnp.einsum("atk,bul,klio->tuiabo", choose, choose, kernel)
    return chosen.reshape(2 * reach + 1, 2 * reach + 1, c_in, -1)
