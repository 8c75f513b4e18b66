"""Exact rewrites of the networks' slow pieces, for CPUs.

Each function here equals a readable formulation in `blocks.py`, in value and in gradient; the tests compare
them. XLA's CPU back end runs convolutions with few output channels, their kernel gradients and window
maxima far below the machine's speed, and these forms avoid that. GPUs and TPUs run the readable forms.

Arrays are channels-last: activations `[B, H, W, C]`, kernels `[kH, kW, C_in, C_out]`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mocca_jax.models.ordering import after

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Conv = Callable[[jax.Array, jax.Array], jax.Array]  # of an image and a kernel
PART_SIZE = 2**17  # values of a result on one device that the gradient of its kernel takes at a time
PARTS = 8  # at most: each is compiled


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x [..., C_in] @ kernel [C_in, C_out]`, whose kernel gradient comes out in the kernel's own order of axes.

    JAX's is made as `[C_out, C_in]`, and an optimiser that reads it transposed takes seven times as long.
    """
    return x @ kernel


def _matmul_backward(residuals, dy):
    x, kernel = residuals
    leading = tuple(range(x.ndim - 1))
    return dy @ kernel.T, lax.dot_general(x, dy, ((leading, leading), ((), ())))


matmul.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _matmul_backward)


def same_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlation with stride one and zero padding that keeps `H` and `W`; odd kernel sides; in `x`'s dtype."""
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = ((rows, rows), (columns, columns))
    return lax.conv_general_dilated(x, kernel.astype(x.dtype), (1, 1), padding, dimension_numbers=_DIMENSIONS)


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv`: one matrix product on tiny images, over pairs of columns where the output has few channels.

    The kernel gradient is summed over parts of the batch: one large contraction over the whole batch falls out
    of the cache and takes up to four times as long.
    """
    tiny = math.prod(x.shape[1:3]) <= math.prod(kernel.shape[:2])
    return _tiny_conv(x, kernel) if tiny else _conv(x, kernel)


def _tiny_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv` on images no larger than the kernel, where XLA's own convolution is far slower."""
    (height, width), (rows, columns) = kernel.shape[:2], x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    shifted = [padded[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    return jnp.concatenate(shifted, -1) @ kernel.astype(x.dtype).reshape(-1, kernel.shape[-1])


def with_gradients(forward: Conv, of_input: Conv, of_kernel: Conv) -> Conv:
    """One convolution in three forms that equal each other: `forward` for its value, the others for its gradients."""

    @jax.custom_vjp
    def apply(x, kernel):
        return forward(x, kernel)

    def backward(residuals, dy):
        x, kernel = residuals
        (dx,) = jax.vjp(lambda x: of_input(x, kernel), x)[1](dy)
        return dx, kernel_gradient(of_kernel, x, kernel, dy)

    apply.defvjp(lambda x, kernel: (forward(x, kernel), (x, kernel)), backward)
    return apply


def _paired_if_few(x: jax.Array, kernel: jax.Array) -> jax.Array:
    few = 64 if kernel.shape[1] > 3 else 32 if kernel.shape[2] <= 4 else 16
    few_channels = kernel.shape[-1] <= few and kernel.shape[1] > 1
    return _paired_conv(x, kernel) if few_channels and x.shape[2] % 2 == 0 else same_conv(x, kernel)


_conv = with_gradients(_paired_if_few, same_conv, same_conv)


def kernel_gradient(conv: Conv, x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
    """The gradient of `conv(x, kernel)` with respect to the kernel, summed over parts of the batch."""
    parts = _parts(len(x), dy.size)
    pairs = zip(_cut_batch(x, parts), _cut_batch(dy, parts), strict=True)
    return sum(jax.vjp(lambda k, x=x_part: conv(x, k), kernel)[1](dy_part)[0] for x_part, dy_part in pairs)


def _parts(batch: int, size: int) -> int:
    """Into how many parts a batch is cut: a power of two, so that one holds about `PART_SIZE` values per device."""
    share, rest = divmod(batch, jax.device_count())
    if rest:
        return 1
    size, parts = size // jax.device_count(), 1
    while parts < PARTS and share % (2 * parts) == 0 and size > parts * PART_SIZE:
        parts *= 2
    return parts


def _cut_batch(x: jax.Array, parts: int) -> list[jax.Array]:
    """Parts of the batch that cut every device's share alike, so that no data has to move."""
    shares = jax.device_count()
    batch, *rest = x.shape
    x = x.reshape(shares, parts, batch // (parts * shares), *rest) if parts > 1 else x[None, None]
    return [x[:, part].reshape(batch // parts, *rest) for part in range(parts)]


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
    return depth_to_space(conv(x, merge_taps(kernel)))


def depth_to_space(y: jax.Array) -> jax.Array:
    """`[B, H, W, 2*2*C]` -> `[B, 2H, 2W, C]`: the channels hold the four pixels of each 2x2 block."""
    batch, height, width, channels = y.shape
    y = y.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, channels // 4)


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
    """Per-example means, batch mean, biased variance; shifted so that one pass over `y` is accurate."""
    axes = tuple(range(1, y.ndim - 1))
    count = jnp.maximum(mask.sum(), 1)
    sparse = y[(slice(None), *([slice(None, None, 4)] * len(axes)))]
    shift = _masked_mean(sparse.mean(axes), mask, count)
    centered = y - per_channel(shift, y)
    example_mean = centered.mean(axes)
    mean = _masked_mean(example_mean, mask, count)
    variance = _masked_mean(jnp.square(centered).mean(axes), mask, count) - jnp.square(mean)
    return example_mean + shift[None], mean + shift, jnp.maximum(variance, 0)


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


def norm_activate(y: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, slope: float):
    """Batch-norm with scale and offset, then a leaky ReLU of this slope (1: none), over all axes but the last.

    Returns:
        The result, of `y`'s shape; the batch mean and biased variance, `[C]` each, through which no gradient flows.
    """
    return _norm_activate(y, mask, scale, bias, eps, slope)


def _norm_activate_forward(y, mask, scale, bias, eps, slope):
    _, mean, variance = _moments(y, mask)
    factor = scale * lax.rsqrt(variance + eps)
    out = (y - per_channel(mean, y)) * per_channel(factor, y) + per_channel(bias, y)
    out = jnp.where(out >= 0, out, slope * out) if slope != 1 else out
    return (out, mean, variance), (y, mask, scale, bias, mean, variance)


def _norm_activate_backward(eps, slope, residuals, cotangents):
    y, mask, scale, bias, mean, variance = residuals
    axes = tuple(range(1, y.ndim - 1))
    pixels = math.prod(y.shape[1:-1])
    inverse = after(cotangents[0], lax.rsqrt(variance + eps))  # nothing of it is kept from the forward pass
    normal = (y - per_channel(mean, y)) * per_channel(inverse, y)
    d_out = cotangents[0]
    if slope != 1:
        d_out = jnp.where(normal * per_channel(scale, y) + per_channel(bias, y) >= 0, d_out, slope * d_out)
    d_bias = d_out.sum(axes).sum(0)
    d_scale = (d_out * normal).sum(axes).sum(0)
    count = jnp.maximum(mask.sum(), 1) * pixels
    through_batch = (per_channel(d_bias / count, y) + normal * per_channel(d_scale / count, y)) * mask.reshape(
        (-1,) + (1,) * (y.ndim - 1)
    )
    return per_channel(scale * inverse, y) * (d_out - through_batch), None, d_scale, d_bias


_norm_activate = jax.custom_vjp(
    lambda y, mask, scale, bias, eps, slope: _norm_activate_forward(y, mask, scale, bias, eps, slope)[0],
    nondiff_argnums=(4, 5),
)
_norm_activate.defvjp(_norm_activate_forward, _norm_activate_backward)
