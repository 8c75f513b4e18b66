"""How unusual the movement before a fixed camera is: statistics of optical flow by place, nothing trained.

A frame is a grid of cells with the mean flow and the mean speed in each, `[rows, columns, 3]`: u, v, |(u, v)|, pixels
per frame. Layer j looks at means over 2^j x 2^j cells: small cells show what is small and fast, large ones what is
large. The distance of a place is Mahalanobis' to its mean (as PaDiM's, Defard et al. 2021), with half of mean and
covariance from the place itself and half from all places, and with a floor under the covariance: a share of the usual
speed, below which a difference is none. A layer's score is the largest distance, smoothed over frames, in deviations
of normal frames that the statistics have not seen. The largest of these is how unusual what moves is. No largest
distance tells that everything moves more slowly or stands still, so the speed of what moves is a part of its own.

Larger = more anomalous. Fitting is in float64 on the host.
"""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.method import over_time, places

CHANNELS = 3  # u, v, speed
FLOORS = (0.40, 0.15, 0.15, 0.15)  # by layer, in usual speeds
SHARED = 0.5  # weight of all places in a place's mean and covariance
SPEED_LAYER = 1  # whose cells say how fast what moves is: means over 2 x 2
AVERAGED = over_time.mean(3)  # features
SMOOTHED = over_time.gaussian(3.0, ahead=8)  # a layer's largest distance
SPEED_AVERAGED = over_time.mean(9)  # the sums that the speed of what moves is made of
SPEED_SMOOTHED = over_time.gaussian(3.0, ahead=4)
LAG = AVERAGED.ahead + SMOOTHED.ahead  # frames until a score is known
SLOW, SLOW_FROM, SLOW_WEIGHT = "slow", 1.25, 6.0  # deviations below the usual speed from which it counts, and how much
SUMS = ("speed_cubed", "speed_squared")
LEAST_DEVIATION = {SLOW: 0.1}  # of the logarithm of the speed
LEAST_DISTANCE_DEVIATION = 0.01
LEAST_FLOOR = 0.02  # pixels per frame: about what the flow of a still scene is
STILL = 1e-9  # pixels per frame: the speed of a frame in which nothing moves at all


@flax.struct.dataclass
class Layer:
    """`mean [rows, columns, 3]`; `whitener [rows, columns, 3, 3]`: a deviation times it has the distance's length."""

    mean: jax.Array
    whitener: jax.Array


@flax.struct.dataclass
class Motion:
    """What a run knows of normal movement, by layer."""

    layers: dict[str, Layer]


def boxed(x: jax.Array, size: int) -> jax.Array:
    """Means `[B, rows, columns, C]` over size x size cells around each; an even box reaches one further up and left.

    The cells at the edge are repeated.
    """
    before, after = size // 2, size - 1 - size // 2
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)), mode="edge")
    total = jax.lax.reduce_window(padded, 0.0, jax.lax.add, (1, size, size, 1), (1, 1, 1, 1), "VALID")
    return total / size**2


def distances(layer: Layer, x: jax.Array) -> jax.Array:
    """`[B, rows, columns]` of a layer's features `[B, rows, columns, 3]`."""
    white = jnp.einsum("brcd,rcde->brce", x - layer.mean[None], layer.whitener, precision=places.PRECISE)
    return jnp.sqrt(jnp.square(white).sum(-1))


def speed_sums(cells: jax.Array) -> dict[str, jax.Array]:
    """Of cells `[B, rows, columns, 3]`, as `SPEED_LAYER` sees them, `{name: [B]}` for `SUMS`.

    The ratio is the speed of what moves.

    Each cell weighs as the square of its speed, so it does not matter how much of the picture stands still.
    """
    speed = boxed(cells, 2**SPEED_LAYER)[..., 2]
    return dict(zip(SUMS, ((speed**power).sum((1, 2)) for power in (3, 2)), strict=True))


