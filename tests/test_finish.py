"""Training never ends without a detector: what comes after it may fail alone, is named, and is made later."""

import errno
import json
import shutil

import numpy as np
import pytest

from mocca_jax import Detector, data, pipeline
from mocca_jax.commands import train
from mocca_jax.data.sets import folder
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method import metrics, normal_features
from mocca_jax.outputs import bundle, examples, results, table
from mocca_jax.report import overlays, page, plots, samples
from mocca_jax.scoring import evaluate, fitting, localize, rounding
from mocca_jax.training import interrupts, parallel
from mocca_jax.training.parts import LONGEST, Parts
from tests import runs


def broken(*_, **__):
    raise RuntimeError("it broke\nin two lines")


@pytest.fixture(autouse=True)
def few_made_up(monkeypatch):
    """Runs that make up few defects: seconds."""
    monkeypatch.setattr(fitting, "MADE_ON", 6)
    monkeypatch.setattr(folder, "MOST_MADE_UP", 8)


@pytest.fixture(scope="module")
def config(parts):
    return runs.quick(parts, "mocca", maps=("features",))


@pytest.fixture(scope="module")
def whole_run(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finish") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "MOST_MADE_UP", 8)
        pipeline.run(config, workdir)
    return workdir


@pytest.fixture
def run(whole_run, tmp_path):
    """A copy of a finished run whose result is gone: it is evaluated again."""
    copy = shutil.copytree(whole_run, tmp_path / "run")
    for name in (results.RESULT, page.FILE, *results.SCORES.values()):
        (copy / name).unlink()
    shutil.rmtree(copy / overlays.OVERLAYS)
    return copy


def of_test_alone(call):
    """`evaluate.score_split` that fails on the test set."""

    def score_split(*arguments):
        return broken() if arguments[-1] == "test" else call(*arguments)

    return score_split


FAULTS = {
    "what maps know of normal pictures": (
        [(normal_features, "fit", broken)],
        {"map: features"},
    ),
    "choices": ([(metrics, "best", broken)], {"anomaly maps", "choice between score and map"}),
    "the rounding of maps": ([(rounding, "of_maps", broken)], {"anomaly maps"}),
    "maps of the test set": ([(localize, "_test_figures", broken)], {"figures: maps of the test set"}),
    "figures": (
        [(evaluate, "measure", broken), (rounding, "of_split", broken)],
        {"figures: made-up defects", "figures: test set", "rounding"},
    ),
    "pictures and tables": (
        [
            *((overlays, "draw", broken), (results, "write_scores", broken)),
            *((plots, "histogram", broken), (samples, "section", broken)),
        ],
        {"overlays", "scores.csv", "scores_heldout.csv", "report: samples"},
    ),
    "plots": ([(plots, "roc", broken), (plots, "cdfs", broken)], {"report: plot roc", "report: plot layers"}),
    "the page": ([(page, "_page", broken)], {"report"}),
    "the test set": ([(evaluate, "score_split", of_test_alone(evaluate.score_split))], {"scores: test"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_fails_leaves_a_detector_and_is_made_by_the_same_command(run, config, parts, fault):
    patches, missing = FAULTS[fault]
    with pytest.MonkeyPatch.context() as patch:
        for place, name, instead in patches:
            patch.setattr(place, name, instead)
        found = pipeline.run(config, run)
    assert set(found["failed"]) == missing == set(whole.read_json(run / results.RESULT)["failed"])
    assert set(found["failed"].values()) == {"RuntimeError: it broke in two lines"}
    detector = Detector.load(run)
    assert detector.calibration is not None and np.isfinite(detector.score(parts / "train/good/00.png")).all()
    assert detector.by == found["decision"]["by"]
    if {"anomaly maps", "map: features"} & missing:
        assert detector.by == "score" and found["maps"] is None
    said = table.text(found)
    assert all(f"Not made: {part} (RuntimeError: it broke in two lines)." in said for part in missing)
    if (run / page.FILE).exists():
        text = (run / page.FILE).read_text()
        assert all(part in text for part in missing) and "What could not be made" in text
    if fault in ("pictures and tables", "plots"):
        again = pipeline.run(config, run)
        assert again["failed"] == {} and "Not made" not in table.text(again)
        assert "What could not be made" not in (run / page.FILE).read_text()
        assert (run / "scores.csv").exists() and list((run / overlays.OVERLAYS).rglob("*.png"))


def test_a_run_that_is_stopped_after_its_training_has_a_detector_already(run, config, monkeypatch):
    (run / bundle.FILE).unlink()

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(localize, "run", stop)
        pipeline.run(config, run)
    assert Detector.load(run).by == "score" and not (run / results.RESULT).exists()
    found = pipeline.run(config, run)
    assert found["failed"] == {} and Detector.load(run).map_scale is not None


def test_statistics_without_made_up_defects_and_without_maps_decide_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_made", broken)
    monkeypatch.setattr(fitting, "_rounding", broken)
    config = runs.shallow(maps=("statistics",))
    detector = Detector.fit(runs.drawn(12, seed=3), config, tmp_path / "run")
    found = whole.read_json(tmp_path / "run" / results.RESULT)
    assert set(found["failed"]) == {"made-up defects", "rounding"}
    assert found["statistics"]["chosen"] == fitting.placed.FIRST_OF_FEW and found["made_up_defects"] == {}
    assert detector.by == "score" and len(detector.calibration.heldout) == 12
    assert detector.anomaly_map(runs.drawn(1, seed=4))[0].shape == (64, 64)
    assert "made-up defects" in (tmp_path / "run" / page.FILE).read_text()
    assert "Not made: made-up defects" in table.text(found)


def test_a_signal_is_no_failure_of_a_part_and_a_failure_is_one_line():
    made = Parts()
    with pytest.raises(interrupts.Interrupted):
        made.make("maps", lambda: (_ for _ in ()).throw(interrupts.Interrupted(15, "here")), None)
    with pytest.raises(KeyboardInterrupt):
        made.make("maps", lambda: (_ for _ in ()).throw(KeyboardInterrupt()), None)
    assert made.failed == {}
    assert made.make("maps", lambda: 3, None) == 3

    def long():
        raise UserError("cannot write x:\n" + "no room " * 99)

    assert made.make("overlays", long, "nothing") == "nothing"
    (reason,) = made.failed.values()
    assert reason.startswith("cannot write x: no room") and "\n" not in reason and len(reason) <= LONGEST + 3
    with pytest.raises(UserError):
        Parts(strict=True).make("overlays", long, None)


def test_the_command_ends_with_3_where_something_is_missing(parts, tmp_path, monkeypatch, capsys):
    found = {"failed": {"overlays": "no room"}}
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: found)
    monkeypatch.setattr(parallel, "configure", lambda *_: None)
    monkeypatch.setattr(table, "text", lambda result: "\n".join(result["failed"]))
    with pytest.raises(SystemExit) as ended:
        train.main([str(parts), f"--workdir={tmp_path / 'run'}"])
    assert ended.value.code == train.SOME_MISSING == 3
    assert "overlays" in capsys.readouterr().out
    found["failed"] = {}
    train.main([str(parts), f"--workdir={tmp_path / 'run'}"])


def test_one_overlay_that_cannot_be_written_keeps_no_other_from_it(config, tmp_path):
    split = data.load(config).test
    blocked = tmp_path / overlays.OVERLAYS / f"{examples.file_names(split.samples)[1]}.png"
    blocked.mkdir(parents=True)
    drawn = {index: np.zeros((32, 32), np.float32) for index in range(3)}
    with pytest.raises(UserError, match=r"1 of 3 cannot be written .*Is a directory"):
        overlays.write(tmp_path, split, drawn, overlays.Scale(0.0, 1.0), None, "score")
    assert len([path for path in (tmp_path / overlays.OVERLAYS).rglob("*.png") if path.is_file()]) == 2


def test_a_full_disk_fails_the_overlays_alone(run, config, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(overlays, "draw", full)
    found = pipeline.run(config, run)
    assert list(found["failed"]) == ["overlays"] and "No space left on device" in found["failed"]["overlays"]


def alike(count, change=0):
    """Pictures that are all the same, or that each differ by `change` in one pixel."""
    pictures = np.repeat(runs.drawn(1, seed=3, side=32), count, 0)
    pictures[np.arange(count), np.arange(count) % 32, 5] += np.uint8(change)
    return pictures


HARD = {
    "identical": alike(12),
    "nearly identical": alike(12, 1),
    "black": np.zeros((12, 32, 32, 3), np.uint8),
    "five tiny": runs.drawn(5, seed=4, side=16),
}


@pytest.mark.parametrize(
    "name, kind",
    [
        *(("identical", "pretrained"), ("black", "pretrained"), ("five tiny", "pretrained")),
        *((name, "mocca") for name in HARD),
        *(("identical", "texture"), ("five tiny", "texture")),
    ],
)
def test_training_on_pictures_that_hardly_differ_ends_with_a_detector(name, kind, tmp_path):
    pictures = HARD[name]
    config = runs.shallow(maps=("statistics",)) if kind == "pretrained" else runs.quick("", kind, heldout_fraction=0.3)
    detector = Detector.fit(pictures, config, tmp_path / "run")
    assert whole.read_json(tmp_path / "run" / results.RESULT)["failed"] == {}
    found = detector.examine(pictures)
    assert np.isfinite(found.score).all() and np.isfinite(detector.calibration.threshold)
    for values in detector.anomaly_map(pictures[:2]):
        assert np.isfinite(values).all()
    if name in ("identical", "black"):
        assert (found.p_value == 1).all()


@pytest.mark.parametrize("own_mean, own_scale", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("values", ["all zero", "identical", "rounding", "one picture"])
def test_features_that_do_not_vary_have_statistics(rng, values, own_mean, own_scale):
    x = np.repeat(np.abs(rng.normal(1, 1, (1, 4, 4, 24))), 1 if values == "one picture" else 9, 0).astype(np.float32)
    x *= values != "all zero"
    x *= 1 + (values == "rounding") * 1e-7 * rng.normal(size=x.shape).astype(np.float32)
    real = np.ones(x.shape[:3], np.float32)
    found = normal_features.fit(lambda: iter([{"a": (x[:4], real[:4])}, {"a": (x[4:], real[4:])}]), own_mean, own_scale)
    usual = np.asarray(normal_features.distance(x, found["a"]))
    assert np.isfinite(usual).all()
    odd = x[:1].copy()
    odd[0, 1, 2] += 1
    away = np.asarray(normal_features.distance(odd, found["a"]))
    assert away[0, 1, 2] == away.max() and (own_mean is False or away[0, 1, 2] > 100 * usual.max())


def test_an_older_result_without_the_field_is_finished(run, config, whole_run):
    shutil.copy(whole_run / results.RESULT, run)
    found = json.loads((run / results.RESULT).read_text())
    del found["failed"]
    (run / results.RESULT).write_text(json.dumps(found))
    assert "failed" not in pipeline.run(config, run)
