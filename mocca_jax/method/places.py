"""How unusual each place of a picture is: statistics of joined features by place, in closed form.

Two layer distances, both without training, after PaDiM (Defard et al. 2021) and PatchCore (Roth et al. 2022):

- `place`: the Mahalanobis distance to the mean of a place, with the covariance of that place, shrunk (Ledoit and Wolf
  2004) and, where pictures are few, drawn towards the covariance that all places share;
- `near`: the distance to the nearest normal feature at the same place or one beside it, whitened by the shared
  covariance.

Features are `[N, P, D]`: pictures, the P places of a grid row by row, coordinates. Larger = more anomalous. Fitting is
in float64 on the host; sums over pictures add, so any batches and any number of devices give the same. A picture that
the statistics have seen is scored as if they had not, in closed form: `own` and `base` below.
"""

from concurrent.futures import ThreadPoolExecutor

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, ndimage

from mocca_jax.method.blas import one_thread

FLOOR = 0.01  # of the shared covariance's mean variance: added to it before it is inverted
HALF, HALF_OF_FEW = 70, 100  # pictures at which a place's own covariance counts as much as the shared one
ROUNDING = 1e-4  # of features, relative: nothing is told from less, also where all pictures are alike
CANCELLED = 1e-5  # of a feature's squared length: smaller squared distances between features are rounding
LEAST_DEVIATION = 0.01  # of a distance over normal pictures: less is rounding, where all pictures are alike
LEAST = 0.02  # of the variance along a left-out picture that is kept: beyond, the picture alone made it
IN_CACHE = 2**18  # numbers of covariances that are worked on at once
PRECISE = jax.lax.Precision.HIGHEST  # some devices multiply float32 with fewer digits otherwise
LINE = 64  # bytes of a cache line
BESIDE = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # rows and columns


