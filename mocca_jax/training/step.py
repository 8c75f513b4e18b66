"""One stage of training: its state, its optimiser, the compiled step, the centroid pass.

Nothing here opens a file or knows a data set. All arrays are global: a batch may be spread over devices, and
every mean, quantile and statistic is that of the whole batch without its padding.
"""

from collections.abc import Callable, Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mocca_jax.config import setting
from mocca_jax.method import hypersphere
from mocca_jax.models import AutoEncoder, layer_name, lookup
from mocca_jax.training import accumulation, parallel, pretexts
from mocca_jax.training.stages import TERMS, Stage

Preprocess = Callable[[jax.Array, jax.Array], jax.Array]
Metrics = dict[str, Any]


@flax.struct.dataclass
class TrainState:
    """All that a stage changes, and all that is checkpointed.

    `centroids {layer: [..., D]}` (of the shape of a unit's feature) and `radii {layer: []}` are empty in stages
    without features; `rng` is the data of a key from which each step derives its own. `statistics` of features by
    place stand there in runs that score by them, where nothing is trained.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    centroids: dict[str, jax.Array]
    radii: dict[str, jax.Array]
    rng: jax.Array
    statistics: Any = None


OPTIMIZERS = {
    "adam": lambda: optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
    "sgd": lambda: optax.trace(decay=0.9, nesterov=True),
}
RISING = 0.2  # of the steps of a cycle


def make_optimizer(stage_config, steps_per_epoch: int) -> optax.GradientTransformation:
    """What the stage's settings name, with the decay added to the gradient (the L2 term of Eq. 4)."""
    return optax.chain(
        optax.add_decayed_weights(stage_config.weight_decay),
        lookup(OPTIMIZERS, setting(stage_config, "optimizer"), "optimizer")(),
        optax.scale_by_learning_rate(learning_rate_schedule(stage_config, steps_per_epoch)),
    )


def learning_rate_schedule(stage_config, steps_per_epoch: int) -> optax.Schedule:
    """The rate at each step.

    By steps: x0.1 at each milestone, which counts epochs: with milestone m, epochs 0 to m-1 use the old rate. In one
    cycle (Smith and Topin 2019): up to the rate in the first fifth, then down to nearly nothing, along cosines.
    """
    if setting(stage_config, "schedule") == "one_cycle":
        steps = max(1, stage_config.epochs * steps_per_epoch)
        return optax.cosine_onecycle_schedule(steps, stage_config.learning_rate, RISING)
    drops = {epoch * steps_per_epoch: 0.1 for epoch in stage_config.milestones}
    return optax.piecewise_constant_schedule(stage_config.learning_rate, drops)


