"""Threshold and p-values from held-out normals."""

import numpy as np
import pytest

from mocca_jax.method import threshold


def test_the_promised_share_of_good_samples_is_kept():
    """Over 2,000 draws of 99 held-out and 100 new normal scores, alpha 0.1: expected share 10 %."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(2000):
        value, promised = threshold.conformal_threshold(rng.normal(size=99), 0.1)
        shares.append((rng.normal(size=100) > value).mean())
    assert promised == pytest.approx(0.1)
    assert np.mean(shares) == pytest.approx(0.1, abs=0.005)


def test_threshold_and_p_values_decide_alike():
    rng = np.random.default_rng(1)
    heldout, scores = rng.normal(size=39), rng.normal(size=500)
    value, _ = threshold.conformal_threshold(heldout, 0.05)
    np.testing.assert_array_equal(scores > value, threshold.p_values(scores, heldout) <= 0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", [0.0, 1e-6, 0.03])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_threshold_and_p_values_decide_alike_next_to_held_out_scores(rng, dtype, rounding, alpha):
    heldout = rng.normal(3, 1, 39).astype(np.float32)
    beside = np.concatenate([heldout, heldout + rounding, threshold.reach(heldout, rounding)]).astype(dtype)
    scores = np.concatenate([np.nextafter(beside, dtype(to)) for to in (-np.inf, np.inf)] + [beside])
    calibration = threshold.Calibration(heldout, alpha, rounding)
    decided = calibration.is_anomalous(scores)
    assert scores.dtype == dtype and decided.any() and not decided.all()
    np.testing.assert_array_equal(scores > calibration.threshold, decided)
    at_least = (np.asarray(calibration.reach)[None] >= scores[:, None].astype(np.float64)).sum(1)
    np.testing.assert_array_equal(calibration.p_values(scores), (1 + at_least) / 40)


def test_scores_within_rounding_count_as_the_same_and_as_at_least_as_anomalous():
    heldout = np.array([1.0, 2.0, 2.0, 3.0])
    scores = np.array([2.0, 2.0 + 1e-7, 2.0 - 1e-7, 2.0 + 1e-3, 3.0 + 1e-7])
    wanted = [0.8, 0.8, 0.8, 0.4, 0.4]
    assert threshold.p_values(scores, heldout, rounding=1e-6).tolist() == wanted
    assert threshold.p_values(scores, heldout).tolist() == [0.8, 0.4, 0.8, 0.4, 0.2]


def test_scores_that_are_nothing_but_rounding_are_all_normal(rng):
    heldout, scores = 1e-13 * rng.normal(size=(2, 20))
    calibration = threshold.Calibration(heldout, 0.1, rounding=1e-12)
    assert (calibration.p_values(scores) == 1).all()
    assert calibration.is_anomalous(np.array([1e-11])).all()


@pytest.mark.parametrize("count, alpha", [(0, 0.1), (5, 0.0), (5, 1.0)])
def test_a_threshold_of_nothing_is_refused(count, alpha):
    with pytest.raises(ValueError, match="held-out scores and alpha"):
        threshold.conformal_threshold(np.zeros(count), alpha)


@pytest.mark.parametrize(
    "count, alpha, effective", [(4, 0.05, 0.2), (19, 0.05, 0.05), (18, 0.05, 1 / 19), (1, 0.01, 0.5)]
)
def test_too_few_held_out_samples_decide_by_the_smallest_alpha_that_they_allow(count, alpha, effective):
    calibration = threshold.Calibration(np.arange(count), alpha)
    assert calibration.alpha == calibration.promised == pytest.approx(effective)
    assert calibration.is_anomalous(np.array([count - 1, count - 0.5])).tolist() == [False, True]


def test_an_alpha_of_ones_own_that_is_too_small_is_refused():
    calibration = threshold.Calibration(np.arange(4), 0.05)
    with pytest.raises(ValueError, match=r"alpha = 0.05 takes 19 held-out .* has 4, .* smallest alpha is 0.2"):
        calibration.is_anomalous(np.zeros(1), 0.05)
    assert calibration.is_anomalous(np.array([9.0]), 0.2).tolist() == [True]
    with pytest.raises(ValueError, match="above 0 and below 1"):
        calibration.is_anomalous(np.zeros(1), 1.0)


@pytest.mark.parametrize("count", [1, 3, 12, 19, 40, 99])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_of_exchangeable_scores_at_most_alpha_is_flagged_on_average(count, alpha):
    """Exact: a new score's rank among n + 1 is uniform, so floor(alpha (n + 1)) / (n + 1) of them are flagged."""
    rng = np.random.default_rng([count, round(100 * alpha)])
    shares, effective = [], max(alpha, 1 / (count + 1))
    for _ in range(1500):
        calibration = threshold.Calibration(rng.exponential(size=count), alpha)
        shares.append(calibration.is_anomalous(rng.exponential(size=50)).mean())
    wanted = np.floor(effective * (count + 1) + 1e-9) / (count + 1)
    noise = 4 * np.std(shares) / np.sqrt(len(shares))
    assert wanted <= effective + 1e-9
    assert abs(np.mean(shares) - wanted) < noise


@pytest.mark.parametrize("count", [5, 20, 60])
def test_scores_that_leave_each_sample_out_flag_about_alpha_and_never_twice_that(count):
    """A model of mean and variance: each score is that by the others, a new sample's that by all of them."""
    rng, alpha, shares = np.random.default_rng(count), 0.1, []
    for _ in range(1500):
        x = rng.normal(3, 2, count)
        rest = np.stack([np.delete(x, n) for n in range(count)])
        heldout = np.abs(x - rest.mean(1)) / rest.std(1)
        calibration = threshold.Calibration(heldout, alpha)
        new = np.abs(rng.normal(3, 2, 50) - x.mean()) / x.std()
        shares.append(calibration.is_anomalous(new).mean())
    effective = max(alpha, 1 / (count + 1))
    assert 0.4 * effective < np.mean(shares) <= 1.25 * effective < 2 * effective