class Sums:
    """Sums over pictures at each place, float64: what means, covariances and Ledoit-Wolf's shrinkage are made of.

    Args:
        reference: `[P, D]`, values near the mean: sums are taken about them, so that nothing cancels.
    """

    def __init__(self, reference: np.ndarray):
        self.reference = np.asarray(reference, np.float64)
        places, size = self.reference.shape
        self.count = 0
        self.first, self.second = np.zeros((places, size)), np.zeros((places, size, size))
        self.third, self.fourth = np.zeros((places, size)), np.zeros(places)  # of |x|^2 x and of |x|^4

    def add(self, features: np.ndarray) -> None:
        """Counts pictures `[N, P, D]`."""
        self.count += len(features)
        with one_thread():
            for place, reference in enumerate(self.reference):  # one at a time: small enough for the cache
                x = features[:, place] - reference
                square = np.square(x).sum(1)
                self.first[place] += x.sum(0)
                self.second[place] += x.T @ x
                self.third[place] += square @ x
                self.fourth[place] += square @ square

    def __add__(self, other: "Sums") -> "Sums":
        """Over the pictures of both, which have one reference."""
        both = Sums(self.reference)
        for name in ("count", "first", "second", "third", "fourth"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def part(self, rows: slice) -> "Sums":
        """Of some of the places."""
        some = Sums(self.reference[rows])
        some.count = self.count
        for name in ("first", "second", "third", "fourth"):
            setattr(some, name, getattr(self, name)[rows])
        return some

    def mean(self) -> np.ndarray:
        """`[P, D]`."""
        return self.reference + self.first / self.count

    def covariance(self) -> np.ndarray:
        """`[P, D, D]`, divided by the number of pictures."""
        mean = self.first / self.count
        return self.second / self.count - mean[:, :, None] * mean[:, None, :]

    def mean_covariance(self) -> np.ndarray:
        """`[D, D]`: the mean of `covariance` over the places."""
        return (self.second.mean(0) - self.first.T @ self.first / (self.count * len(self.first))) / self.count

    def shrinkage(self, covariance: np.ndarray) -> np.ndarray:
        """`[P]` in [0, 1]: Ledoit and Wolf's share of the mean variance times I in the estimate of each covariance."""
        mean, count, size = self.first / self.count, self.count, self.first.shape[1]
        norm = np.square(mean).sum(1)
        along = np.einsum("pd,pde,pe->p", mean, self.second, mean, optimize=True)
        trace_of_second = np.einsum("pdd->p", self.second)
        fourth = self.fourth + 4 * along + count * norm**2 - 4 * (mean * self.third).sum(1)  # about the mean
        fourth += 2 * norm * trace_of_second - 4 * norm * (mean * self.first).sum(1)
        squares, trace = np.square(covariance).sum((1, 2)), np.einsum("pdd->p", covariance)
        away = squares - trace**2 / size
        noise = (fourth / count - squares) / count
        return np.clip(np.minimum(noise, away) / np.maximum(away, np.finfo(float).tiny), 0, 1)


@flax.struct.dataclass
class Usual:
    """`[P]`: mean and deviation of a distance over normal pictures that the statistics have not seen."""

    mean: jax.Array
    deviation: jax.Array


@flax.struct.dataclass
class Statistics:
    """Of one grid of places.

    `mean [P, D]`; `whitener [P, D, D]`, upper triangular: a deviation times it has the length of the Mahalanobis
    distance; `shared [D, D]` whitens by the covariance of all places; `bank [P, D, M]`: features of M normal pictures
    less their place's mean, whitened, `squares [P, M]` their squared lengths, `pictures [M]` their numbers; `count` of
    normal pictures; `weight [P]`: what one picture adds to the covariance of its place, as a factor of its outer
    product; `at [M, 2]`: where all places are one, left and top of what the bank holds in its picture, pixels.
    """

    mean: jax.Array
    whitener: jax.Array
    shared: jax.Array
    bank: jax.Array  # float32 values that float16 can hold
    squares: jax.Array
    pictures: jax.Array
    count: jax.Array
    weight: jax.Array
    place: Usual | None = None
    near: Usual | None = None
    at: jax.Array | None = None


def fit(sums: Sums, nuisance: np.ndarray, bank: np.ndarray, pictures: np.ndarray) -> Statistics:
    """The statistics of normal pictures, not yet standardised.

    Args:
        sums: over all of them.
        nuisance: `[P, D, D]`: mean outer product of what a change that is no anomaly, such as of the lamp, makes of
            features; directions in which it moves them count less.
        bank: `[M, P, D]`, features of some of them.
        pictures: `[M]`: their numbers.
    """
    count, mean = sums.count, sums.mean()
    (places, size), own = mean.shape, _own(sums.count)
    lamps = nuisance.mean(0, dtype=np.float64)
    shared = sums.mean_covariance() * (count / max(count - 1, 1)) + lamps
    least, diagonal = least_variance(mean), np.arange(size)
    root = _whitener(shared + max(FLOOR * np.trace(shared) / size, least) * np.eye(size))
    root32, weight = root.astype(np.float32), np.zeros(places, np.float32)
    whitener, held = _aligned(places, size, size), _aligned(places, size, len(bank))

    def fit_some(start: int) -> None:
        part = sums.part(rows := slice(start, start + at_once))
        shrinkage = part.shrinkage(covariance := part.covariance())
        trace = np.einsum("pdd->p", covariance)
        covariance *= (own * (1 - shrinkage))[:, None, None]
        covariance[:, diagonal, diagonal] += (own * shrinkage * trace / size)[:, None] + least
        covariance += nuisance[rows] + (1 - own) * (shared - lamps)
        for place, of in enumerate(covariance, start):
            whitener[place] = _whitener(of)
        deviations = (bank[:, rows] - mean[rows]).astype(np.float32).transpose(1, 0, 2) @ root32
        held[rows] = deviations.transpose(0, 2, 1).astype(np.float16)
        weight[rows] = own * (1 - shrinkage) * count / max(count - 1, 1) ** 2

    at_once = max(1, IN_CACHE // size**2)
    with one_thread(), ThreadPoolExecutor() as pool:
        list(pool.map(fit_some, range(0, places, at_once)))
    return Statistics(
        mean=mean.astype(np.float32),
        whitener=whitener,
        shared=root32,
        bank=held,
        squares=np.einsum("pdm,pdm->pm", held, held),
        pictures=np.asarray(pictures, np.int32),
        count=np.float32(count),
        weight=weight,
    )


def _aligned(*shape: int) -> np.ndarray:
    """Float32 without content, lying so that devices of the CPU need no copy of it."""
    size = 4 * int(np.prod(shape))
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].view(np.float32).reshape(shape)


def least_variance(features: np.ndarray) -> float:
    """Of features about these values `[..., D]`: less than this is rounding, and nothing is told from it."""
    return (ROUNDING * np.sqrt(np.square(features).mean())) ** 2 + np.finfo(np.float32).eps ** 2


def _whitener(covariance: np.ndarray) -> np.ndarray:
    """The inverse of the upper Cholesky factor of `[D, D]`: what deviations are multiplied by."""
    inverse, fault = linalg.lapack.dtrtri(linalg.cholesky(covariance, check_finite=False))
    if fault:
        raise np.linalg.LinAlgError(f"a factor that cannot be inverted (place {fault})")
    return inverse


def _own(count: int) -> float:
    """How much a place's own covariance counts, in [0, 1), against the one that all share."""
    few, many = count / (count + HALF_OF_FEW), count**3 / (count**3 + HALF**3)
    return max(few, many) if count > 1 else 0.0


def distances(
    found: Statistics, x: jax.Array, grid: tuple[int, int], own: jax.Array | None = None, base: jax.Array | None = None
) -> dict[str, jax.Array]:
    """`place` and `near`, each `[N, P]`, not squared.

    Args:
        found: the statistics.
        x: `[N, P, D]`.
        grid: rows and columns; P is their product.
        own: `[N]`, with `base`: the number of the normal picture that each was made from.
        base: `[N, P, D]`: that picture's own features. Its part in the statistics is taken out.
    """
    return {"place": mahalanobis(found, x, base), "near": _nearest(found, x, grid, own)}


def mahalanobis(found: Statistics, x: jax.Array, base: jax.Array | None = None) -> jax.Array:
    """The distance `[N, P]` of `x [N, P, D]` to the mean of each place; `base`: as for `distances`."""
    white = _whitened(found, x)
    square = jnp.square(white).sum(-1)
    if base is not None:
        # The mean without the picture is mean - b / (n - 1), the covariance is less by weight * b b'.
        without = _whitened(found, base)
        white = white + without / jnp.maximum(found.count - 1, 1)
        both, alone = (white * without).sum(-1), jnp.square(without).sum(-1)
        weight = found.weight[:, None]
        left = jnp.maximum(1 - weight * alone, LEAST)
        square = jnp.square(white).sum(-1) + weight * jnp.square(both) / left
    return jnp.sqrt(square).T


def _whitened(found: Statistics, x: jax.Array) -> jax.Array:
    """`[P, N, D]`: places first, as the products are computed."""
    deviations = (x - found.mean[None]).transpose(1, 0, 2)
    return jnp.einsum("pnd,pde->pne", deviations, found.whitener, precision=PRECISE)


def _nearest(found: Statistics, x: jax.Array, grid: tuple[int, int], own: jax.Array | None) -> jax.Array:
    """Distance `[N, P]` to the nearest in the bank, at the same place or one beside it.

    The pictures are moved over the bank, which is large and stays. Both are told from the mean of the bank's place: a
    squared distance is a difference of squares, and these must not be much larger than it.
    """
    z, centre = (jnp.matmul(of, found.shared, precision=PRECISE) for of in (x, found.mean))
    count, (rows, columns), size = z.shape[0], grid, z.shape[-1]
    framed = jnp.pad(z.reshape(count, rows, columns, size), ((0, 0), (1, 1), (1, 1), (0, 0)))
    moved = [framed[:, 1 + i : 1 + i + rows, 1 + j : 1 + j + columns] for i, j in BESIDE]
    moved = jnp.stack(moved).reshape(len(BESIDE) * count, rows * columns, size) - centre[None]
    moved = moved.transpose(1, 0, 2)
    products = jnp.einsum("pqd,pdm->pqm", moved, found.bank, precision=PRECISE)
    squared = found.squares[:, None] - 2 * products
    if own is not None:
        others = own[:, None] != found.pictures[None]
        squared = jnp.where(jnp.tile(others, (len(BESIDE), 1))[None], squared, jnp.inf)
    length = jnp.square(moved).sum(-1)
    least = jnp.maximum(squared.min(-1) + length, CANCELLED * length)
    least = least.T.reshape(len(BESIDE), count, rows, columns)
    least = jnp.pad(least, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=jnp.inf)
    back = [least[k, :, 1 - i : 1 - i + rows, 1 - j : 1 - j + columns] for k, (i, j) in enumerate(BESIDE)]
    return jnp.sqrt(jnp.stack(back).min(0).reshape(count, rows * columns))


def usual(unseen: np.ndarray, grid: tuple[int, int]) -> Usual:
    """What a distance `[N, P]` usually is on unseen normal pictures.

    Half of it comes from each place and its neighbours, half from all; the fewer pictures, the less from a place.
    """
    count = len(unseen)
    own = 0.5 * count / (count + 4)

    def spread(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values.reshape(grid), 3, mode="nearest").ravel()

    unseen = unseen.astype(np.float64)
    mean = own * spread(unseen.mean(0)) + (1 - own) * unseen.mean()
    variance = own * spread(unseen.var(0)) + (1 - own) * unseen.var()
    deviation = np.maximum(np.sqrt(variance), max(LEAST_DEVIATION, np.finfo(np.float32).eps * abs(unseen.mean())))
    return Usual(mean.astype(np.float32), deviation.astype(np.float32))


def standardized(found: Statistics, distance: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Distances in deviations from what is usual at their place."""
    return {
        name: (values - getattr(found, name).mean[None]) / getattr(found, name).deviation[None]
        for name, values in distance.items()
    }
