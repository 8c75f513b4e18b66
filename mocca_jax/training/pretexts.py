"""Pretexts: tasks without labels that teach an encoder what normal pictures look like.

A pretext is two pure functions and a line in `PRETEXTS`: `make` turns a batch of pictures into inputs and targets,
`loss` compares what the network's head made of the inputs with the targets. Each is a training stage of the same name;
`stages.add` adds one of your own.

- `reconstruction`: the picture itself, by the decoder (the paper's pretext, section III)
- `rotation`: by which of four right angles a picture is turned (Gidaris et al. 2018; for anomalies Golan and El-Yaniv
  2018)
- `transforms`: that, and how far it is moved along rows and columns (Hendrycks et al. 2019)
- `pasted`: whether a piece of another picture was pasted into a window (Li et al. 2021, CutPaste; Schlueter et al.
  2022, NSA, whose Poisson blending is a soft edge and an equal mean color here)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mocca_jax.method import losses

TURNS = 4
MOVES = 3  # places along an axis: moved by a part of the side up, not, down
QUARTER, SHIFT = 4, 8  # that part; pictures are shifted by up to an eighth of their side in training
WINDOW = 64  # pixels: side of what `pasted` looks at
LEAST_PIECE, MOST_PIECE = 0.1, 0.5  # of the window's side

Made = tuple[jax.Array, Any]


@dataclass(frozen=True)
class Pretext:
    """A task.

    Args:
        make: `(images [B, H, W, C], key) -> (inputs [B, V, h, w, C], targets [B, V, ...])`, V views of each; without
            a key nothing is random, as in scoring. The targets may be any tree of arrays.
        loss: `(output [N, ...], targets [N, ...]) -> [N]`, smaller = better solved.
        outputs: numbers that the head gives for an input; 0 = the head is the network's decoder.
        correct: `(output, targets) -> [N]`, the share that was answered correctly, of pretexts that ask a question.
        square: only square pictures can be looked at.
    """

    make: Callable[[jax.Array, jax.Array | None], Made]
    loss: Callable[[jax.Array, Any], jax.Array]
    outputs: int = 0
    correct: Callable[[jax.Array, Any], jax.Array] | None = None
    square: bool = False


def views(pretext: Pretext, images: jax.Array, key: jax.Array | None) -> Made:
    """Inputs and targets of a batch, `flat`."""
    return flat(pretext.make(images, key))


def flat(tree: Any) -> Any:
    """Arrays `[B, V, ...]` with one axis in front, `[B * V, ...]`: the views of a picture behind each other."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def check(name: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError where the pretext of this name cannot look at pictures of this shape."""
    if name in PRETEXTS and PRETEXTS[name].outputs and len(shape) != 3:
        raise ValueError(f"the stage {name!r} looks at pictures, not at clips: shape {shape}")
    if name in PRETEXTS and PRETEXTS[name].square and shape[0] != shape[1]:
        raise ValueError(
            f"the stage {name!r} turns pictures by right angles: they must be square, not {shape[0]}x{shape[1]}"
        )


def unchanged(images: jax.Array, key: jax.Array | None) -> Made:
    """One view: the picture, which is its own target."""
    return images[:, None], images[:, None]


def rotated(images: jax.Array, key: jax.Array | None) -> Made:
    """Four views, each turned by a right angle more; targets are numbers of right angles."""
    inputs = turned(images if key is None else varied(images, key))
    return inputs, jnp.broadcast_to(jnp.arange(TURNS), inputs.shape[:2])


