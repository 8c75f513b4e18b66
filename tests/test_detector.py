"""A finished run in use: detector, threshold, predictions, bad input."""

import csv
import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector, data, pipeline
from mocca_jax.commands import predict
from mocca_jax.data import incoming
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method import threshold
from mocca_jax.outputs import bundle, predictions, results
from tests.conftest import REPOSITORY
from tests.runs import clip, quick, save


def scores_in(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["sample"] for row in rows], np.array([float(row["score"]) for row in rows]), rows


@pytest.mark.parametrize("kind", ["object", "texture"])
def test_a_loaded_detector_scores_files_as_the_run_did(finished, parts, kind, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(finished / kind, moved)
    detector = Detector.load(moved, by="score")
    names, wanted, rows = scores_in(finished / kind / results.SCORES["test"])
    files = [parts / name for name in names]
    found = detector.examine(files)
    np.testing.assert_allclose(found.score, wanted, rtol=1e-4, atol=1e-6)
    # Rounding may bring a score to the other side of a held-out one: each p-value is that of its own score.
    np.testing.assert_array_equal(found.p_value, detector.calibration.p_values(found.score))
    np.testing.assert_array_equal([float(row["p_value"]) for row in rows], detector.calibration.p_values(wanted))
    np.testing.assert_allclose(found.layers["layer1"], [float(row["layer1"]) for row in rows], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        found.anomalous, found.score > whole.read_json(moved / "result.json")["threshold"]["score"]
    )
    largest = [values.max() for values in detector.anomaly_map(files)]
    np.testing.assert_allclose(largest, [float(row["map_largest"]) for row in rows], rtol=1e-3)
    decision = whole.read_json(moved / "result.json")["decision"]
    followed = Detector.load(moved)
    assert followed.by == decision["by"]
    assert followed.calibration.threshold == pytest.approx(decision["threshold"], rel=1e-6)
    column = "score" if decision["by"] == "score" else "map_largest"
    np.testing.assert_allclose(followed.score(files), [float(row[column]) for row in rows], rtol=1e-3)


def test_the_map_can_decide_instead_of_the_score(finished, parts):
    names, _, rows = scores_in(finished / "object" / results.SCORES["test"])
    detector = Detector.load(finished / "object", by="map")
    found = detector.examine([parts / name for name in names])
    np.testing.assert_allclose(found.score, [float(row["map_largest"]) for row in rows], rtol=1e-3)
    np.testing.assert_allclose(detector.calibration.threshold, detector.map_scale.threshold, rtol=1e-6)
    with pytest.raises(UserError, match="one of 'score', 'map'"):
        Detector.load(finished / "object", by="maps")


def test_one_by_one_in_batches_as_arrays_and_in_threads_the_scores_are_the_same(finished, parts):
    detector = Detector.load(finished / "object" / "detector.npz")
    files = sorted(parts.rglob("*.png"))[:13]
    together = detector.score(files)
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    np.testing.assert_allclose(detector.score(iter(arrays)), together, rtol=1e-4)
    np.testing.assert_allclose(detector.score([a / 255 for a in arrays]), together, rtol=1e-4)
    found = np.zeros(len(files))

    def one(index):
        found[index] = detector.score(files[index])[0]

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(found, together, rtol=1e-4)


def test_conventions_of_scikit_learn_have_the_other_sign(finished, parts):
    detector = Detector.load(finished / "object")
    files = sorted(parts.rglob("*.png"))[-5:]
    score, anomalous = detector.score(files), detector.predict(files)
    np.testing.assert_allclose(detector.score_samples(files), -score, rtol=1e-6)
    np.testing.assert_array_equal(detector.decision_function(files) < 0, anomalous)
    np.testing.assert_array_equal(detector.outlier_labels(files) == -1, anomalous)


def test_few_batch_sizes_are_compiled(finished, rng):
    detector = Detector.load(finished / "object")
    sizes = set()
    compiled = detector.scorer._program
    detector.scorer._program = lambda state, raw, mask: sizes.add(len(raw)) or compiled(state, raw, mask)
    for count in (1, 2, 3, 5, 8, 9, 17):
        detector.score(rng.integers(0, 256, (count, 32, 32, 3), np.uint8))
    assert len(sizes) <= 4 and max(sizes) == 8


def test_a_run_on_videos_scores_a_film_as_it_scored_the_frames(finished, tmp_path):
    detector = Detector.load(finished / "clip")
    split = data.load(clip()).test
    _, wanted, rows = scores_in(finished / "clip" / results.SCORES["test"])
    length = int(split.timeline.lengths[0])
    frames = split.images.frames[int(split.images.starts[0]) :][:length]
    found = detector.examine(list(frames))
    # Both terms agree and the score is their sum, in units of their spread, where rounding is no longer small.
    scale = detector.content.scale
    written = {name: np.array([float(row[name]) for row in rows]) for name in scale}
    for name, term in written.items():
        np.testing.assert_allclose(found.layers[name], term[:length], rtol=1e-4)
    for score, parts in ((found.score, found.layers), (wanted, written)):
        terms = [(parts[name] - mean) / spread for name, (mean, spread) in scale.items()]
        np.testing.assert_allclose(score, sum(terms), rtol=1e-9, atol=1e-9)
    with pytest.raises(UserError, match="a video of 5 frames; this model looks at clips of 8"):
        detector.score(list(frames[:5]))
    folder = tmp_path / "videos/a"
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames[:20]):
        Image.fromarray(frame[..., 0]).save(folder / f"{number}.png")
    done, flagged, _ = predict.predict(finished / "clip", [str(tmp_path / "videos")], tmp_path / "out")
    assert done == 20 and flagged is not None
    rows = [json.loads(line) for line in (tmp_path / "out" / predictions.ROWS).read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(20)) and {row["path"] for row in rows} == {str(folder)}


