"""What decides in a run: the choice on made-up defects, and its figures for the result."""

import numpy as np
import pytest

from mocca_jax.method import threshold
from mocca_jax.outputs import decision


def of_score(auc):
    return {"combined": {"auc": auc}, "layer1": {"auc": 1.0}}


def of_maps(auc, others=()):
    candidates = {"features": {"image_auc": auc, "aupro": 0.5}, **{name: {"image_auc": 1.0} for name in others}}
    return {"method": "features", "candidates": candidates}


@pytest.mark.parametrize(
    "score, drawn, wanted",
    [
        (0.7, 0.8, "map"),
        (0.8, 0.7, "score"),
        (0.8, 0.8, "score"),  # the simpler of two that are alike
        (0.8, 0.8 + 1e-4, "score"),  # by a pair of pictures, or by rounding
        (1.0, 1.0, "score"),
    ],
)
def test_the_better_one_on_made_up_defects_decides(score, drawn, wanted):
    assert decision.by(of_score(score), of_maps(drawn), own=False) == wanted
    assert decision.aucs(of_score(score), of_maps(drawn)) == {"score": score, "map": drawn}


def test_a_share_flagged_takes_scores_within_rounding_for_the_same():
    test = HELDOUT[[17, 17, 17, 18]] + [0.0, 1e-6, 1e-3, 0.0]
    flagged = [decision.describe("score", HELDOUT, test, np.zeros(4, int), 0.1, of) for of in (0.0, 1e-5)]
    assert [row["normal_flagged"] for row in flagged] == [0.75, 0.5]
    assert flagged[1]["rounding"] == 1e-5 and flagged[1]["threshold"] == pytest.approx(18.00001, rel=1e-7)


def test_only_the_chosen_map_counts():
    assert decision.by(of_score(0.8), of_maps(0.7, others=("gradient",)), own=False) == "score"


def test_the_score_decides_where_the_map_is_the_same_or_nothing_can_be_compared():
    assert decision.by(of_score(0.1), of_maps(0.9), own=True) == "score"
    assert decision.by(of_score(0.1), None, own=False) == "score"
    assert decision.by({}, of_maps(0.9), own=False) == "score"
    assert decision.by({}, None, own=False) == "score"
    without = {"method": "features", "candidates": {"features": {"aupro": 0.9}}}  # no good pictures to tell from
    assert decision.by(of_score(0.1), without, own=False) == "score"
    assert decision.aucs({}, None) == {}


HELDOUT = np.arange(1.0, 20.0)  # 19: with alpha 0.1 the 18th of 19 is the threshold


def test_its_figures_are_those_of_the_test_set_by_hand():
    test = np.array([0.0, 18.5, 10.0, 30.0, 17.0, 99.0])
    labels = np.array([0, 0, 0, 1, 1, -1])
    row = decision.describe("map", HELDOUT, test, labels, 0.1)
    assert row["by"] == "map" and row["alpha"] == 0.1 and row["threshold"] == 18.0 and row["heldout"] == 19
    assert row["promised_share"] == pytest.approx(0.1)
    assert row["normal_flagged"] == pytest.approx(1 / 3) and row["anomalous_flagged"] == 0.5
    assert row["auc"] == pytest.approx(5 / 6)  # of six pairs one is the wrong way round; the unknown sample has no say
    assert {"ap", "max_ba"} <= row.keys()


def test_the_shares_flagged_are_those_that_p_values_flag(rng):
    heldout, test = rng.normal(size=7), rng.normal(1, 1, 100)
    row = decision.describe("score", heldout, test, np.zeros(100, int), 0.05)
    calibration = threshold.Calibration(heldout, 0.05)
    assert row["normal_flagged"] == calibration.is_anomalous(test).mean() > 0
    assert row["promised_share"] == calibration.alpha == 1 / 8


@pytest.mark.parametrize(
    "labels, known",
    [([0, 0, 0], {"normal_flagged"}), ([1, 1, 1], {"anomalous_flagged"}), ([-1, -1, -1], set())],
)
def test_one_kind_of_labels_has_no_auc(labels, known):
    row = decision.describe("score", HELDOUT, np.array([0.0, 5.0, 50.0]), np.array(labels), 0.1)
    assert "auc" not in row and {name for name in row if name.endswith("_flagged")} == known


def test_without_held_out_samples_without_alpha_or_without_a_test_set_nothing_is_made_up():
    empty = np.zeros(0, int)
    test, labels = np.array([1.0, 2.0]), np.array([0, 1])
    assert decision.describe("score", None, None, empty, 0.1) == {"by": "score", "alpha": 0.1, "threshold": None}
    alone = decision.describe("score", None, test, labels, None)
    assert alone["threshold"] is None and alone["auc"] == 1.0 and not {"normal_flagged", "heldout"} & alone.keys()
    assert decision.describe("score", HELDOUT, None, empty, 0.1).keys() == {
        *("by", "alpha", "threshold", "promised_share", "heldout", "rounding")
    }
