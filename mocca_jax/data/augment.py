"""Rotation and cropping inside the compiled step, with Pillow's geometry. Images are `[B, H, W, C]` uint8."""

import jax
import jax.numpy as jnp


def random_rotated_crop(raw: jax.Array, key: jax.Array, side: int, degrees: tuple[float, float]) -> jax.Array:
    """A crop of `side` at a random place of each image, rotated by a random angle about its middle.

    The angle is uniform in `degrees`. What lies outside the image is its reflection (without repeating the
    edge), so this equals: pad by reflection, rotate, cut the centre back to `[H, W]`, crop.
    """
    batch, height, width, _ = raw.shape
    angle_key, top_key, left_key = jax.random.split(key, 3)
    angle = jax.random.uniform(angle_key, (batch,), minval=degrees[0], maxval=degrees[1])
    top = jax.random.randint(top_key, (batch,), 0, height - side + 1)
    left = jax.random.randint(left_key, (batch,), 0, width - side + 1)
    if degrees[0] == degrees[1] == 0:
        if side == height == width:
            return raw
        cut = jax.vmap(lambda image, t, c: jax.lax.dynamic_slice(image, (t, c, 0), (side, side, image.shape[-1])))
        return cut(raw, top, left)
    return rotated_crop(raw, angle, top, left, side)


def rotated_crop(raw: jax.Array, degrees: jax.Array, top: jax.Array, left: jax.Array, side: int) -> jax.Array:
    """The square of `side` at `top`, `left` of each image turned counter-clockwise by `degrees`, nearest neighbour.

    `degrees`, `top`, `left`: `[B]`. Same geometry as `PIL.Image.rotate` about the middle.
    """
    _, height, width, _ = raw.shape
    turn = jnp.deg2rad(degrees)[:, None, None]
    row = top[:, None, None] + jnp.arange(side)[None, :, None] + (0.5 - height / 2)
    column = left[:, None, None] + jnp.arange(side)[None, None, :] + (0.5 - width / 2)
    source_column = jnp.floor(jnp.cos(turn) * column - jnp.sin(turn) * row + width / 2).astype(jnp.int32)
    source_row = jnp.floor(jnp.sin(turn) * column + jnp.cos(turn) * row + height / 2).astype(jnp.int32)
    return jax.vmap(lambda image, r, c: image[r, c])(raw, _reflect(source_row, height), _reflect(source_column, width))


def _reflect(index: jax.Array, length: int) -> jax.Array:
    """Indices outside `[0, length)` folded back at the first and the last element."""
    if length == 1:
        return jnp.zeros_like(index)
    index = jnp.mod(index, 2 * (length - 1))
    return jnp.where(index < length, index, 2 * (length - 1) - index)
