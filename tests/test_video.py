"""Whole runs on videos, their settings, the head of places."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import sweep, tables
from mocca_jax import config as configs
from mocca_jax import models, pipeline
from mocca_jax.configs import smoke, video_synthetic
from mocca_jax.configs import video as video_config
from mocca_jax.data.sets import moving
from mocca_jax.errors import UserError
from mocca_jax.method import hypersphere
from mocca_jax.models import heads
from mocca_jax.outputs import table
from mocca_jax.training import step as train
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


def test_a_whole_run_on_videos_writes_frame_scores_and_their_table(tmp_path):
    result = pipeline.run(tiny(), tmp_path / "run")
    assert set(result["frames"]) == {"layer1", "layer5", "one_class", "reconstruction", "combined"}
    row = result["frames"]["combined"]
    assert {"micro_unscaled", "micro_per_video", "micro_causal", "macro"} == set(row)
    assert result["metrics"]["one_class"]["auc"] == pytest.approx(result["frames"]["one_class"]["micro_unscaled"])
    lines = (tmp_path / "run/scores.csv").read_text().splitlines()
    assert lines[0] == "sample,label,score,layer1,layer5,one_class,reconstruction,p_value"
    assert len(lines) == 1 + 3 * moving.FRAMES
    assert result["samples"]["heldout_videos"] == 1 and "That is no promise" in table.text(result)


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


def test_a_run_measures_planted_anomalies_in_held_out_videos(tmp_path):
    result = pipeline.run(tiny(planted=("speed2", "backwards")), tmp_path / "run")
    assert set(result["planted"]) == {"speed2", "backwards"}
    assert {"combined", "one_class", "reconstruction", "layer1", "layer5"} == set(result["planted"]["speed2"])


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
