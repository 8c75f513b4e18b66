"""Statistics of features by place: against scikit-learn, against fitting again, against looking at every neighbour."""

import jax
import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from threadpoolctl import threadpool_info, threadpool_limits

from mocca_jax.method import places, resampling
from mocca_jax.method.blas import one_thread

GRID = (3, 4)
PLACES, SIZE = 12, 5


def features(rng, count):
    """Correlated, with another mean and spread at each place."""
    mix = rng.normal(size=(PLACES, SIZE, SIZE))
    return np.einsum("npd,ped->npe", rng.normal(size=(count, PLACES, SIZE)), mix) + rng.normal(size=(PLACES, SIZE))


def sums_of(x, batches=1):
    made = places.Sums(x[:2].mean(0))
    for part in np.array_split(x, batches):
        made.add(part)
    return made


@pytest.fixture
def many(monkeypatch):
    """A place's own covariance counts alone, as it does where there are very many pictures."""
    monkeypatch.setattr(places, "HALF", 0)


def fitted(x, nuisance=0.0):
    return places.fit(sums_of(x), np.zeros((PLACES, SIZE, SIZE)) + nuisance, x, np.arange(len(x)))


@pytest.fixture
def x(rng):
    return features(rng, 40)


def test_sums_over_any_batches_are_the_same(x):
    whole, parts = sums_of(x), sums_of(x, batches=7)
    for name in ("first", "second", "third", "fourth"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(whole.mean(), x.mean(0), rtol=1e-12, atol=1e-12)


def test_covariance_and_shrinkage_are_those_of_scikit_learn(x):
    made = sums_of(x)
    covariance = made.covariance()
    shrinkage = made.shrinkage(covariance)
    for place in range(PLACES):
        wanted, share = ledoit_wolf(x[:, place])
        assert shrinkage[place] == pytest.approx(share, rel=1e-9)
        mean_variance = np.trace(covariance[place]) / SIZE
        ours = (1 - share) * covariance[place] + share * mean_variance * np.eye(SIZE)
        np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-12)


def test_the_distance_of_a_place_is_that_of_mahalanobis(x, rng, many):
    new = features(rng, 3)
    found = places.distances(fitted(x), new, GRID)["place"]
    for place in range(PLACES):
        inverse = np.linalg.inv(ledoit_wolf(x[:, place])[0])
        away = new[:, place] - x[:, place].mean(0)
        np.testing.assert_allclose(found[:, place] ** 2, np.einsum("nd,de,ne->n", away, inverse, away), rtol=1e-3)


def test_neighbours_are_looked_for_at_the_same_place_and_beside(x, rng):
    new = features(rng, 3).astype(np.float32)
    made = fitted(x)
    found = np.asarray(places.distances(made, new, GRID)["near"])
    at = np.stack(np.divmod(np.arange(PLACES), GRID[1]), 1)
    white, centre = (np.asarray(of) @ np.asarray(made.shared) for of in (new, made.mean))
    bank = np.asarray(made.bank).transpose(0, 2, 1) + centre[:, None]
    for place in range(PLACES):
        beside = np.flatnonzero(np.abs(at - at[place]).sum(1) <= 1)
        away = np.linalg.norm(white[:, place][:, None, None] - bank[beside][None], axis=-1)
        np.testing.assert_allclose(found[:, place], away.min((1, 2)), rtol=1e-3, atol=1e-3)


def test_a_left_out_picture_is_scored_as_by_statistics_without_it(rng, many):
    x = features(rng, 200).astype(np.float32)
    found = places.distances(fitted(x), x[:5], GRID, own=np.arange(5), base=x[:5])
    for number in range(5):
        without = np.delete(x, number, 0)
        made = fitted(without)
        wanted = places.distances(made, x[number][None], GRID)
        np.testing.assert_allclose(found["place"][number], wanted["place"][0], rtol=0.02)
        np.testing.assert_allclose(found["near"][number], wanted["near"][0], rtol=0.05)
    seen = places.distances(fitted(x), x[:5], GRID)
    assert (np.asarray(found["place"]) > np.asarray(seen["place"])).all() and (np.asarray(seen["near"]) < 2e-2).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_or_identical_pictures_give_finite_distances(rng, count):
    for x in (features(rng, count), np.repeat(features(rng, 1), count, 0)):
        made = fitted(x)
        found = places.distances(made, features(rng, 2), GRID)
        assert all(np.isfinite(values).all() for values in jax.device_get(found).values())


def test_a_change_that_is_no_anomaly_counts_less(x, rng):
    direction = rng.normal(size=SIZE)
    nuisance = np.broadcast_to(100 * np.outer(direction, direction), (PLACES, SIZE, SIZE))
    blind = fitted(x, nuisance)
    moved = x[:1] + 3 * direction
    seen, unseen = (places.distances(made, moved, GRID)["place"] for made in (fitted(x), blind))
    assert (unseen < seen).all()


def test_usual_distances_become_standard(rng):
    unseen = rng.gamma(3, size=(500, PLACES))
    usual = places.usual(unseen, GRID)
    standard = (unseen - usual.mean) / usual.deviation
    assert abs(standard.mean()) < 0.05 and abs(standard.std() - 1) < 0.05


def test_resampling_keeps_the_mean_and_a_constant():
    for cells, size in ((16, 64), (16, 16), (32, 16), (7, 20)):
        np.testing.assert_allclose(resampling.means(cells, size).sum(1), 1, rtol=1e-5)
    assert resampling.means(2, 4) @ np.array([0.0, 0, 4, 4]) == pytest.approx([4 / 6, 20 / 6])


def test_a_small_distance_is_no_rounding_of_large_features(x):
    """Features far from zero, as of an encoder: by float64, and of the pictures themselves nothing but the floor."""
    far = (x + 1000).astype(np.float32)
    made = fitted(far)
    near = np.asarray(places.distances(made, far[:3] + np.float32(0.25), GRID)["near"])
    white, centre = (np.asarray(of, np.float64) @ np.asarray(made.shared, np.float64) for of in (far, made.mean))
    moved = 0.25 * np.asarray(made.shared, np.float64).sum(0)
    assert (near <= np.linalg.norm(moved) * 1.02).all()  # that of the picture itself, or of a nearer one
    bank = white.transpose(1, 0, 2) - centre[:, None]
    np.testing.assert_allclose(np.asarray(made.bank), bank.transpose(0, 2, 1), atol=2e-3)
    alone = np.asarray(places.distances(made, far[:3], GRID)["near"])
    lengths = np.linalg.norm(bank.transpose(1, 0, 2)[:3], axis=-1)
    np.testing.assert_allclose(alone, np.sqrt(places.CANCELLED) * lengths, rtol=0.05, atol=2e-3)


def test_distances_that_never_vary_are_told_in_deviations_all_the_same():
    usual = places.usual(np.zeros((6, PLACES), np.float32), GRID)
    assert (usual.mean == 0).all() and usual.deviation == pytest.approx(places.LEAST_DEVIATION)


def test_products_have_one_thread_while_they_should():
    def threads():
        return {of["num_threads"] for of in threadpool_info() if of["user_api"] == "blas"}

    with threadpool_limits(2):
        with one_thread():
            assert threads() == {1}
        assert threads() == {2}