def transformed(images: jax.Array, key: jax.Array | None) -> Made:
    """Four turned views, each moved at random; targets `[B, V, 3]`: right angles, place along rows, along columns.

    In scoring nothing is moved.
    """
    shape, middle = (images.shape[0], TURNS), MOVES // 2
    if key is None:
        inputs, moves = turned(images), jnp.full((*shape, 2), middle)
    else:
        first, second = jax.random.split(key)
        inputs = turned(varied(images, first))
        moves = jax.random.randint(second, (*shape, 2), 0, MOVES)
        quarters = jnp.array([side // QUARTER for side in images.shape[1:3]])
        flat = inputs.reshape(-1, *images.shape[1:])
        inputs = moved(flat, ((moves - middle) * quarters[None, None]).reshape(-1, 2), QUARTER).reshape(inputs.shape)
    turns = jnp.broadcast_to(jnp.arange(TURNS)[None, :, None], (*shape, 1))
    return inputs, jnp.concatenate([turns, moves], -1)


def turned(images: jax.Array) -> jax.Array:
    """`[B, H, H, C]` -> `[B, 4, H, H, C]`."""
    return jnp.stack([jnp.rot90(images, turns, (1, 2)) for turns in range(TURNS)], 1)


def varied(images: jax.Array, key: jax.Array) -> jax.Array:
    """Pictures mirrored or not, and shifted by up to an eighth of their sides."""
    first, second = jax.random.split(key)
    mirrors = jax.random.bernoulli(first, shape=(images.shape[0], 1, 1, 1))
    most = jnp.array([[side // SHIFT for side in images.shape[1:3]]])
    by = jax.random.randint(second, (images.shape[0], 2), -most, most + 1)
    return moved(jnp.where(mirrors, images[:, :, ::-1], images), by, SHIFT)


def moved(images: jax.Array, by: jax.Array, share: int) -> jax.Array:
    """Pictures moved by `[B, 2]` rows and columns, at most 1/`share` of their sides; what comes in is reflected."""
    rows, columns = (side // share for side in images.shape[1:3])
    framed = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)), mode="reflect")
    return cut(framed, by + jnp.array([[rows, columns]]), images.shape[1:3])


def cut(images: jax.Array, at: jax.Array, sides: tuple[int, int]) -> jax.Array:
    """The window of these sides of each picture, `at [B, 2]` its first row and column."""

    def one(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*sides, image.shape[-1]))

    return jax.vmap(one)(images, at)


def pasted(images: jax.Array, key: jax.Array | None) -> Made:
    """Two views of a window: as it is, and with a piece of the picture before it in the batch; targets 0 and 1.

    The piece comes from near the same place, at another strength and in slightly other colors. In scoring: the middle
    window, and only as it is.
    """
    count, sides = images.shape[0], tuple(min(WINDOW, side) for side in images.shape[1:3])
    room = jnp.array([[side - of for side, of in zip(images.shape[1:3], sides, strict=True)]])
    if key is None:
        inputs = cut(images, jnp.broadcast_to(room // 2, (count, 2)), sides)[:, None]
        return inputs, jnp.zeros(inputs.shape[:2], jnp.int32)
    keys = jax.random.split(key, 4)
    at = jax.random.randint(keys[0], (count, 2), 0, room + 1)
    window = cut(varied(images, keys[1]), at, sides)
    near = jnp.clip(at + jax.random.randint(keys[2], (count, 2), -sides[0] // 2, sides[0] // 2 + 1), 0, room)
    other = cut(jnp.roll(images, 1, 0), near, sides)
    changed = _with_piece(window, other, keys[3])
    return jnp.stack([window, changed], 1), jnp.broadcast_to(jnp.arange(2), (count, 2))


def _with_piece(window: jax.Array, other: jax.Array, key: jax.Array) -> jax.Array:
    """A soft-edged piece of `other` in each window `[B, h, w, C]`."""
    count, rows, columns, channels = window.shape
    keys = jax.random.split(key, 5)
    half = jax.random.uniform(keys[0], (count, 2), minval=LEAST_PIECE, maxval=MOST_PIECE) / 2
    centre = jax.random.uniform(keys[1], (count, 2), minval=0.1, maxval=0.9)
    angle = jax.random.uniform(keys[2], (count, 1, 1), maxval=jnp.pi)
    down = (jnp.arange(rows) / rows)[None, :, None] - centre[:, 0, None, None]
    across = (jnp.arange(columns) / columns)[None, None] - centre[:, 1, None, None]
    along = jnp.abs(down * jnp.cos(angle) + across * jnp.sin(angle)) - half[:, 0, None, None]
    beside = jnp.abs(across * jnp.cos(angle) - down * jnp.sin(angle)) - half[:, 1, None, None]
    edge = jax.random.uniform(keys[3], (count, 1, 1), minval=1 / rows, maxval=6 / rows)
    share = jnp.clip(0.5 - jnp.maximum(along, beside) / edge, 0, 1)[..., None]
    weight = share.sum((1, 2), keepdims=True)
    apart = ((window - other) * share).sum((1, 2), keepdims=True) / jnp.maximum(weight, 1)
    first, second = jax.random.split(keys[4])
    kept = jax.random.uniform(first, (count, 1, 1, 1), minval=0.0, maxval=1.0)  # of the difference of mean colors
    tint = 0.1 * jax.random.normal(second, (count, 1, 1, channels))
    return window + share * (other + (1 - kept) * apart + tint - window)


def turned_and_mirrored(images: jax.Array) -> jax.Array:
    """`[B, H, H, C]` -> `[B, 8, H, H, C]`."""
    return jnp.concatenate([turned(images), turned(images[:, :, ::-1])], 1)


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], -1)[:, 0]


def _correct(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return (logits.argmax(-1) == targets).astype(logits.dtype)


def _questions(logits: jax.Array) -> tuple[jax.Array, ...]:
    """The answers to the three questions of `transforms`."""
    return logits[:, :TURNS], logits[:, TURNS : TURNS + MOVES], logits[:, TURNS + MOVES :]


def transforms_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The sum over the three questions."""
    return sum(_cross_entropy(part, targets[:, index]) for index, part in enumerate(_questions(logits)))


def _transforms_correct(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return sum(_correct(part, targets[:, index]) for index, part in enumerate(_questions(logits))) / 3


VIEWS: dict[str, Callable[[jax.Array], jax.Array]] = {  # of a picture, in scoring: `[B, V, H, W, C]`
    "plain": lambda images: images[:, None],
    "mirrored": lambda images: jnp.stack([images, images[:, :, ::-1]], 1),
    "turned": turned,
    "turned_and_mirrored": turned_and_mirrored,
}
PRETEXTS: dict[str, Pretext] = {
    "reconstruction": Pretext(unchanged, losses.reconstruction_error),
    "rotation": Pretext(rotated, _cross_entropy, TURNS, _correct, square=True),
    "transforms": Pretext(transformed, transforms_loss, TURNS + 2 * MOVES, _transforms_correct, square=True),
    "pasted": Pretext(pasted, _cross_entropy, 2, _correct),
}
