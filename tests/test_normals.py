"""Normal pictures of a run that trains nothing: few, alike, grey, many; over batch sizes and devices."""

import signal

import jax
import numpy as np
import pytest

from mocca_jax import Detector, data, pipeline, weights
from mocca_jax.configs import folder
from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import results
from mocca_jax.scoring import fitting, normals, placed
from mocca_jax.training import interrupts, parallel
from mocca_jax.training import step as train
from tests.runs import drawn, pictures, rows_of, shallow


@pytest.fixture
def few_made_up(monkeypatch):
    """Runs that make up few defects: seconds."""
    monkeypatch.setattr(fitting, "MADE_ON", 6)


def fitted_normals(folder, mesh, signum=None, **changes):
    """Statistics of a folder's normal pictures, without a run; `signum`: of a signal that came already."""
    config = shallow(folder, **changes)
    dataset = data.load(config)
    loaded = weights.load(config.encoder, None, max(placed.layers(config)))
    state = train.untrained_state(loaded.variables, jax.random.key(0))
    model, stop = placed.network(config, dataset.inputs.shape), interrupts.StopRequest()
    stop.signum = signum
    found = normals.Normals(model, state, dataset, config, mesh, stop)
    found.fit()
    return found


def test_statistics_are_the_same_over_batch_sizes_and_devices(washers):
    many = parallel.Mesh(np.array(jax.devices()[:8]), (parallel.AXIS,))
    one = fitted_normals(washers, parallel.make_mesh(), batch_size=16)
    for other in (
        fitted_normals(washers, parallel.make_mesh(), batch_size=5),
        fitted_normals(washers, many, batch_size=16),
    ):
        for grid, of in one.statistics.items():
            for name in ("mean", "count", "pictures", "weight"):
                np.testing.assert_allclose(
                    getattr(other.statistics[grid], name), getattr(of, name), rtol=1e-4, atol=1e-4
                )
        found, theirs = one.all_unseen(), other.all_unseen()
        for part, values in found.items():
            np.testing.assert_allclose(theirs[part], values, rtol=2e-3, atol=2e-3 * values.mean())


@pytest.mark.usefixtures("few_made_up")
@pytest.mark.parametrize("count", [2, 5])
def test_of_few_pictures_a_detector_is_made_that_always_decides(count):
    detector = Detector.fit(drawn(count, seed=3), shallow())
    assert len(detector.calibration.heldout) == count and detector.alpha == pytest.approx(1 / (count + 1))
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    found = detector.examine(np.concatenate([drawn(2, seed=4), noise]))
    assert np.isfinite(found.score).all() and found.anomalous[2:].all()
    assert found.p_value[2:] == pytest.approx(1 / (count + 1))
    with pytest.raises(UserError, match=r"alpha = 0.01 takes 99 held-out"):
        detector.predict(noise, alpha=0.01)


@pytest.mark.usefixtures("few_made_up")
def test_the_default_config_but_for_its_size_takes_an_array():
    config = folder.get_config()
    config.resize = 64
    detector = Detector.fit(drawn(8, seed=3), config)
    bad = drawn(2, seed=4)
    bad[:, 20:36, 20:36] = (200, 40, 40)
    assert detector.inputs.size == (64, 64) and not detector.config.stages
    assert detector.predict(bad).all() and detector.alpha == pytest.approx(1 / 9)
    assert [np.unravel_index(found.argmax(), found.shape) for found in detector.anomaly_map(bad[:1])] == [
        pytest.approx((28, 28), abs=12)
    ]


def test_one_picture_is_too_few():
    with pytest.raises(UserError, match=r"1 picture\(s\) to train on"):
        Detector.fit(drawn(1, seed=3), shallow())


@pytest.mark.usefixtures("few_made_up")
def test_identical_pictures_are_no_obstacle(tmp_path):
    alike = np.repeat(drawn(1, seed=3), 8, 0)
    detector = Detector.fit(alike, shallow(maps=("statistics",)), tmp_path / "run")
    assert detector.p_value(alike[:3]).tolist() == [1.0] * 3
    found = detector.examine(drawn(2, seed=4, kind="stain"))
    assert np.isfinite(found.score).all() and found.anomalous.all()
    result = whole.read_json(tmp_path / "run" / results.RESULT)
    assert np.isfinite([result["threshold"]["score"], result["maps"]["threshold"], result["maps"]["ordinary"]]).all()


@pytest.mark.usefixtures("few_made_up")
def test_grey_pictures_stay_grey_whatever_the_lamps_colour():
    grey = drawn(10, seed=3).mean(-1).astype(np.uint8)
    detector = Detector.fit(grey[..., None], shallow())
    assert float(detector.content.state.statistics.grey) == 1
    coloured = np.clip(grey[:4, ..., None] * np.array([1.0, 0.9, 0.8]), 0, 255).astype(np.uint8)
    as_grey, as_coloured = detector.score(grey[:4, ..., None]), detector.score(coloured)
    np.testing.assert_allclose(as_coloured, as_grey, atol=0.3 * np.ptp(detector.calibration.heldout))
    assert not detector.predict(coloured).any()


@pytest.mark.usefixtures("few_made_up")
def test_many_pictures_are_left_out_in_closed_form_as_well(washers, tmp_path, monkeypatch):
    for module in (normals, fitting):
        monkeypatch.setattr(module, "MANY", 10)
    monkeypatch.setattr(fitting, "SHOWN", 10)  # of more pictures, some maps are kept
    result = pipeline.run(shallow(washers, maps=("statistics",)), tmp_path / "run")
    assert result["metrics"]["combined"]["auc"] == 1.0 and result["decision"]["heldout"] == 24
    detector = Detector.load(tmp_path / "run")
    rows = rows_of(tmp_path / "run" / results.SCORES["heldout"])
    assert len(rows) == 24 and len(detector.content.map_heldout) == 10
    seen = detector.score([washers / row["sample"] for row in rows])
    unseen = np.array([float(row["score"]) for row in rows])
    assert (seen < unseen).mean() > 0.9 and detector.predict(pictures(washers, "test/square")).all()


def test_features_that_do_not_fit_into_memory_are_computed_again(washers, monkeypatch):
    kept = fitted_normals(washers, parallel.make_mesh())
    monkeypatch.setattr(normals, "KEPT_BYTES", 0)
    again = fitted_normals(washers, parallel.make_mesh())
    assert kept._kept is not None and again._kept is None
    for part, values in kept.all_unseen().items():
        np.testing.assert_array_equal(again.all_unseen()[part], values)


def test_a_signal_ends_fitting_between_two_batches(washers):
    with pytest.raises(interrupts.Interrupted, match="stopped by SIGTERM; the statistics were not finished"):
        fitted_normals(washers, parallel.own_mesh(1), signal.SIGTERM)
