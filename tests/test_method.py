"""The method's arithmetic: distances, centroids, radii, losses, scores. Expected numbers are worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mocca_jax.method import hypersphere, losses, metrics, scores
from mocca_jax.method.timeline import Timeline

MASK = jnp.ones(4)


def test_distance_is_the_squared_norm():
    features = jnp.array([[1.0, 2.0], [4.0, 6.0]])
    assert hypersphere.squared_distance(features, jnp.array([1.0, 2.0])).tolist() == [0.0, 25.0]


@pytest.mark.parametrize("features, centroid", [((3,), (3,)), ((2, 3), (2,)), ((2, 3), (1, 3))])
def test_distance_refuses_shapes_that_would_broadcast(features, centroid):
    with pytest.raises(ValueError, match="expected features"):
        hypersphere.squared_distance(jnp.zeros(features), jnp.zeros(centroid))


def test_small_coordinates_are_pushed_out_and_zero_stays():
    pushed = hypersphere.push_from_zero(jnp.array([0.05, -0.05, 0.0, 0.1, -0.3]), 0.1)
    np.testing.assert_allclose(pushed, [0.1, -0.1, 0.0, 0.1, -0.3])
    assert hypersphere.push_from_zero(jnp.array([0.05]), 0.0).tolist() == [pytest.approx(0.05)]


@pytest.mark.parametrize("nu", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("real", [1, 2, 7, 20])
def test_radius_is_numpys_quantile_of_the_real_units(rng, nu, real):
    distances = rng.uniform(0, 9, 20).astype(np.float32)
    mask = np.zeros(20, np.float32)
    chosen = rng.permutation(20)[:real]
    mask[chosen] = 1
    ours = hypersphere.radius_quantile(jnp.asarray(distances), jnp.asarray(mask), nu)
    assert float(ours) == pytest.approx(np.quantile(np.sqrt(distances[chosen]), 1 - nu), rel=1e-5)


def test_soft_loss_is_the_squared_radius_inside_and_grows_with_one_over_nu_outside():
    distances = {"layer0": jnp.array([1.0, 4.0, 9.0, 14.0])}
    loss = losses.soft_boundary(distances, {"layer0": jnp.array(2.0)}, nu=0.1)
    np.testing.assert_allclose(loss, [4.0, 4.0, 54.0, 104.0], rtol=1e-6)


def test_only_samples_outside_the_sphere_pull():
    def total(d):
        return losses.soft_boundary({"layer0": d}, {"layer0": jnp.array(2.0)}, nu=0.5).sum()

    assert jax.grad(total)(jnp.array([1.0, 4.0, 9.0])).tolist() == [0.0, 1.0, 2.0]  # a tie splits in half


def test_at_radius_zero_the_soft_loss_is_the_hard_one():
    distances = {"layer0": jnp.array([1.0, 2.0]), "layer3": jnp.array([3.0, 5.0])}
    radii = {"layer0": jnp.array(0.0), "layer3": jnp.array(0.0)}
    soft = losses.soft_boundary(distances, radii, nu=0.25)
    np.testing.assert_allclose(soft, losses.hard_boundary(distances, {}, nu=0.25))
    np.testing.assert_allclose(soft, [8.0, 14.0])


def test_hard_loss_without_nu_is_the_mean_distance():
    assert losses.hard_boundary({"layer0": jnp.array([3.0])}, {}, nu=0).tolist() == [3.0]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_gives_one_number_per_example_and_a_gradient(name, rng):
    distances = {f"layer{j}": jnp.asarray(rng.uniform(0, 4, 5), jnp.float32) for j in (0, 2)}
    radii = {layer: jnp.array(1.0) for layer in distances}
    loss = losses.LOSSES[name](distances, radii, nu=0.1)
    assert loss.shape == (5,)
    gradient = jax.grad(lambda d: losses.LOSSES[name](d, radii, nu=0.1).sum())(distances)
    assert all(np.isfinite(g).all() and (np.asarray(g) >= 0).all() for g in gradient.values())


@pytest.mark.parametrize("nu", [0.0, -0.1, 1.5])
def test_soft_loss_refuses_nu_outside_its_range(nu):
    with pytest.raises(ValueError, match="nu"):
        losses.soft_boundary({"layer0": MASK}, {"layer0": jnp.array(1.0)}, nu=nu)


def test_soft_loss_refuses_layers_without_a_radius():
    with pytest.raises(ValueError, match="layer1"):
        losses.soft_boundary({"layer0": MASK, "layer1": MASK}, {"layer0": jnp.array(1.0)}, nu=0.1)


def test_losses_need_a_layer():
    with pytest.raises(ValueError, match="at least one layer"):
        losses.hard_boundary({}, {}, nu=0.1)


def test_reconstruction_error_sums_over_an_image():
    image = jnp.zeros((2, 2, 2, 3))
    error = losses.reconstruction_error(image + jnp.array([1.0, 2.0]).reshape(2, 1, 1, 1), image)
    assert error.tolist() == [12.0, 48.0]
    with pytest.raises(ValueError, match="differ in shape"):
        losses.reconstruction_error(image, image[:1])


def test_scores_subtract_the_radius_for_every_boundary_but_the_hard():
    distances = {"layer0": jnp.array([4.0, 9.0]), "layer1": jnp.array([1.0, 16.0])}
    radii = {"layer0": jnp.array(1.0), "layer1": jnp.array(2.0)}
    soft = scores.combine(scores.layer_scores(distances, radii, boundary="soft"))
    hard = scores.combine(scores.layer_scores(distances, radii, boundary="hard"))
    l2 = scores.combine(scores.layer_scores(distances, radii, boundary="soft", norm="l2"))
    assert soft.tolist() == [0.0, 10.0]  # ((4-1) + (1-4)) / 2, ((9-1) + (16-4)) / 2
    assert hard.tolist() == [2.5, 12.5]
    assert l2.tolist() == [0.0, 2.0]  # ((2-1) + (1-2)) / 2, ((3-1) + (4-2)) / 2
    assert scores.combine(scores.layer_scores(distances, radii, boundary="of one's own")).tolist() == soft.tolist()


def test_scores_refuse_an_unknown_norm():
    with pytest.raises(ValueError, match="known"):
        scores.layer_scores({"layer0": MASK}, {"layer0": jnp.array(0.0)}, boundary="soft", norm="l3")


@pytest.mark.parametrize("name", scores.AGGREGATES)
def test_every_aggregate_gives_finite_scores(name):
    clips = Timeline(["a"], np.array([9]), np.zeros(6, int), np.arange(6), 4)
    where = {"frames": clips}.get(name, np.arange(6))
    assert np.isfinite(scores.AGGREGATES[name](np.arange(6.0), where)).all()


def test_metrics_of_a_worked_example():
    """Thresholds from the top: 0.8 (a), 0.4 (n), 0.35 (a), 0.1 (n)."""
    found = metrics.evaluate(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    assert found["auc"] == pytest.approx(3 / 4)
    assert found["ap"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found["max_ba"] == pytest.approx(3 / 4)


def test_metrics_do_not_change_when_scores_are_scaled(rng):
    labels, values = rng.integers(0, 2, 50), rng.normal(size=50)
    assert metrics.evaluate(labels, values) == metrics.evaluate(labels, 3 * values - 7)


@pytest.mark.parametrize(
    "labels, values, message",
    [
        ([0, 0], [1.0, 2.0], "need normal"),
        ([0, 1], [1.0, np.nan], "not finite"),
        ([0, 1], [1.0], "expected labels"),
    ],
)
def test_metrics_refuse_what_they_cannot_measure(labels, values, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(np.array(labels), np.array(values))
