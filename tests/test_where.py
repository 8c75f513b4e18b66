"""Where a detector works: threads, processes, copies; scikit-learn's conventions; settings of wrong types."""

import copy
import multiprocessing
import pickle
import queue
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from sklearn.base import clone

from mocca_jax import Detector, pipeline
from mocca_jax.errors import UserError
from mocca_jax.method import threshold
from mocca_jax.outputs import bundle
from mocca_jax.training import interrupts, parallel
from tests import runs
from tests.conftest import REPOSITORY

LIMIT = 120  # seconds


@pytest.fixture
def detector(finished):
    return Detector.load(finished / "object")


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (5, 32, 32, 3), np.uint8)


def test_fitting_works_off_the_main_thread_and_in_two_threads_at_once(parts, tmp_path):
    results = {}

    def fit(name):
        try:
            results[name] = Detector.fit(parts, runs.quick(parts, "mocca", maps=()), tmp_path / name)
        except BaseException as error:
            results[name] = error

    threads = [threading.Thread(target=fit, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert all(isinstance(found, Detector) for found in results.values()), results
    np.testing.assert_array_equal(results["a"].content.heldout, results["b"].content.heldout)


def test_signals_are_caught_in_the_main_thread_alone():
    before = [signal.getsignal(s) for s in interrupts.SIGNALS]
    seen = []

    def elsewhere():
        with interrupts.stop_request() as request:
            seen.append((request.signum, [signal.getsignal(s) for s in interrupts.SIGNALS]))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(None, before)]
    with interrupts.stop_request() as request:
        signal.raise_signal(signal.SIGTERM)
        assert request.signum == signal.SIGTERM
    assert [signal.getsignal(s) for s in interrupts.SIGNALS] == before


def answers(doors, found):
    """In a forked child: what each door says."""
    for name, door in doors.items():
        try:
            found.put((name, repr(door())))
        except UserError as error:
            found.put((name, str(error)))


def test_a_forked_process_is_told_plainly_in_place_of_hanging(finished, detector, pictures, parts, tmp_path):
    detector.score(pictures)
    doors = {
        "score": lambda: detector.score(pictures),
        "one": lambda: detector.score(pictures[:1]),
        "map": lambda: detector.anomaly_map(pictures),
        "load": lambda: Detector.load(finished / "texture"),
        "fit": lambda: Detector.fit(parts, runs.quick(parts, "mocca"), tmp_path / "run"),
        "statistics": lambda: Detector.fit(pictures, runs.shallow(), tmp_path / "other"),
        "copy": lambda: copy.deepcopy(detector),
    }
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    child = context.Process(target=answers, args=(doors, found), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of the fork as well
        child.start()
    try:
        for _ in doors:
            name, said = found.get(timeout=LIMIT)
            assert "forked" in said and "'spawn' or 'forkserver'" in said and "\n" not in said, name
    except queue.Empty:
        pytest.fail("the child hangs")
    finally:
        child.kill()
        child.join()
    parallel.check_process()  # nothing changes here
    assert np.isfinite(detector.score(pictures)).all()


def test_a_process_that_was_forked_before_jax_was_used_works(finished, pictures, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures)
    script = (
        "import multiprocessing, numpy as np\n"
        "from mocca_jax import Detector\n"
        "def work(found):\n"
        f"    score = Detector.load({str(finished / 'object')!r}).score(np.load({str(tmp_path / 'pictures.npy')!r}))\n"
        "    found.put(score.tolist())\n"
        "context = multiprocessing.get_context('fork')\n"
        "found = context.Queue()\n"
        "child = context.Process(target=work, args=(found,), daemon=True)\n"
        "child.start()\n"
        f"print(len(found.get(timeout={LIMIT})))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=LIMIT)
    assert done.stdout.strip() == "5", done.stderr


def score_of(detector, pictures, found):
    """In a spawned process."""
    found.put((detector.by, detector.alpha, detector.score(pictures)))


def test_a_spawned_process_gets_the_detector_itself(finished, pictures):
    detector = Detector.load(finished / "object", by="map", alpha=0.2)
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    child = context.Process(target=score_of, args=(detector, pictures, found), daemon=True)
    child.start()
    by, alpha, score = found.get(timeout=LIMIT)
    child.join(LIMIT)
    assert (by, alpha) == ("map", 0.2)
    np.testing.assert_allclose(score, detector.score(pictures), rtol=1e-4)


def test_a_pickled_a_copied_and_a_cloned_detector_say_the_same(finished, pictures):
    detector = Detector.load(finished / "object", by="map", alpha=0.2)
    for other in (pickle.loads(pickle.dumps(detector)), copy.copy(detector), copy.deepcopy(detector), clone(detector)):
        assert other is not detector and (other.by, other.alpha) == ("map", 0.2)
        assert other.digest == detector.digest and other.threshold == detector.threshold
        np.testing.assert_array_equal(other.p_value(pictures), detector.p_value(pictures))
    damaged = bundle.dumps(detector.content)[:-50]
    with pytest.raises(UserError, match="the detector is no whole model file"):
        bundle.loads(damaged)


def test_parameters_can_be_read_and_set(finished, pictures):
    detector = Detector.load(finished / "object", by="score")
    assert detector.get_params() == {"content": detector.content, "by": "score", "alpha": None}
    assert detector.get_params(deep=False).keys() == detector.get_params(deep=True).keys()
    before, scorer = detector.threshold, detector.scorer
    assert detector.set_params(alpha=0.3) is detector and detector.scorer is scorer
    assert detector.alpha == 0.3 and detector.threshold < before
    detector.set_params(by="map", alpha=None)
    assert detector.by == "map" and detector.threshold == Detector.load(finished / "object", by="map").threshold
    for wrong in ({"beta": 1}, {"alpha": 2.0}, {"by": "maps"}, {"by": "score", "alpha": 1e-9}):
        with pytest.raises(UserError):
            detector.set_params(**wrong)
        assert (detector.by, detector.get_params()["alpha"]) == ("map", None)
    other = Detector.load(finished / "texture")
    detector.set_params(content=other.content, by=None)
    assert detector.digest == other.digest and detector.by == other.by
    np.testing.assert_array_equal(detector.score(pictures), other.score(pictures))


def test_it_says_what_it_is(finished, smoke, tmp_path):
    detector = Detector.load(finished / "object", by="score")
    said = repr(detector)
    assert said.startswith("Detector('images in parts: 20 normal images to fit, 20 held out")
    assert f"the score decides, threshold {detector.threshold:.6g}, alpha 0.1)" in said
    assert detector.threshold == detector.calibration.threshold
    smoke.reconstruction.epochs = smoke.one_class.epochs = 1
    pipeline.run(smoke, tmp_path / "run")
    nothing = Detector.load(tmp_path / "run")
    assert nothing.threshold is None and nothing.alpha is None
    assert "no threshold: nothing was held out" in repr(nothing)
    with pytest.raises(UserError, match=r"alpha = 0.1: this run held no normal samples out"):
        Detector.load(tmp_path / "run", alpha=0.1)


WRONG = ("0.05", True, False, float("nan"), float("inf"), 0, 0.0, 1, 1.0, 2, -0.1, [0.05], np.array([0.05]))


@pytest.mark.parametrize("alpha", WRONG)
def test_an_alpha_that_is_no_share_is_told_plainly(finished, detector, pictures, alpha):
    for call in (
        lambda: Detector.load(finished / "object", alpha=alpha),
        lambda: Detector(detector.content, alpha=alpha),
        lambda: detector.predict(pictures, alpha=alpha),
        lambda: detector.set_params(alpha=alpha),
    ):
        with pytest.raises(UserError, match="it is a share of good samples, a number above 0 and below 1"):
            call()
    with pytest.raises(ValueError, match="a threshold needs held-out scores and alpha"):
        threshold.conformal_threshold(np.arange(9.0), alpha)
    assert detector.predict(pictures, alpha=np.float32(0.2)).dtype == bool


@pytest.mark.parametrize("value", ["", "maps", "SCORE", b"score", 1, True, ["score"], np.array(["map", "score"])])
def test_other_settings_of_wrong_kinds_are_told_plainly(finished, value):
    with pytest.raises(UserError, match=r"by = .*: it is one of 'score', 'map'"):
        Detector.load(finished / "object", by=value)
    with pytest.raises(UserError, match=r"formulation = .*: it is one of 'auto', 'plain', 'rewritten'"):
        Detector.load(finished / "object", formulation=value)
