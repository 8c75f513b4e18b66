"""The same pixels get the same decision in any company; scores that are nothing but rounding decide nothing."""

import jax
import numpy as np
import pytest

from mocca_jax import Detector, data, pipeline
from mocca_jax.files import whole
from mocca_jax.method import metrics, threshold
from mocca_jax.outputs import bundle, results
from mocca_jax.scoring import evaluate, fitting, maps, placed, rounding
from mocca_jax.training import parallel
from tests import runs

COMPANIES = {
    "alone": lambda pictures: [pictures[n : n + 1] for n in range(len(pictures))],
    "in pairs": lambda pictures: [pictures[n : n + 2] for n in range(0, len(pictures), 2)],
    "together": lambda pictures: [pictures],
    "the other way round": lambda pictures: [pictures[n : n + 7][::-1] for n in range(0, len(pictures), 7)][::-1],
}


def detectors(content, by, monkeypatch, numbers=(1, 2, 8)):
    """On so many devices."""
    for devices in numbers:
        monkeypatch.setattr(parallel.own_mesh, "__defaults__", (devices,))
        yield Detector(content, by)


def views(content, pictures):
    """Pictures as the network sees them."""
    detector = Detector(content)
    return [detector.view(picture) for picture in pictures]


def good(folder):
    """Thirty good pictures, of which half were held out."""
    return sorted((folder / "train/good").glob("*.png"))[:30]


@pytest.mark.parametrize("by", ["score", "map"])
@pytest.mark.parametrize("kind", ["object", "texture"])
def test_the_same_pixels_get_the_same_decision_in_any_company(finished, parts, by, kind, monkeypatch):
    content = bundle.load(finished / kind)
    check_in_any_company(content, by, views(content, good(parts)), monkeypatch)


def test_statistics_decide_the_same_in_any_company(monkeypatch):
    monkeypatch.setattr(fitting, "MADE_ON", 6)
    content = Detector.fit(runs.drawn(24, seed=3), runs.shallow(maps=("statistics",), batch_size=8)).content
    pictures = views(content, runs.drawn(14, seed=4))
    for by in ("score", "map"):
        check_in_any_company(content, by, pictures, monkeypatch, (1, 8))


def check_in_any_company(content, by, pictures, monkeypatch, devices=(1, 2, 8)):
    """Raises AssertionError where a p-value or a decision differs, or rounding is not between noise and spread."""
    p_values, decisions, scores = [], [], []
    for detector in detectors(content, by, monkeypatch, devices):
        for company, part in COMPANIES.items():
            found = [detector.findings(detector.of_views([chunk])) for chunk in part(pictures)]
            found = found[::-1] if company == "the other way round" else found
            turn = slice(None, None, -1) if company == "the other way round" else slice(None)
            p_values.append(np.concatenate([one.p_value[turn] for one in found]))
            decisions.append(np.concatenate([one.anomalous[turn] for one in found]))
            scores.append(np.concatenate([one.score[turn] for one in found]))
    for found in (p_values, decisions):
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])
    noise, heldout = np.ptp(scores, axis=0).max(), detector.calibration.heldout
    assert 2 * noise < detector.calibration.rounding < 0.02 * heldout.std()


def test_what_a_run_writes_of_its_test_set_is_what_its_detector_says(finished, parts):
    for kind in ("object", "texture"):
        run = finished / kind
        rows, found = runs.rows_of(run / results.SCORES["test"]), whole.read_json(run / results.RESULT)
        detector = Detector.load(run, by="score")
        examined = detector.examine([parts / row["sample"] for row in rows])
        assert [float(row["p_value"]) for row in rows] == examined.p_value.tolist()
        assert found["threshold"]["score"] == detector.calibration.threshold
        assert found["threshold"]["rounding"] == detector.calibration.rounding == detector.content.rounding["score"]
        assert found["maps"]["rounding"] == detector.content.rounding["map"]
        assert found["maps"]["threshold"] == Detector.load(run, by="map").calibration.threshold
        assert found["decision"]["rounding"] == detector.content.rounding[found["decision"]["by"]]


def alike(folder, **changes):
    """A folder of the same good picture forty times, and a run on it whose scores are nothing but rounding."""
    for number in range(40):
        runs.save(folder / f"train/good/{number:02d}.png", (32, 32, 3), seed=7)
    config = runs.quick(folder, "mocca", stages=("one_class",), centroid_push=0.0, boundary="hard", **changes)
    config.one_class.epochs = 0
    return config


@pytest.mark.parametrize("norm", ["squared", "l2"])
def test_of_identical_pictures_none_is_anomalous_and_a_defect_is(tmp_path, monkeypatch, norm):
    config = alike(tmp_path, score_norm=norm, maps=(), batch_size=4)
    pipeline.run(config, tmp_path / "run")
    content = bundle.load(tmp_path / "run")
    assert content.heldout.max() < 1e-6
    same = views(content, good(tmp_path)[:9])
    defect = same[0].copy()
    defect[10:14, 10:14] = 0
    for detector in detectors(content, "score", monkeypatch, (1, 8)):
        for part in COMPANIES.values():
            for chunk in part(same):
                assert (detector.findings(detector.of_views([chunk])).p_value == 1).all()
        found = detector.findings(detector.of_views([[same[0], defect, same[1]]]))
        assert found.anomalous.tolist() == [False, True, False]


