"""Drift: evidence against a stream that is as the normal pictures, valid at any time."""

import json
import shutil

import numpy as np
import pytest

from mocca_jax import Detector
from mocca_jax.commands import drift as command
from mocca_jax.commands import predict
from mocca_jax.errors import UserError
from mocca_jax.method import drift
from mocca_jax.outputs import predictions
from mocca_jax.training import parallel
from tests.runs import pictures


def alarm(normal, stream, alpha=0.05, seed=0):
    p_values = drift.online_p_values(normal, stream, np.random.default_rng(seed))
    return drift.first_alarm(drift.wealth(p_values), alpha)


def test_p_values_are_uniform_and_independent_over_orders_also_with_ties(rng):
    scores = np.repeat(np.arange(6.0), 5)  # many of each
    orders = [rng.permutation(scores) for _ in range(2000)]
    found = np.array([drift.online_p_values(order[:20], order[20:], rng) for order in orders])
    assert found.mean(0) == pytest.approx(0.5, abs=0.03) and found.var(0) == pytest.approx(1 / 12, abs=0.01)
    correlations = np.corrcoef(found.T)[np.triu_indices(10, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(2000)
    assert (np.sort(found.ravel()) - np.linspace(0, 1, found.size)).max() < 0.02


def test_scores_within_rounding_count_as_the_same():
    apart = np.array([1.0, 2.0, 3.0])
    alike = drift.online_p_values(apart, np.array([2.4]), np.random.default_rng(0), rounding=0.5)
    same = drift.online_p_values(apart, np.array([2.0]), np.random.default_rng(0))
    assert alike == same


def test_without_a_change_alarms_are_at_most_as_rare_as_promised(rng):
    scores = rng.standard_normal(150)
    orders = [rng.permutation(scores) for _ in range(200)]
    assert np.mean([alarm(order[:50], order[50:]) is not None for order in orders]) <= 0.05


def test_wealth_is_the_same_by_hand():
    # One jump first leaves thirds; p = 0: bets grow by 3/2, 1, 1/2. Then 1/100 is spread over the three: p = 1.
    first = np.array([1.5, 1.0, 0.5]) / 3
    second = (0.99 * first + 0.01 / 3) * np.array([0.5, 1.0, 1.5])
    np.testing.assert_allclose(drift.wealth(np.array([0.0, 1.0])), [1.0, second.sum()], rtol=1e-12)


def test_larger_and_smaller_scores_are_both_found_soon_and_a_few_defects_are_not(rng):
    normal = rng.standard_normal(200)
    good = rng.standard_normal(60)
    for moved in (2.0, -2.0):
        assert 60 < alarm(normal, np.concatenate([good, rng.standard_normal(60) + moved])) < 90
    with_defects = rng.standard_normal(200)
    with_defects[::20] = 50
    assert alarm(normal, with_defects, 0.01) is None


@pytest.fixture
def as_told(monkeypatch, capsys):
    """Runs the command: exit code and what it printed."""
    monkeypatch.setattr(parallel, "configure", lambda *_: None)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            command.main([str(argument) for argument in arguments])
        return ended.value.code, capsys.readouterr().out

    return run


def test_the_command_reads_predictions_and_pictures(untrained, washers, tmp_path, as_told):
    predict.predict(untrained, [str(washers / "test/good")], tmp_path / "out")
    code, text = as_told(untrained, tmp_path / "out")
    assert code == 0 and "no drift in 8 pictures" in text
    for given in ([tmp_path / "out" / predictions.ROWS], pictures(washers, "test/good")):
        code, text = as_told(untrained, *given, "--json")
        found = json.loads(text)
        assert code == 0 and not found["drift"] and found["pictures"] == 8 and found["after"] is None


def test_the_command_tells_after_how_many_pictures(untrained, tmp_path, as_told):
    heldout = Detector.load(untrained).calibration.heldout
    lines = [
        json.dumps({"path": f"{n}.png", "score": score, "frame": None})
        for n, score in enumerate([*heldout, *(heldout.max() + np.arange(1.0, 41.0))])
    ]
    table = tmp_path / predictions.ROWS
    table.write_text("\n".join(lines))
    code, text = as_told(untrained, table, "--json")
    found = json.loads(text)
    assert code == 4 and 24 < found["after"] < 64 and found["path"] == f"{found['after'] - 1}.png"
    assert found["evidence"] >= found["limit"] == 100 and found["higher"] > 0.5
    code, text = as_told(untrained, table)
    assert code == 4 and text.startswith(f"DRIFT: after {found['after']} of 64 pictures, at {found['path']}")


def test_streams_that_cannot_be_told_from_are_refused(untrained, finished, washers, tmp_path):
    detector = Detector.load(untrained)
    with pytest.raises(UserError, match="a run on videos"):
        command.scores(Detector.load(finished / "clip"), ["x"])
    table = tmp_path / predictions.ROWS
    for line, said in (
        ('{"path": "a", "score": 1, "frame": 3}', "holds frames of films"),
        ('{"path": "a", "score": NaN, "frame": null}', "holds no predictions"),
        ('{"path": "a"}', "holds no predictions"),
        ("[1]", "holds no predictions"),
        ("no", "holds no predictions"),
        ("", "holds no predictions"),
    ):
        table.write_text(line)
        with pytest.raises(UserError, match=said):
            command.scores(detector, [str(table)])
    predict.predict(untrained, [str(washers / "test/good")], tmp_path / "out")
    shutil.copy(tmp_path / "out" / predictions.ROWS, tmp_path / "copy.jsonl")
    assert len(command.scores(detector, [str(tmp_path / "copy.jsonl")])[0]) == 8
    with pytest.raises(UserError, match="made with another detector"):
        command.scores(Detector.load(finished / "object"), [str(tmp_path / "out")])
