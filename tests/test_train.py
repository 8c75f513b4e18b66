"""The training step: schedule, decay, radius, padding, hand-over."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mocca_jax import models
from mocca_jax.errors import UserError
from mocca_jax.training import handover
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES

SHAPE = (16, 16, 3)


def prepare(config, stage_name="one_class", steps_per_epoch=10):
    stage = STAGES[stage_name]
    layers = config.layers if stage.has_centroids else ()
    model = models.build(config, SHAPE, layers)
    variables = models.init_variables(model, SHAPE, jax.random.key(0), stage.method)
    optimizer = train.make_optimizer(config[stage_name], steps_per_epoch)
    sizes = dict(zip(("layer0", "layer1", "layer2", "layer3"), (32, 64, 128, 16), strict=True))
    state = train.create_state(variables, optimizer, sizes if stage.has_centroids else {}, jax.random.key(0))
    step = train.make_step(model, stage, config, optimizer, lambda raw, key: raw, steps_per_epoch)
    return step, state


def copy(state):
    return jax.tree.map(jnp.array, state)


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("stage", ["reconstruction", "one_class"])
def test_a_padded_batch_trains_as_the_short_one_does(double, smoke, rng, formulation, stage):
    smoke.formulation = formulation
    smoke.radius_warmup_epochs = 0
    step, state = prepare(smoke, stage)
    image = jnp.asarray(rng.random((5, *SHAPE)))
    padded = jnp.concatenate([image, jnp.ones((3, *SHAPE))])
    mask = jnp.array([1, 1, 1, 1, 1, 0, 0, 0.0])
    short_state, short_metrics = step(copy(state), image, jnp.ones(5))
    long_state, long_metrics = step(copy(state), padded, mask)
    # Adam's first moment is 0.1 x the gradient: it compares gradients without Adam's division by their size.
    for short, long in (
        (short_metrics, long_metrics),
        (short_state.batch_stats, long_state.batch_stats),
        (short_state.radii, long_state.radii),
        (short_state.opt_state[1].mu, long_state.opt_state[1].mu),
    ):
        assert_close(long, short)


def assert_close(ours, theirs, rtol=1e-9):
    """Trees are in double precision and equal up to `rtol`, and up to a hundredth of it of the largest value."""
    ours, theirs = jax.device_get((ours, theirs))
    assert {leaf.dtype.name for leaf in jax.tree.leaves((ours, theirs))} <= {"float64"}
    largest = max([np.abs(x).max() for x in jax.tree.leaves(theirs)], default=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100 * largest), ours, theirs)


def test_the_rate_falls_at_the_first_step_of_a_milestone(smoke):
    smoke.one_class.milestones = (2, 3)
    rate = train.learning_rate_schedule(smoke.one_class, steps_per_epoch=10)
    assert [float(rate(step)) for step in (0, 19, 20, 29, 30)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_decay_is_added_to_the_gradient(smoke):
    """A zero gradient with decay moves a weight by the whole rate, as Adam does with any constant gradient."""
    smoke.one_class.weight_decay = 0.1
    optimizer = train.make_optimizer(smoke.one_class, 10)
    params = {"w": jnp.array([2.0])}
    updates, _ = optimizer.update({"w": jnp.zeros(1)}, optimizer.init(params), params)
    assert float(updates["w"][0]) == pytest.approx(-1e-3, rel=1e-4)


def test_radii_stay_zero_in_warmup_and_follow_the_batch_after(smoke, rng):
    smoke.radius_warmup_epochs = 1
    step, state = prepare(smoke, steps_per_epoch=2)
    image = jnp.asarray(rng.random((6, *SHAPE)), jnp.float32)
    seen = []
    for _ in range(3):
        state, metrics = step(state, image, jnp.ones(6))
        seen.append((float(state.radii["layer0"]), float(metrics["layers"]["layer0"]["radius"])))
    assert seen[0] == seen[1] == (0.0, 0.0)
    assert seen[2][0] > 0
    assert seen[2][1] == 0.0  # the loss of a step uses the radius from before it


def test_hard_boundary_keeps_no_radius(smoke, rng):
    smoke.boundary = "hard"
    smoke.radius_warmup_epochs = 0
    step, state = prepare(smoke)
    state, _ = step(state, jnp.asarray(rng.random((6, *SHAPE)), jnp.float32), jnp.ones(6))
    assert float(state.radii["layer0"]) == 0.0


def test_centroids_stay_where_they_are(smoke, rng):
    step, state = prepare(smoke)
    state = state.replace(centroids={name: c + 0.5 for name, c in state.centroids.items()})
    before = jax.device_get(state.centroids)
    state, _ = step(state, jnp.asarray(rng.random((6, *SHAPE)), jnp.float32), jnp.ones(6))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.centroids))


def test_inference_mode_batch_norm_leaves_the_statistics_alone(smoke, rng):
    smoke.one_class.batch_norm = "eval"
    step, state = prepare(smoke)
    before = jax.device_get(state.batch_stats)
    state, _ = step(state, jnp.asarray(rng.random((6, *SHAPE)), jnp.float32), jnp.ones(6))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.batch_stats))


def test_centroids_do_not_depend_on_the_batch_size(double, smoke, rng):
    _, state = prepare(smoke)
    model = models.build(smoke, SHAPE, smoke.layers)
    image = jnp.asarray(rng.random((7, *SHAPE)))

    def centroids(batches):
        return train.compute_centroids(model, state, lambda raw, key: raw, batches, push=0.0)

    whole = centroids([(image, jnp.ones(7))])
    padding = jnp.ones((3, *SHAPE))
    cut = centroids([(image[:5], jnp.ones(5)), (jnp.concatenate([image[5:], padding]), jnp.array([1, 1, 0, 0, 0.0]))])
    single = centroids([(image[i : i + 1], jnp.ones(1)) for i in range(7)])
    for other in (cut, single):
        assert_close(other, whole)


def encoder(value):
    return {
        "params": {"encoder": {"conv1": {"kernel": np.full((2, 2), value)}}},
        "batch_stats": {"encoder": {"norm1": {"mean": np.full(2, value)}}},
    }


def test_handover_moves_every_encoder_array_and_leaves_heads():
    source, target = encoder(1.0), encoder(0.0)
    source["params"]["decoder"] = {"conv1": {"kernel": np.ones(3)}}
    target["params"]["encoder"]["head0"] = {"kernel": np.zeros(2)}
    moved, count = handover.transfer_encoder(source, target)
    assert count == 2
    assert moved["params"]["encoder"]["conv1"]["kernel"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert moved["batch_stats"]["encoder"]["norm1"]["mean"].tolist() == [1.0, 1.0]
    assert moved["params"]["encoder"]["head0"]["kernel"].tolist() == [0.0, 0.0]
    assert "decoder" not in moved["params"]


def test_handover_lists_what_is_missing_or_does_not_fit():
    source, target = encoder(1.0), encoder(0.0)
    del source["batch_stats"]["encoder"]
    source["params"]["encoder"]["conv1"]["kernel"] = np.ones(5)
    with pytest.raises(UserError, match=r"(?s)0 of 2 .*conv1/kernel: \(5,\) there.*norm1/mean \(2,\): missing"):
        handover.transfer_encoder(source, target)


def test_handover_of_nothing_is_an_error():
    with pytest.raises(UserError, match="0 of 0"):
        handover.transfer_encoder(encoder(1.0), {"params": {}, "batch_stats": {}})


def test_an_optimizer_without_milestones_keeps_its_rate(smoke):
    assert isinstance(train.make_optimizer(smoke.one_class, 3), optax.GradientTransformation)
    rate = train.learning_rate_schedule(smoke.one_class, 3)
    assert float(rate(10_000)) == pytest.approx(1e-3)
