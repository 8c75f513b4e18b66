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

from mocca_jax.models.ordering import is_large, sum_of_frames

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Conv = Callable[[jax.Array, jax.Array], jax.Array]  # of an image and a kernel
KernelGradient = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # of image, kernel, the result's gradient
FEW = 16  # channels: a convolution with no more than that on both sides takes XLA's slow path on CPUs
PART_POSITIONS = 2**16  # of a part of a kernel gradient with few channels
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
    if is_large(x):
        of_examples = sum_of_frames(lambda x, dy: jnp.einsum("b...i,b...o->bio", x, dy), x, dy)
        return dy @ kernel.T, of_examples.sum(0)
    return dy @ kernel.T, lax.dot_general(x, dy, ((leading, leading), ((), ())))


matmul.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _matmul_backward)


def per_channel(values: jax.Array, x: jax.Array) -> jax.Array:
    """`[C]` in the rank of `x [..., C]`."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


def same_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlation with stride one and zero padding that keeps `H` and `W`; odd kernel sides; in `x`'s dtype."""
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = ((rows, rows), (columns, columns))
    return lax.conv_general_dilated(x, kernel.astype(x.dtype), (1, 1), padding, dimension_numbers=_DIMENSIONS)


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv`: one matrix product on tiny images, over pairs of columns where the output has few channels."""
    tiny = math.prod(x.shape[1:3]) <= math.prod(kernel.shape[:2])
    return _tiny_conv(x, kernel) if tiny else _conv(x, kernel)


def _tiny_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`same_conv` on images no larger than the kernel, where XLA's own convolution is far slower."""
    (height, width), (rows, columns) = kernel.shape[:2], x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    shifted = [padded[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    return jnp.concatenate(shifted, -1) @ kernel.astype(x.dtype).reshape(-1, kernel.shape[-1])


def with_gradients(forward: Conv, of_input: Conv, of_kernel: KernelGradient) -> Conv:
    """A convolution whose gradients are made in other ways than JAX's.

    Args:
        forward: the convolution.
        of_input: an equal one, whose input gradient is taken.
        of_kernel: makes the kernel gradient of image, kernel and the result's gradient.
    """

    @jax.custom_vjp
    def apply(x, kernel):
        return forward(x, kernel)

    def backward(residuals, dy):
        x, kernel = residuals
        (dx,) = jax.vjp(lambda x: of_input(x, kernel), x)[1](dy)
        return dx, of_kernel(x, kernel, dy)

    apply.defvjp(lambda x, kernel: (forward(x, kernel), (x, kernel)), backward)
    return apply


def kernel_gradient_of(conv: Conv) -> KernelGradient:
    """The gradient that JAX makes of this convolution."""
    return lambda x, kernel, dy: jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](dy)[0]


def in_parts(gradient: KernelGradient) -> KernelGradient:
    """The same kernel gradient, summed over parts of the batch.

    One large contraction over the whole batch falls out of the cache and takes up to four times as long.
    """

    def summed(x, kernel, dy):
        parts = _parts(len(x), dy.size)
        pairs = zip(_cut_batch(x, parts), _cut_batch(dy, parts), strict=True)
        return sum(gradient(x_part, kernel, dy_part) for x_part, dy_part in pairs)

    return summed


def _paired_if_few(x: jax.Array, kernel: jax.Array) -> jax.Array:
    few = 64 if kernel.shape[1] > 3 else 32 if kernel.shape[2] <= 4 else 16
    few_channels = kernel.shape[-1] <= few and kernel.shape[1] > 1
    return _paired_conv(x, kernel) if few_channels and x.shape[2] % 2 == 0 else same_conv(x, kernel)


def _same_kernel_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
    """The kernel gradient of `same_conv`.

    It is a convolution too, of which the output's channels are channels. Where they are few it is slow, and several
    times slower in parts, and image and gradient change places: the gradient of the convolution in the opposite
    direction is this one's, turned, and its channels are the input's. Over large parts that falls out of the cache.
    """
    c_in, c_out = kernel.shape[2:]
    if c_out > FEW:
        return in_parts(kernel_gradient_of(same_conv))(x, kernel, dy)
    large = dy.size // c_out // jax.device_count() > PARTS * PART_POSITIONS
    if c_in <= c_out or (c_in > FEW and large):
        return kernel_gradient_of(same_conv)(x, kernel, dy)
    return _turned_kernel_gradient(x, kernel, dy) if c_in <= FEW else in_parts(_turned_kernel_gradient)(x, kernel, dy)


def _turned_kernel_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
    return _turned(kernel_gradient_of(same_conv)(dy, _turned(kernel), x))


def _turned(kernel: jax.Array) -> jax.Array:
    """Of the convolution of the opposite direction: `[kH, kW, C_out, C_in]`."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


_conv = with_gradients(_paired_if_few, same_conv, _same_kernel_gradient)


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
