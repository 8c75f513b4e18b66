"""Whole runs on videos, their settings, the head of places."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import sweep, tables
from mocca_jax import Detector, data, models, pipeline
from mocca_jax import config as configs
from mocca_jax.configs import smoke, video_synthetic
from mocca_jax.configs import video as video_config
from mocca_jax.data.sets import moving
from mocca_jax.errors import UserError
from mocca_jax.export import artifact
from mocca_jax.method import hypersphere
from mocca_jax.models import heads
from mocca_jax.outputs import results, table
from mocca_jax.scoring.streaming import FrameScorer
from mocca_jax.training import step as train
from tests import runs
from tests.test_video_data import save_frames, small


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))


def tiny(**changes):
    config = video_synthetic.get_config()
    config.update(
        videos=3, frame_size=(32, 32), clip_length=8, clips_per_epoch=8, code_size=8, lstm_size=4, layers=(1, 5)
    )
    config.update(batch_size=8, **changes)
    config.joint.epochs = 1
    return config


@pytest.mark.parametrize("spec", [*video_config.PRESETS, "ped2,quick", "shanghaitech,paper"])
def test_every_config_of_videos_passes_its_own_check(spec):
    configs.check(video_config.get_config(spec))


def test_a_stride_that_leaves_frames_without_a_score_is_refused():
    config = video_config.get_config("ped2")
    for stride in (1, 3, 8):
        config.score_stride = stride
        configs.check(config)
    for stride, message in ((9, "score_stride = 9: frames between two clips of clip_length = 8"), (0, "at least 1")):
        config.score_stride = stride
        with pytest.raises(UserError, match=message):
            configs.check(config)


def test_settings_that_do_not_fit_are_refused():
    config = video_synthetic.get_config()
    configs.check(config)
    config.heldout_fraction = 0.0
    with pytest.raises(UserError, match="scaled by held-out normal videos"):
        configs.check(config)
    config = video_synthetic.get_config()
    config.layers = ()
    with pytest.raises(UserError, match="joint needs at least one layer"):
        configs.check(config)
    del config["lstm_size"]
    with pytest.raises(UserError, match="lstm_size: missing"):
        configs.check(config)


def test_the_smoke_config_of_clips_runs(finished):
    result = json.loads((finished / "clip/result.json").read_text())
    assert {"one_class", "reconstruction", "combined"} <= set(result["frames"])
    with pytest.raises(ValueError, match="no 'clips'; did you mean 'clip'"):
        smoke.get_config("clips")


def test_videos_without_labels_get_scores_and_no_metrics(tmp_path):
    for name in ("train/a", "train/b", "test/c"):
        save_frames(tmp_path / "films" / name, 10)
    config = small(tmp_path / "films", layers=(1,), stages=("one_class",), score="distance")
    config.one_class = config.joint
    config.one_class.epochs = 0
    result = pipeline.run(config, tmp_path / "run")
    assert result["metrics"] == result["frames"] == {}
    lines = (tmp_path / "run/scores.csv").read_text().splitlines()
    assert len(lines) == 11 and lines[1].startswith("c/0,-1,")


@pytest.fixture(scope="module")
def stridden(tmp_path_factory):
    """A run that scores clips of 8 frames, every third, of videos of 96: the last begins one after another's."""
    folder = tmp_path_factory.mktemp("stridden")
    pipeline.run(tiny(planted=("speed2", "backwards"), score_stride=3), folder / "run")
    return folder / "run"


def test_a_whole_run_on_videos_writes_frame_scores_and_their_table(stridden):
    result = json.loads((stridden / "result.json").read_text())
    assert set(result["frames"]) == {"layer1", "layer5", "one_class", "reconstruction", "combined"}
    row = result["frames"]["combined"]
    assert {"micro_unscaled", "micro_per_video", "micro_causal", "macro"} == set(row)
    assert result["metrics"]["one_class"]["auc"] == pytest.approx(result["frames"]["one_class"]["micro_unscaled"])
    lines = (stridden / "scores.csv").read_text().splitlines()
    assert lines[0] == "sample,label,score,layer1,layer5,one_class,reconstruction,p_value"
    assert len(lines) == 1 + 3 * moving.FRAMES
    assert result["samples"]["heldout_videos"] == 1 and "That is no promise" in table.text(result)