def create_state(variables: dict, optimizer, feature_shapes: dict[str, tuple[int, ...]], rng: jax.Array) -> TrainState:
    """A fresh state: zero centroids and radii for the given layers."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(optimizer.init)(variables["params"]),
        centroids={name: jnp.zeros(shape) for name, shape in feature_shapes.items()},
        radii={name: jnp.zeros(()) for name in feature_shapes},
        rng=jax.random.key_data(rng),
    )


def untrained_state(variables: dict, rng: jax.Array) -> TrainState:
    """The state of a network that is used as it is."""
    held = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
    return TrainState(
        jnp.zeros((), jnp.int32), **held, opt_state=(), centroids={}, radii={}, rng=jax.random.key_data(rng)
    )


def make_step(
    model: AutoEncoder, stage: Stage, config, optimizer, preprocess: Preprocess, steps_per_epoch: int
) -> Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, Metrics]]:
    """The training step `(state, raw image [B, ...], mask [B]) -> (state, metrics)`, compiled.

    Metrics are scalars over the real units: `loss`, one per term; `correct`, the share of a pretext's questions that
    was answered correctly; per layer `distance`, `radius` (the one this
    step's loss used) and `variance` (of the features, mean over coordinates). With `accumulation`, which has to divide
    B, batch-norm in training and dropout are each part's own; all else is the whole batch's.
    """
    settings = config[stage.name]
    warmup_steps = config.radius_warmup_epochs * steps_per_epoch
    follows_radii = stage.has_centroids and config.boundary != "hard"
    weights = {name: config.get(f"{name}_weight", 1.0) for name in stage.terms}
    parts = setting(config, "accumulation")

    pretext = stage.pretext

    def objective(params, state, given, mask, dropout, units):
        (inputs, targets), image = given
        count, views = inputs.shape[:2]
        inputs, targets = pretexts.flat((inputs, targets))
        train = settings.batch_norm == "train"
        variables = {"params": params, "batch_stats": state.batch_stats}
        result, updated = model.apply(
            *(variables, inputs, jnp.repeat(mask, views), train),
            method=stage.method,
            mutable=["features", "batch_stats"],
            rngs={"dropout": dropout},
        )
        features = features_of(updated) if stage.has_centroids else {}
        outputs = {"distances": distances(features, state.centroids)}
        answered = {}
        if stage.decodes:
            outputs["pretext"] = pretext.loss(result, targets).reshape(count, views).mean(1)
            if pretext.correct:
                answered["correct"] = pretext.correct(result, targets).reshape(count, views).mean(1)
        metrics = {n: _masked_sum(TERMS[n](outputs, image, state, config), mask) / units for n in stage.terms}
        loss = sum(weight * metrics[name] for name, weight in weights.items())
        metrics |= {name: _masked_sum(values, mask) / units for name, values in answered.items()}
        aux = (updated.get("batch_stats", {}), outputs["distances"], features)
        return loss, (metrics, jax.lax.stop_gradient(aux))

    def step(state: TrainState, raw: jax.Array, mask: jax.Array):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
        image, units = preprocess(raw, key), mask.sum()

        def gradient(params, given, mask, dropout):
            return jax.value_and_grad(objective, has_aux=True)(params, state, given, mask, dropout, units)

        given = pretext.make(image, jax.random.fold_in(key, 1)), image
        grads, found = accumulation.gradients(*(gradient, state.params, given, mask, jax.random.fold_in(key, 0), parts))
        loss, (metrics, (batch_stats, dist, features)) = found[0]
        if parts > 1:
            loss, metrics = jax.tree.map(lambda *shares: sum(shares), *((loss, shares) for loss, (shares, _) in found))
            made = [statistics for _, (_, (statistics, _, _)) in found]
            counts = [accumulation.take(mask, part, parts).sum() for part in range(parts)]
            batch_stats = accumulation.statistics(state.batch_stats, made, counts)
            dist, features = accumulation.join([outputs for _, (_, (_, *outputs)) in found])
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        radii = state.radii
        if follows_radii:
            due = (state.step >= warmup_steps) & ((state.step - warmup_steps) % config.radius_interval == 0)
            fresh = {name: hypersphere.radius_quantile(d, mask, config.nu) for name, d in dist.items()}
            radii = {name: jnp.where(due, fresh[name], radii[name]) for name in radii}
        metrics = {"loss": loss, **metrics, "layers": layer_metrics(dist, features, state.radii, mask)}
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            radii=radii,
        )
        return state, metrics

    return jax.jit(step, donate_argnums=0)


def features_of(collections: dict) -> dict[str, jax.Array]:
    """The sown `features`, as `{layer: [B, ..., D]}` in ascending order of layers."""
    sown = collections["features"]["encoder"]
    return {name: sown[name] for name in sorted(sown, key=lambda n: int(n.removeprefix(layer_name(""))))}


def feature_shapes(model: AutoEncoder, variables: dict, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of one unit's feature, `{layer: [..., D]}`, as `create_state` wants it. Computes nothing."""
    image = np.zeros((2, *image_shape), np.float32)

    def features(variables):
        return model.apply(variables, image, np.ones(2), False, method="encode", mutable=["features"])[1]

    shapes = features_of(jax.eval_shape(features, variables))
    return {name: shape.shape[1:] for name, shape in shapes.items()}


def distances(features: dict[str, jax.Array], centroids: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Squared distances `[B]` of every layer's features to its centroid."""
    return {name: hypersphere.squared_distance(f, centroids[name]) for name, f in features.items()}


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of `values [B, ...]` over the real units."""
    return _masked_sum(values, mask) / mask.sum()


def _masked_sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)) > 0, values, 0).sum(0)


def layer_metrics(dist: dict, features: dict, radii: dict, mask: jax.Array) -> dict[str, Metrics]:
    """Per layer: mean squared distance, radius, and the features' variance and mean square per coordinate."""

    metrics = {}
    for name, d in dist.items():
        feature = features[name]
        mean = masked_mean(feature, mask)
        coordinates = tuple(range(1, feature.ndim))
        metrics[name] = {
            "distance": masked_mean(d, mask),
            "radius": radii[name],
            "variance": masked_mean(jnp.square(feature - mean[None]).mean(coordinates), mask),
            "power": masked_mean(jnp.square(feature).mean(coordinates), mask),
        }
    return metrics


def compute_centroids(
    model: AutoEncoder,
    state: TrainState,
    preprocess: Preprocess,
    batches: Iterable[tuple[jax.Array, jax.Array]],
    push: float,
) -> dict[str, jax.Array]:
    """Each layer's mean feature over all batches, in inference mode, pushed away from zero.

    The mean is exact over the real units, whatever the batch size; sums are kept in float64.

    Args:
        batches: pairs `(raw image, mask)`, each training unit once.
        push: see `hypersphere.push_from_zero`.

    Returns:
        `{layer: [..., D]}`.
    """

    @jax.jit
    def sums(params, batch_stats, rng, index, raw, mask):
        image = preprocess(raw, jax.random.fold_in(jax.random.wrap_key_data(rng), index))
        variables = {"params": params, "batch_stats": batch_stats}
        _, updated = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
        return {name: _masked_sum(f, mask) for name, f in features_of(updated).items()}

    totals: dict[str, np.ndarray] = {}
    count = 0.0
    for index, (raw, mask) in enumerate(batches):
        part = parallel.fetch(sums(state.params, state.batch_stats, state.rng, index, raw, mask))
        count += float(mask.sum())
        for name, value in part.items():
            totals[name] = totals.get(name, 0) + value.astype(np.float64)
    means = {name: jnp.asarray(total / count, jnp.result_type(float)) for name, total in totals.items()}
    return {name: hypersphere.push_from_zero(mean, push) for name, mean in means.items()}