def test_fit_trains_on_arrays_and_another_array_is_refused(tmp_path, rng):
    config = quick("", "mocca")
    pictures = rng.integers(0, 256, (24, 32, 32, 3), np.uint8)
    detector = Detector.fit(pictures, config, tmp_path / "run")
    assert np.isfinite(detector.score(pictures[:3])).all()
    with pytest.raises(UserError, match="another config"):
        Detector.fit(pictures[:20], config, tmp_path / "run")
    assert config.data_dir == ""


def test_fit_on_a_folder_without_a_workdir_keeps_nothing(parts):
    detector = Detector.fit(parts / "train/good", quick(parts, "mocca", maps=()))
    assert detector.alpha == 0.1 and len(detector.calibration.heldout) == 20
    with pytest.raises(UserError, match="no anomaly maps"):
        detector.anomaly_map(np.zeros((32, 32, 3), np.uint8))


BAD = {
    "NaN": (np.full((4, 4, 3), np.nan), "NaN"),
    "floats of 0..255": (np.full((4, 4, 3), 200.0), r"floats from 200 to 200.*\[0, 1\]"),
    "int64": (np.zeros((4, 4, 3), np.int64), "type int64"),
    "five channels": (np.zeros((1, 4, 4, 5), np.uint8), r"shape \(4, 4, 5\)"),
    "grey batch": (np.zeros((7, 4, 5), np.uint8), "last axis"),
    "no pixels": (np.zeros((1, 0, 4, 3), np.uint8), "no side zero"),
    "nothing": ([], "no pictures"),
    "a number": ([3], "not int"),
    "absent": ("absent.png", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_told_plainly(finished, name):
    bad, message = BAD[name]
    with pytest.raises(UserError, match=message):
        Detector.load(finished / "object").score(bad)


def test_huge_and_empty_files_are_refused(finished, tmp_path, monkeypatch):
    (tmp_path / "empty.png").write_bytes(b"")
    monkeypatch.setattr("mocca_jax.data.decoder.MOST_PIXELS", 100)
    save(tmp_path / "huge.png", (20, 20, 3))
    detector = Detector.load(finished / "object")
    for name, message in (("empty", "cannot be read"), ("huge", "20x20 pixels; at most 100")):
        with pytest.raises(UserError, match=message):
            detector.score(tmp_path / f"{name}.png")


def test_grey_and_colour_pictures_of_any_type_become_the_same_input(rng):
    grey = rng.integers(0, 256, (9, 7), np.uint8)
    inputs = Inputs((9, 7, 3), fit="stretch")
    found = [inputs.prepare(incoming.decoded(p)) for p in (grey, grey[..., None], grey.astype(np.uint16) << 8)]
    found.append(inputs.prepare(incoming.decoded(np.dstack([grey] * 3 + [255 * np.ones_like(grey)]))))
    for pixels in found:
        np.testing.assert_array_equal(pixels, np.dstack([grey] * 3))


def test_runs_that_cannot_be_loaded_say_why(finished, tmp_path):
    for folder, message in ((tmp_path / "no", "does not exist"), (tmp_path, "holds no run")):
        with pytest.raises(UserError, match=message):
            Detector.load(folder)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has not ended"):
        Detector.load(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UserError, match="older version"):
        Detector.load(tmp_path)
    whole = (finished / "object/detector.npz").read_bytes()
    for cut in (0, 100, len(whole) - 30):
        (tmp_path / "detector.npz").write_bytes(whole[:cut])
        with pytest.raises(UserError, match="no whole model file"):
            Detector.load(tmp_path)
    manifest, arrays = bundle.read(finished / "object/detector.npz")
    first = next(name for name in arrays if name.startswith("params"))
    bundle.write(tmp_path / "detector.npz", {**manifest, "inputs": {"new": 1}}, arrays)
    with pytest.raises(UserError, match=r"written by mocca_jax 0.*cannot use it"):
        Detector.load(tmp_path)
    np.savez(
        tmp_path / "detector.npz",
        manifest=np.frombuffer(json.dumps(manifest).encode(), np.uint8),
        **arrays | {first: arrays[first] + 1},
    )
    with pytest.raises(UserError, match="differs from its recorded checksum"):
        Detector.load(tmp_path)


def test_a_finished_run_without_its_model_file_makes_it_again(finished, parts, tmp_path):
    shutil.copytree(finished / "object", tmp_path / "run")
    (tmp_path / "run/detector.npz").unlink()
    pipeline.run(quick(parts, "mocca"), tmp_path / "run")
    assert Detector.load(tmp_path / "run").digest == Detector.load(finished / "object").digest


def test_alpha_keeps_its_promise_on_simulated_scores(rng):
    flagged = []
    for _ in range(400):
        calibration = threshold.Calibration(rng.normal(size=40), 0.1)
        flagged.append(calibration.is_anomalous(rng.normal(size=200)).mean())
    assert 0.08 < np.mean(flagged) <= 0.1 + 3 * np.std(flagged) / 20


def test_an_alpha_that_is_too_small_says_how_many_samples_it_takes(finished, rng):
    calibration = threshold.Calibration(rng.normal(size=12), 0.1)
    with pytest.raises(ValueError, match=r"alpha = 0.01 takes 99 held-out .* has 12.*0.07692"):
        calibration.is_anomalous(np.zeros(3), 0.01)
    assert calibration.is_anomalous(np.array([9.0]), 0.08).tolist() == [True]
    with pytest.raises(UserError, match="takes 199 held-out"):
        Detector.load(finished / "object").predict(np.zeros((32, 32, 3), np.uint8), alpha=0.005)


def test_calibration_changes_no_order(rng):
    calibration = threshold.Calibration(rng.normal(size=30), 0.1)
    scores = np.sort(np.concatenate([rng.normal(size=50), [1e9, -1e9]]))
    assert (np.diff(calibration.relative(scores)) > 0).all()
    assert calibration.relative(np.array([calibration.threshold])).tolist() == [1.0]


def test_predict_goes_on_past_unreadable_files_and_after_an_interruption(finished, parts, tmp_path, monkeypatch):
    new = tmp_path / "new"
    shutil.copytree(parts, new)
    (new / "broken.png").write_bytes(b"not a picture")
    command = [sys.executable, "-m", "mocca_jax.predict", f"--run={finished / 'object'}", f"--input={new}"]
    out = tmp_path / "out"
    done = subprocess.run(
        [*command, f"--output={out}", "--overlays=all"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == predict.SOME_UNREADABLE, done.stderr
    assert "46 scored" in done.stdout and "1 file(s) unreadable" in done.stdout
    assert "broken.png" in (out / predictions.UNREADABLE).read_text()
    assert len(list((out / predict.OVERLAYS).iterdir())) == 46
    with open(out / predictions.TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 46 and {"path", "score", "p_value", "anomalous", "layer1"} <= set(rows[0])

    kept = []
    keep = predictions.Rows.keep

    def stop_in_the_third(rows):
        kept.append(1)
        if len(kept) == 3:
            with open(rows.output / predictions.ROWS, "ab") as file:
                file.write(b'{"path": "torn')
            raise KeyboardInterrupt
        keep(rows)

    monkeypatch.setattr(predictions.Rows, "keep", stop_in_the_third)
    again = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        predict.predict(finished / "object", [str(new)], again)
    monkeypatch.setattr(predictions.Rows, "keep", keep)
    shutil.copy(new / "test/good/0.png", new / "broken.png")
    assert predict.predict(finished / "object", [str(new)], again)[::2] == (47, 0)
    assert not (again / predictions.UNREADABLE).exists()
    with pytest.raises(UserError, match="another run or with other options"):
        predict.predict(finished / "texture", [str(new)], again)
    with pytest.raises(UserError, match="matches nothing"):
        predict.predict(finished / "object", [str(tmp_path / "*.bmp")], tmp_path / "none")


def test_predict_takes_films_frame_by_frame(finished, tmp_path, rng):
    from mocca_jax.data import films

    films.write(tmp_path / "film.avi", iter(rng.integers(0, 256, (11, 48, 48, 3), np.uint8)), 10)
    (tmp_path / "torn.avi").write_bytes(b"RIFF")
    inputs = [str(tmp_path / "film.avi"), str(tmp_path / "torn.avi")]
    assert predict.predict(finished / "object", inputs, tmp_path / "out")[::2] == (11, 1)


def test_the_package_imports_fast():
    code = "import time; t = time.perf_counter(); import mocca_jax; assert time.perf_counter() - t < 0.5"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
