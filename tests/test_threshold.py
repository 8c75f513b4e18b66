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


@pytest.mark.parametrize("count, alpha", [(0, 0.1), (5, 0.0), (5, 1.0)])
def test_a_threshold_of_nothing_is_refused(count, alpha):
    with pytest.raises(ValueError, match="held-out scores and alpha"):
        threshold.conformal_threshold(np.zeros(count), alpha)
