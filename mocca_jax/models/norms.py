"""Exact rewrites of batch-norm in training, with what follows it, for CPUs; see `rewrites.py`.

Arrays are `[B, ..., C]`. `mask [B]` is 1 for a real example and 0 for padding, which changes no statistic.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from mocca_jax.models import rewrites
from mocca_jax.models.ordering import after_each, frame_by_frame, is_large, sum_of_frames


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
    """Means of the examples, mean and biased variance of the batch; devices exchange values once.

    Each example's own moments are shifted, so that one pass over `y` is accurate.
    """
    axes = tuple(range(1, y.ndim - 1))
    shift = y[(slice(None), *([slice(None, None, 4)] * len(axes)))].mean(axes, keepdims=True)
    centered = y - shift
    offset = centered.mean(axes)
    within = jnp.maximum(jnp.square(centered).mean(axes) - jnp.square(offset), 0)
    example_mean = offset + shift.reshape(offset.shape)
    shares = jax.device_count() if len(y) % jax.device_count() == 0 else 1
    of_shares = _join(*(array.reshape(shares, -1, *array.shape[1:]) for array in (mask, example_mean, within)))
    _, mean, variance = _join(*_on_all_devices(*of_shares))
    return example_mean, mean, variance


def _join(counts, means, variances):
    """Count `[...]`, mean and variance `[..., C]` of groups together, of each one's `[..., N]` and `[..., N, C]`."""
    count = counts.sum(-1)

    def together(values):  # divided last: counts are whole numbers, also in single precision
        return (counts[..., None] * values).sum(-2) / jnp.maximum(count, 1)[..., None]

    mean = together(means)
    return count, mean, together(variances + jnp.square(means - mean[..., None, :]))


def _on_all_devices(count, mean, variance):
    """The same values `[D]` and `[D, C]` of the devices' shares, known on all of them: a sum, each of one row."""
    joined = jnp.concatenate([count[:, None], mean, variance], -1)
    joined = jnp.eye(len(joined), dtype=joined.dtype) @ joined
    return joined[:, 0], *jnp.split(joined[:, 1:], 2, -1)


def _norm_activate_pool_forward(y, mask, eps):
    image_mean, mean, variance = _moments(y, mask)
    pooled = rewrites.max_pool(y)
    scale = lax.rsqrt(variance + eps)
    normal = (pooled - rewrites.per_channel(mean, y)) * rewrites.per_channel(scale, y)
    out = jnp.where(normal >= 0, normal, 0.01 * normal)
    return (out, image_mean, mean, variance), (y, mask, pooled, mean, scale)


def _norm_activate_pool_backward(_, residuals, cotangents):
    y, mask, pooled, mean, scale = residuals
    d_out, d_image_mean, *_ = cotangents
    pixels = y.shape[1] * y.shape[2]
    mean, scale = rewrites.per_channel(mean, y), rewrites.per_channel(scale, y)
    normal = (pooled - mean) * scale
    d_normal = jnp.where(normal >= 0, d_out, 0.01 * d_out)
    count = jnp.maximum(mask.sum(), 1) * pixels
    through_mean = scale * d_normal.sum((0, 1, 2), keepdims=True) / count
    through_variance = jnp.square(scale) * (d_normal * normal).sum((0, 1, 2), keepdims=True) / count
    mask = mask[:, None, None, None]
    dy = jax.vjp(rewrites.max_pool, y)[1](d_normal * scale)[0]
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
    out = normal_again(y, scale, bias, mean, variance, eps=eps, slope=slope)
    return (out, mean, variance), (y, mask, scale, bias, mean, variance)


def normal_again(y, scale, bias, mean, variance, *, eps: float, slope: float) -> jax.Array:
    """What `norm_activate` made of `y`, from the moments that it found."""
    factor = scale * lax.rsqrt(variance + eps)
    out = (y - rewrites.per_channel(mean, y)) * rewrites.per_channel(factor, y) + rewrites.per_channel(bias, y)
    return jnp.where(out >= 0, out, slope * out) if slope != 1 else out


def _norm_activate_backward(eps, slope, residuals, cotangents):
    y, mask, scale, bias, mean, variance = residuals
    d_out = cotangents[0]
    pixels = math.prod(y.shape[1:-1])
    inverse = lax.rsqrt(variance + eps)
    if not is_large(y):
        y = after_each(d_out, y)  # so that nothing made of it is kept from the forward pass

    def normal_and_gradient(y, d_out):
        normal = (y - rewrites.per_channel(mean, y)) * rewrites.per_channel(inverse, y)
        if slope != 1:
            out = normal * rewrites.per_channel(scale, y) + rewrites.per_channel(bias, y)
            d_out = jnp.where(out >= 0, d_out, slope * d_out)
        return normal, d_out

    def sums(y, d_out):
        normal, d_out = normal_and_gradient(y, d_out)
        axes = tuple(range(1, y.ndim - 1))
        return jnp.stack([d_out.sum(axes), (d_out * normal).sum(axes)], 1)

    d_bias, d_scale = sum_of_frames(sums, y, d_out).sum(0)
    count = jnp.maximum(mask.sum(), 1) * pixels
    mask = mask.reshape((-1,) + (1,) * (y.ndim - 1))

    def of_input(y, d_out):
        normal, d_out = normal_and_gradient(y, d_out)
        through_batch = rewrites.per_channel(d_bias / count, y) + normal * rewrites.per_channel(d_scale / count, y)
        return rewrites.per_channel(scale * inverse, y) * (d_out - mask * through_batch)

    return frame_by_frame(of_input, y, d_out, done=d_bias), None, d_scale, d_bias


_norm_activate = jax.custom_vjp(
    lambda y, mask, scale, bias, eps, slope: _norm_activate_forward(y, mask, scale, bias, eps, slope)[0],
    nondiff_argnums=(4, 5),
)
_norm_activate.defvjp(_norm_activate_forward, _norm_activate_backward)
