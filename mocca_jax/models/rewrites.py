"""Exact rewrites of the networks' slow pieces, for CPUs.

Each function here equals a readable formulation in `blocks.py`, in value and in gradient; the tests compare
them. XLA's CPU back end runs convolutions with few output channels, their kernel gradients and window
maxima far below the machine's speed, and these forms avoid that. GPUs and TPUs run the readable forms.

Arrays are channels-last: activations `[B, H, W, C]`, kernels `[kH, kW, C_in, C_out]`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def strided_conv(x, kernel, strides, padding, rewritten: bool) -> jax.Array:
    """Correlation over any number of spatial axes."""
    axes = "HW" if x.ndim == 4 else "THW"
    dimensions = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=dimensions)


def transposed_conv(x, kernel, strides, rewritten: bool) -> jax.Array:
    """The transposed convolution with padding k//2 and output padding stride-1, `kernel` as a correlation's."""
    axes = "HW" if x.ndim == 4 else "THW"
    dimensions = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    padding = [(k // 2, k // 2 + s - 1) for k, s in zip(kernel.shape, strides, strict=False)]
    ones = (1,) * len(strides)
    return lax.conv_general_dilated(x, kernel, ones, padding, lhs_dilation=strides, dimension_numbers=dimensions)


def same_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlation with stride one and zero padding that keeps `H` and `W`; odd kernel sides."""
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = ((rows, rows), (columns, columns))
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_DIMENSIONS)


@jax.custom_vjp
def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv`, over pairs of columns where the output has few channels.

    The kernel gradient is summed over two halves of the batch: one large contraction over the whole batch
    falls out of the cache and takes up to four times as long.
    """
    return _conv_forward(x, kernel)[0]


def _conv_forward(x, kernel):
    few_channels = kernel.shape[-1] <= 64 and kernel.shape[1] > 1
    y = _paired_conv(x, kernel) if few_channels and x.shape[2] % 2 == 0 else same_conv(x, kernel)
    return y, (x, kernel)


def _conv_backward(residuals, dy):
    x, kernel = residuals
    (dx,) = jax.vjp(lambda x: same_conv(x, kernel), x)[1](dy)
    dkernel = jnp.zeros_like(kernel)
    for x_part, dy_part in zip(_batch_halves(x), _batch_halves(dy), strict=True):
        dkernel += jax.vjp(lambda k, x=x_part: same_conv(x, k), kernel)[1](dy_part)[0]
    return dx, dkernel


conv.defvjp(_conv_forward, _conv_backward)


def _batch_halves(x: jax.Array) -> list[jax.Array]:
    """Two halves of the batch that cut every device's share in two, so that no data has to move."""
    shares = jax.device_count()
    batch, *rest = x.shape
    if batch % (2 * shares) or batch < 32:
        return [x]
    x = x.reshape(shares, 2, batch // (2 * shares), *rest)
    return [x[:, half].reshape(batch // 2, *rest) for half in (0, 1)]


def _paired_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv` on `[B, H, W/2, 2C]`: twice the output channels for a fifth more multiplications (5x5)."""
    batch, height, width, channels = x.shape
    y = same_conv(x.reshape(batch, height, width // 2, 2 * channels), pair_columns(kernel))
    return y.reshape(batch, height, width, kernel.shape[-1])


def pair_columns(kernel: jax.Array) -> jax.Array:
    """The kernel `[kH, taps, 2 C_in, 2 C_out]` that acts on pairs of neighbouring columns."""
    height, width, c_in, c_out = kernel.shape
    reach = (width // 2 + 1) // 2
    offset, inside, outside = np.ogrid[-reach : reach + 1, 0:2, 0:2]
    tap = 2 * offset + inside - outside + width // 2
    chosen = kernel[:, np.clip(tap, 0, width - 1)]
    chosen = jnp.where(((tap >= 0) & (tap < width))[None, ..., None, None], chosen, 0)
    return chosen.transpose(0, 1, 2, 4, 3, 5).reshape(height, 2 * reach + 1, 2 * c_in, 2 * c_out)


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv` of `x` with every row and column doubled: a smaller kernel, then depth to space.

    The taps that meet the same source pixel are added up beforehand: a 5x5 kernel on the doubled image costs
    100 multiplications per source pixel and channel pair, the four merged 3x3 kernels 36.
    """
    batch, height, width, _ = x.shape
    y = conv(x, merge_taps(kernel)).reshape(batch, height, width, 2, 2, kernel.shape[-1])
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, kernel.shape[-1])


def merge_taps(kernel: jax.Array) -> jax.Array:
    """`[k, k, C_in, C_out]` on the doubled image -> `[k', k', C_in, 4 C_out]` on the image itself."""
    size, _, c_in, _ = kernel.shape
    reach = (size // 2 + 1) // 2
    merge = np.zeros((2, 2 * reach + 1, size), np.float32)
    for phase in range(2):
        for tap in range(size):
            merge[phase, (phase + tap - size // 2) // 2 + reach, tap] = 1
    merged = jnp.einsum("atk,bul,klio->tuiabo", merge, merge, kernel)
    return merged.reshape(2 * reach + 1, 2 * reach + 1, c_in, -1)


def max_pool(y: jax.Array) -> jax.Array:
    """The maximum of each 2x2 window; among equals the gradient goes to one element."""
    batch, height, width, channels = y.shape
    y = y.reshape(batch, height // 2, 2, width // 2, 2 * channels)
    top, bottom = y[:, :, 0], y[:, :, 1]
    rows = jnp.where(top >= bottom, top, bottom)
    left, right = rows[..., :channels], rows[..., channels:]
    return jnp.where(left >= right, left, right)


def norm_activate_pool(y: jax.Array, mask: jax.Array, eps: float):
    """Batch-norm without scale and offset, leaky ReLU, 2x2 max-pool, in that order, computed pool-first.

    Normalisation and leaky ReLU are increasing, so the maximum may be taken before them; the statistics are
    those of the un-pooled `y` over the images that `mask` keeps.

    Returns:
        The pooled activations `[B, H/2, W/2, C]`; the mean of each image of `y`, `[B, C]`; the batch mean and
        biased variance, `[C]` each, through which no gradient flows.
    """
    return _norm_activate_pool(y, mask, eps)


def _moments(y, mask):
    """Per-image means, batch mean, biased variance; shifted so that one pass over `y` is accurate."""
    count = jnp.maximum(mask.sum(), 1)
    shift = _masked_mean(y[:, ::4, ::4].mean((1, 2)), mask, count)
    centered = y - per_channel(shift, y)
    image_mean = centered.mean((1, 2))
    mean = _masked_mean(image_mean, mask, count)
    variance = _masked_mean(jnp.square(centered).mean((1, 2)), mask, count) - jnp.square(mean)
    return image_mean + shift[None], mean + shift, jnp.maximum(variance, 0)


def per_channel(values: jax.Array, x: jax.Array) -> jax.Array:
    """`[C]` in the rank of `x [..., C]`."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


def _masked_mean(values, mask, count):
    return (mask[:, None] * values).sum(0) / count


def _norm_activate_pool_forward(y, mask, eps):
    image_mean, mean, variance = _moments(y, mask)
    pooled = max_pool(y)
    scale = lax.rsqrt(variance + eps)
    normal = (pooled - per_channel(mean, y)) * per_channel(scale, y)
    out = jnp.where(normal >= 0, normal, 0.01 * normal)
    return (out, image_mean, mean, variance), (y, mask, pooled, mean, scale)


def _norm_activate_pool_backward(_, residuals, cotangents):
    y, mask, pooled, mean, scale = residuals
    d_out, d_image_mean, *_ = cotangents
    pixels = y.shape[1] * y.shape[2]
    mean, scale = per_channel(mean, y), per_channel(scale, y)
    normal = (pooled - mean) * scale
    d_normal = jnp.where(normal >= 0, d_out, 0.01 * d_out)
    count = jnp.maximum(mask.sum(), 1) * pixels
    through_mean = scale * d_normal.sum((0, 1, 2), keepdims=True) / count
    through_variance = jnp.square(scale) * (d_normal * normal).sum((0, 1, 2), keepdims=True) / count
    mask = mask[:, None, None, None]
    dy = jax.vjp(max_pool, y)[1](d_normal * scale)[0]
    dy += d_image_mean[:, None, None, :] / pixels - mask * (through_mean + through_variance * (y - mean))
    return dy, None


_norm_activate_pool = jax.custom_vjp(
    lambda y, mask, eps: _norm_activate_pool_forward(y, mask, eps)[0], nondiff_argnums=(2,)
)
_norm_activate_pool.defvjp(_norm_activate_pool_forward, _norm_activate_pool_backward)