def slowness(cubed: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the speed of what moves."""
    return -np.log(cubed / np.maximum(squared, np.finfo(float).tiny) + STILL)


def fit(sums: places.Sums, grid: tuple[int, int], floor: float) -> Layer:
    """The statistics of a layer.

    Args:
        sums: of its features over normal frames, `[P, 3]` each.
        grid: rows and columns; P is their product.
        floor: pixels per frame.
    """
    covariance, mean = sums.covariance(), sums.mean()
    centre = mean.mean(0)
    away = mean - centre
    shared = covariance.mean(0) + away.T @ away / len(away)
    mixed = (1 - SHARED) * covariance + SHARED * shared + max(floor, LEAST_FLOOR) ** 2 * np.eye(CHANNELS)
    whitener = np.linalg.cholesky(np.linalg.inv(mixed))
    mean = (1 - SHARED) * mean + SHARED * centre
    return Layer(
        mean.reshape(*grid, CHANNELS).astype(np.float32), whitener.reshape(*grid, CHANNELS, CHANNELS).astype(np.float32)
    )


def of_frames(units: Mapping[str, np.ndarray], pieces: np.ndarray) -> dict[str, np.ndarray]:
    """What was found in each frame, `{layer: [S]}` and `SUMS` -> each part of the score, smoothed.

    Args:
        units: largest distances by layer, and `SUMS`.
        pieces: lengths of what was filmed in one go.
    """
    parts = {name: values for name, values in units.items() if name not in SUMS}
    found = {name: over_time.of_pieces(values, pieces, SMOOTHED) for name, values in parts.items()}
    sums = (over_time.of_pieces(units[name], pieces, SPEED_AVERAGED) for name in SUMS)
    return found | {SLOW: over_time.of_pieces(slowness(*sums), pieces, SPEED_SMOOTHED)}


class Running:
    """As `of_frames`, of a running video: parts of a frame are known `LAG - AVERAGED.ahead` frames later."""

    def __init__(self) -> None:
        self._parts: dict[str, over_time.Running] = {}
        self._sums = over_time.Running(SPEED_AVERAGED)
        self._slow = over_time.Running(SPEED_SMOOTHED)

    def push(self, units: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Takes the next frames; returns the parts that are known by now."""
        found = {}
        for name, values in units.items():
            if name not in SUMS:
                found[name] = self._parts.setdefault(name, over_time.Running(SMOOTHED)).push(values)
        sums = self._sums.push(np.stack([units[name] for name in SUMS], -1))
        return found | {SLOW: self._slow_of(sums)}

    def end(self) -> dict[str, np.ndarray]:
        """The parts of the last frames. Afterwards another video may begin."""
        found = {name: running.end() for name, running in self._parts.items()}
        last = self._slow_of(self._sums.end())
        return found | {SLOW: np.concatenate([last, self._slow.end()])}

    def _slow_of(self, sums: np.ndarray) -> np.ndarray:
        return self._slow.push(slowness(sums[:, 0], sums[:, 1])) if len(sums) else np.zeros(0)


def scale_of(parts: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Mean and deviation of each part over normal frames that the statistics have not seen."""
    return {
        name: (float(of.mean()), max(float(of.std()), LEAST_DEVIATION.get(name, LEAST_DISTANCE_DEVIATION)))
        for name, of in parts.items()
    }


def standardized(parts: Mapping[str, np.ndarray], scale: Mapping[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """The parts in deviations from what is usual."""
    return {name: (parts[name] - mean) / deviation for name, (mean, deviation) in scale.items()}


def combined(standard: Mapping[str, np.ndarray], slow: bool) -> np.ndarray:
    """The score `[S]`: the largest of the layers and, where `slow` counts, what is slower than usual on top."""
    layers = [values for name, values in standard.items() if name != SLOW]
    found = np.max(layers, axis=0)
    return found + SLOW_WEIGHT * np.maximum(standard[SLOW] - SLOW_FROM, 0) if slow else found