def test_a_run_measures_planted_anomalies_in_held_out_videos(stridden):
    result = json.loads((stridden / "result.json").read_text())
    assert set(result["planted"]) == {"speed2", "backwards"}
    assert {"combined", "one_class", "reconstruction", "layer1", "layer5"} == set(result["planted"]["speed2"])


def test_the_stride_of_scoring_is_the_same_in_a_run_its_detector_and_a_running_video(stridden, monkeypatch):
    detector, config = Detector.load(stridden), tiny(score_stride=3)
    dataset = data.load(config)
    for name in ("test", "heldout", "defects"):
        split = getattr(dataset, name)
        assert len(split.samples) == split.timeline.frames > 2 * len(split)
    where = dataset.test.timeline
    assert where.start[where.video == 0].tolist() == [*range(0, 88, 3), 88]
    video = dataset.test.images.frames[int(dataset.test.images.starts[0]) :][: moving.FRAMES]
    rows = runs.rows_of(stridden / results.SCORES["test"])[: moving.FRAMES]
    units, score_units = [], detector.scorer.score_units
    monkeypatch.setattr(detector.scorer, "score_units", lambda raw: units.append(len(raw)) or score_units(raw))
    found = detector.examine(list(video))
    assert sum(units) == 31 and len(found.score) == 96
    for name in ("layer1", "one_class", "reconstruction"):
        np.testing.assert_allclose(found.layers[name], [float(row[name]) for row in rows], rtol=1e-4)
    term = "reconstruction"
    running = FrameScorer(lambda clip: float(score_units(clip[None])[term][0]), config.clip_length, config.score_stride)
    told = [scored for frame in video for scored in running.push(frame)] + running.end()
    np.testing.assert_allclose([score for _, score in told], found.layers[term], rtol=1e-4)
    assert artifact._manifest(detector, (8, 32, 32, 3), [])["input"]["stride"] == 3


def test_the_weight_of_reconstruction_is_the_configs(smoke):
    smoke.joint = smoke.one_class
    image = jnp.full((4, 32, 32, 3), 0.5)
    model = models.build(smoke, (32, 32, 3), smoke.layers)
    variables = models.init_variables(model, (32, 32, 3), jax.random.key(0), "__call__")
    optimizer = train.make_optimizer(smoke.joint, 1)
    sizes = dict(zip(("layer0", "layer1", "layer2", "layer3"), (32, 64, 128, 16), strict=True))
    for weight in (0.0, 0.5):
        smoke.reconstruction_weight = weight
        state = train.create_state(jax.tree.map(jnp.copy, variables), optimizer, sizes, jax.random.key(0))
        step = train.make_step(model, pipeline.STAGES["joint"], smoke, optimizer, lambda raw, key: raw, 1)
        _, metrics = step(state, image, jnp.ones(4))
        expected = float(metrics["one_class"]) + weight * float(metrics["reconstruction"])
        assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_the_most_distant_place_decides_and_steps_are_averaged():
    activation = np.zeros((1, 4, 16, 24, 2), np.float32)
    activation[0, 1, :2, :2] = 3.0
    head = heads.make("places", ConfigDict({"cells": (8, 12)}))()
    feature = head.apply({}, activation, activation.mean((2, 3)), np.ones(1), False)
    assert feature.shape == (1, 4, 96, 2)
    assert hypersphere.squared_distance(feature, jnp.zeros((4, 96, 2))).tolist() == [18.0 / 4]
    vectors = head.apply({}, np.ones((1, 4, 5)), np.ones((1, 4, 5)), np.ones(1), False)
    assert hypersphere.squared_distance(vectors, jnp.zeros((4, 1, 5))).tolist() == [5.0]


def test_a_video_run_makes_the_lines_of_its_table(finished):
    result = json.loads((finished / "clip/result.json").read_text())
    row = {name: result[name] for name in sweep.KEPT if name in result} | {"variant": "clip", "wall_seconds": 1.0}
    lines = [line for line in tables.table6([row]) if line.startswith("|")]
    assert lines[0].startswith("| run | seed | score | micro, unscaled |") and len(lines) == 2 + 3
    assert all(line.count("|") == lines[0].count("|") for line in lines[1:])
