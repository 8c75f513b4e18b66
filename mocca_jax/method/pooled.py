"""How unusual the pooled features of a picture are: distances of one vector for each layer, from one or several views.

`DISTANCES` is the table: the Euclidean distance to the mean, the Mahalanobis distance (`whitened`), and the mean
distance to the nearest normal pictures, whitened (`neighbours`) or by direction alone (`cosine`), each by view of the
picture, with statistics of that view, and averaged over the views. The statistics are those of `places.py`; a view
stands for a place. Larger = more anomalous.
"""

from collections.abc import Callable, Iterable, Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.method import places

TINY = 1e-12  # a length that is divided by is at least this
NEAREST = 5  # normal pictures whose mean distance counts
DISTANCE, PRETEXT, SCORE = "distance", "pretext", "score"  # names of what is standardised, and of what is decided by


@flax.struct.dataclass
class Pooled:
    """By layer the statistics of its features, and what each layer's distance, their mean and others usually are.

    `usual`: by name `[2]`, mean and deviation over normal pictures that the statistics had not seen. `weights`: of
    each layer in the score; they add up to 1.
    """

    layers: dict[str, places.Statistics]
    usual: dict[str, jax.Array]
    weights: dict[str, jax.Array]


def fit(features: np.ndarray, distance: str) -> places.Statistics:
    """The statistics of normal pictures `[N, V, D]`, V views of each, for a distance of `DISTANCES`."""
    if distance == "cosine":
        return _directions(np.asarray(features))
    features = np.asarray(features, np.float64)
    sums = places.Sums(features[:8].mean(0))
    sums.add(features)
    nothing = np.zeros((features.shape[1], features.shape[2], features.shape[2]))
    bank = features if distance == "neighbours" else features[:1]  # the others look at no single picture
    return places.fit(sums, nothing, bank, np.arange(len(bank)))


def _directions(features: np.ndarray) -> places.Statistics:
    """Where only directions count: the bank holds them; there is no mean, and nothing that whitens."""
    count, views, _ = features.shape
    bank = (features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), TINY)).transpose(1, 2, 0)
    bank = bank.astype(np.float16).astype(np.float32)
    return places.Statistics(
        mean=np.zeros((views, 0), np.float32),
        whitener=np.zeros((views, 0, 0), np.float32),
        shared=np.zeros((0, 0), np.float32),
        bank=bank,
        squares=np.square(bank).sum(1),
        pictures=np.arange(count, dtype=np.int32),
        count=np.float32(count),
        weight=np.zeros(views, np.float32),
    )


def euclid(found: places.Statistics, x: jax.Array, own: jax.Array | None = None) -> jax.Array:
    """To the mean, `[N, V]`; a picture's own share of the mean is nearly nothing and stays."""
    return jnp.sqrt(jnp.square(x - found.mean[None]).sum(-1))


def whitened(found: places.Statistics, x: jax.Array, own: jax.Array | None = None) -> jax.Array:
    """The Mahalanobis distance, `[N, V]`; with `own`, as if the pictures themselves were not in the statistics."""
    return places.mahalanobis(found, x, None if own is None else x)


def neighbours(found: places.Statistics, x: jax.Array, own: jax.Array | None = None) -> jax.Array:
    """The mean distance to the nearest normal pictures in the same view, `[N, V]`, whitened by what views share."""
    return _to_nearest(found, jnp.matmul(x - found.mean[None], found.shared, precision=places.PRECISE), own)


def cosine(found: places.Statistics, x: jax.Array, own: jax.Array | None = None) -> jax.Array:
    """As `neighbours`, of directions: the distance between two is the length of the chord."""
    return _to_nearest(found, x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), TINY), own)


def _to_nearest(found: places.Statistics, z: jax.Array, own: jax.Array | None) -> jax.Array:
    """The mean distance `[N, V]` of `z [N, V, D]` to the nearest in the bank."""
    products = jnp.einsum("nvd,vdm->nvm", z, found.bank, precision=places.PRECISE)
    length = jnp.square(z).sum(-1, keepdims=True)
    squared = jnp.maximum(found.squares[None] - 2 * products + length, places.CANCELLED * length)
    if own is not None:
        squared = jnp.where((own[:, None] == found.pictures[None])[:, None], jnp.inf, squared)
    nearest = -jax.lax.top_k(-squared, min(NEAREST, squared.shape[-1]))[0]
    nearest = jnp.where(jnp.isfinite(nearest), nearest, nearest[..., :1])  # fewer pictures than neighbours
    return jnp.sqrt(nearest).mean(-1)


DISTANCES: dict[str, Callable[..., jax.Array]] = {
    "euclid": euclid,
    "whitened": whitened,
    "neighbours": neighbours,
    "cosine": cosine,
}


def of_layers(
    distance: Callable[..., jax.Array],
    layers: Mapping[str, places.Statistics],
    features: Mapping[str, jax.Array],
    own: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Each layer's distance `[N]` of features `{layer: [N, V, D]}`, the mean over views.

    Args:
        distance: of `DISTANCES`.
        layers: the statistics.
        features: of the same layers.
        own: `[N]`: the numbers of the normal pictures that these are, which are left out.
    """
    return {name: distance(layers[name], x, own).mean(1) for name, x in features.items()}


def usual(values: np.ndarray) -> np.ndarray:
    """Mean and deviation `[2]` of values over unseen normal pictures; the deviation is at least what rounding is."""
    values = np.asarray(values, np.float64)
    least = max(places.LEAST_DEVIATION * 1e-2 * abs(values.mean()), np.finfo(np.float32).tiny)
    return np.array([values.mean(), max(values.std(), least)], np.float32)


def equal(layers: Iterable[str]) -> dict[str, np.ndarray]:
    """The same weight for each layer."""
    names = list(layers)
    return {name: np.float32(1 / len(names)) for name in names}


def by_auc(aucs: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Weights in proportion to how much better than guessing each layer is; equal where none is.

    Example:
        >>> {name: float(weight) for name, weight in by_auc({"layer0": 0.75, "layer1": 0.5, "layer2": 1.0}).items()}
        {'layer0': 0.3333333432674408, 'layer1': 0.0, 'layer2': 0.6666666865348816}
    """
    better = {name: max(auc - 0.5, 0.0) for name, auc in aucs.items()}
    total = sum(better.values())
    return {name: np.float32(value / total) for name, value in better.items()} if total else equal(aucs)


def standard(found: Pooled, name: str, values: jax.Array) -> jax.Array:
    """Values in deviations from what is usual."""
    mean, deviation = found.usual[name]
    return (values - mean) / deviation


def unit_scores(found: Pooled, parts: Mapping[str, jax.Array], terms: tuple[str, ...]) -> dict[str, jax.Array]:
    """`{name: [N]}`: the layers' distances and the pretext's loss, standardised, and with them the score.

    Args:
        found: the statistics.
        parts: what `of_layers` gives, and the loss under `PRETEXT` where it is used.
        terms: what the score is the sum of: `DISTANCE`, `PRETEXT` or both.
    """
    scores = {name: standard(found, name, values) for name, values in parts.items()}
    summed = []
    if DISTANCE in terms:
        together = sum(weight * scores[name] for name, weight in found.weights.items())
        summed.append(standard(found, DISTANCE, together) if DISTANCE in found.usual else together)
    if PRETEXT in terms:
        summed.append(scores[PRETEXT])
    return scores | {SCORE: sum(summed)}