def test_identical_videos_are_scored_in_numbers_that_mean_something():
    """Two terms that do not vary, or by rounding: what is added up stays finite, and an anomaly stands out."""
    still = {evaluate.ONE_CLASS: np.zeros(9), evaluate.RECONSTRUCTION: np.full(9, 342.1, np.float32)}
    still[evaluate.RECONSTRUCTION][3] += np.float32(3e-5)
    reference = evaluate.Scores(still[evaluate.ONE_CLASS], still)
    scale = evaluate.scale_of(reference)
    found = evaluate.standardized(reference, scale)
    assert np.abs(found.combined).max() < evaluate.size(reference, scale) * rounding.LEAST
    odd = evaluate.Scores(np.ones(1), {name: values[:1] + np.float32(1) for name, values in still.items()})
    assert 1e3 < evaluate.standardized(odd, scale).combined[0] < np.inf


def test_moved_states_are_always_the_same_and_keep_everything_but_the_weights(finished):
    state = bundle.load(finished / "object").state
    first, again = (list(rounding.states(state)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    moved = jax.tree.leaves(first[0].params)
    for before, after in zip(jax.tree.leaves(state.params), moved, strict=True):
        assert before.shape == after.shape and before.dtype == after.dtype
        np.testing.assert_allclose(after, before, rtol=1.2 * rounding.MOVED)
        assert not np.any(before) or (after != before).any()
    assert first[0].centroids is state.centroids and first[0].radii is state.radii
    assert any((a != b).any() for a, b in zip(moved, jax.tree.leaves(first[1].params), strict=True))


def test_rounding_is_the_furthest_move_with_a_margin_or_what_adding_up_makes():
    before = np.array([1.0, 2.0])
    moved = [np.array([1.0, 2.001]), np.array([0.998, 2.0])]
    assert rounding.measure(before, moved, 2.0) == pytest.approx(rounding.MARGIN * 2e-3)
    assert rounding.measure(before, [before], 2.0) == 2 * rounding.LEAST
    assert rounding.measure(np.zeros(2), [np.zeros(2)], 0.0) == 0.0


def test_nothing_is_compiled_to_measure_it(finished, parts):
    """The programs that score the splits and draw the maps are called with sizes that they know."""
    config = runs.quick(parts, "mocca", maps=("features",))
    detector = Detector.load(finished / "object")
    heldout = data.load(config).heldout
    context = maps.Context(detector.scorer.model, detector.scorer.state, detector.inputs, config, detector.scorer.mesh)
    method = maps.make("features", context, maps.fit("features", context, heldout.pictures))
    list(method(heldout.pictures))
    sizes = []
    original = parallel.bucket
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "bucket", lambda *of: sizes.append(original(*of)) or sizes[-1])
        list(method(heldout.pictures))
        known = set(sizes)
        sizes.clear()
        assert rounding.of_maps(context, method, heldout.pictures, 1.0) > 0
    assert set(sizes) <= known and len(sizes) == 1 + rounding.DRAWS


def test_a_file_without_rounding_compares_exactly(finished, tmp_path):
    manifest, arrays = bundle.read(finished / "object" / bundle.FILE)
    del manifest["rounding"]  # as written by earlier versions
    bundle.write(tmp_path / "old.npz", manifest, arrays)
    old = Detector.load(tmp_path / "old.npz", by="score")
    assert old.calibration.rounding == 0.0
    np.testing.assert_array_equal(old.calibration.reach, np.sort(arrays["heldout"].astype(np.float64)))
    old.save(tmp_path / "again.npz")
    assert "rounding" not in bundle.read(tmp_path / "again.npz")[0]


def test_a_choice_does_not_hang_on_rounding():
    assert metrics.best({"a": 0.9, "b": 0.9 + 1e-9}) == metrics.best({"a": 0.9, "b": 0.9 - 1e-9}) == "a"
    assert metrics.best({"b": 0.9, "a": 0.9}) == "b" and metrics.best({"a": 0.9, "b": 0.91}) == "b"
    alike = dict.fromkeys(placed.CANDIDATES, 0.9)
    ahead = alike | {"fine": 0.95, "place": 0.95 + 1e-9}
    assert metrics.better(alike | {"all": 0.9 + 1e-9}, "place", placed.MARGIN) == "place"
    assert metrics.better(ahead, "coarse_and_fine_near", placed.MARGIN) == "fine"


def test_a_held_out_picture_looked_at_again_ties_with_itself(finished, parts):
    """With 20 held out, the one that scored highest has two of 21 at least as anomalous: itself, and the new one."""
    rows = runs.rows_of(finished / "object" / results.SCORES["heldout"])
    top = max(rows, key=lambda row: float(row["score"]))
    detector = Detector.load(finished / "object", by="score")
    assert detector.p_value(parts / top["sample"])[0] == 2 / 21
    others = [parts / row["sample"] for row in rows]
    in_order = np.argsort(np.argsort([-float(row["score"]) for row in rows]))
    np.testing.assert_allclose(detector.p_value(others), (in_order + 2) / 21)
    np.testing.assert_allclose(np.concatenate([detector.p_value(path) for path in others]), (in_order + 2) / 21)
    assert threshold.p_values(np.array([float(top["score"])]), detector.calibration.heldout)[0] == 2 / 21
