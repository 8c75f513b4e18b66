"""Pretexts, the stages that they are, what is watched meanwhile, and distances to statistics of their features."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from mocca_jax import Detector, models, pipeline
from mocca_jax import config as configs
from mocca_jax.configs import folder, smoke
from mocca_jax.data import Split
from mocca_jax.data.sets import synthetic
from mocca_jax.errors import UserError
from mocca_jax.method import pooled
from mocca_jax.scoring import evaluate, pooling
from mocca_jax.training import curves, parallel, pretexts
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES

ASKED = [name for name, pretext in pretexts.PRETEXTS.items() if pretext.outputs]


def pictures(count=3, side=16, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (count, side, side, 3)), jnp.float32)


def config_of(*stages, **fields) -> ConfigDict:
    config = smoke.get_config()
    config.encoder, config.code_size, config.layers, config.batch_size = "resnet8", 16, (2, 3), 24
    for name in stages:
        config[name] = ConfigDict(config.reconstruction.to_dict() | {"epochs": 2})
    config.update({"stages": stages, "score": "distance", "distance": "cosine"} | fields)
    return config


@pytest.mark.parametrize("name", pretexts.PRETEXTS)
def test_a_pretext_is_pure_and_its_views_are_as_promised(name):
    pretext, images, key = pretexts.PRETEXTS[name], pictures(), jax.random.key(3)
    inputs, _ = pretext.make(images, key)
    again, _ = pretext.make(images, key)
    np.testing.assert_array_equal(inputs, again)
    assert inputs.shape[0] == len(images) and inputs.ndim == 5 and inputs.dtype == images.dtype
    outputs = jnp.zeros((inputs.shape[0] * inputs.shape[1], pretext.outputs)) if pretext.outputs else None
    flat, answers = pretexts.views(pretext, images, key)
    loss = pretext.loss(flat if outputs is None else outputs, answers)
    assert loss.shape == (inputs.shape[0] * inputs.shape[1],)
    scored = [pretext.make(images, None)[0] for _ in range(2)]
    np.testing.assert_array_equal(*scored)
    other = pretext.make(images, jax.random.key(4))[0]
    assert (name == "reconstruction") == bool(jnp.array_equal(inputs, other))


def test_turned_views_are_numpys_and_targets_say_which():
    images = pictures()
    inputs, targets = pretexts.rotated(images, None)
    for turns in range(4):
        np.testing.assert_array_equal(inputs[:, turns], np.rot90(images, turns, (1, 2)))
    np.testing.assert_array_equal(targets, np.tile(np.arange(4), (3, 1)))
    np.testing.assert_array_equal(pretexts.turned_and_mirrored(images)[:, 5], np.rot90(images[:, :, ::-1], 1, (1, 2)))


def test_a_moved_picture_is_the_reflected_one_cut_out():
    images = pictures(2)
    by = jnp.array([[4, -3], [0, 2]])
    moved = pretexts.moved(images, by, 4)
    for image, found, (down, across) in zip(images, moved, by.tolist(), strict=True):
        framed = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(found, framed[4 + down : 20 + down, 4 + across : 20 + across])


def test_transforms_say_how_far_a_picture_was_moved():
    images = pictures(1)
    inputs, targets = pretexts.transformed(images, jax.random.key(0))
    assert {tuple(found) for found in np.asarray(targets[0, :, 1:]).tolist()} != {(1, 1)}
    varied = pretexts.varied(images, jax.random.split(jax.random.key(0))[0])
    for view in range(4):
        turns, down, across = np.asarray(targets[0, view])
        framed = np.pad(np.rot90(varied[0], turns), ((4, 4), (4, 4), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(inputs[0, view], framed[4 * down :][:16, 4 * across :][:, :16])


def test_a_pasted_piece_changes_a_part_of_the_window_and_nothing_else():
    images = pictures(64, side=32)
    inputs, targets = pretexts.pasted(images, jax.random.key(1))
    np.testing.assert_array_equal(targets, np.tile([0, 1], (64, 1)))
    changed = (np.abs(inputs[:, 1] - inputs[:, 0]) > 0).any(-1).mean((1, 2))
    assert changed.min() > 0 and np.median(changed) < 0.4


@pytest.mark.parametrize("name", ASKED)
def test_the_loss_of_a_right_answer_is_nothing_and_of_a_guess_what_it_must_be(name):
    pretext = pretexts.PRETEXTS[name]
    _, targets = pretexts.views(pretext, pictures(2, side=32), jax.random.key(0))
    guess = pretext.loss(jnp.zeros((len(targets), pretext.outputs)), targets)
    wanted = {"rotation": np.log(4), "transforms": np.log(36), "pasted": np.log(2)}[name]
    np.testing.assert_allclose(guess, wanted, rtol=1e-6)
    parts = np.asarray(targets).reshape(len(targets), -1)
    sizes = {"rotation": (4,), "transforms": (4, 3, 3), "pasted": (2,)}[name]
    right = np.concatenate([np.eye(size)[parts[:, index]] for index, size in enumerate(sizes)], -1) * 100
    np.testing.assert_allclose(pretext.loss(jnp.asarray(right), targets), 0, atol=1e-6)
    np.testing.assert_array_equal(pretext.correct(jnp.asarray(right), targets), 1)


@pytest.mark.parametrize("name", pretexts.PRETEXTS)
def test_a_step_is_the_same_on_one_device_on_eight_and_in_parts(name):
    """In float64, batch-norm by running statistics: parts of a batch have their own otherwise."""
    with jax.enable_x64(True):
        stage = STAGES[name]
        config = config_of(name)
        config[name].batch_norm, config.formulation = "eval", "plain"
        shape = (16, 16, 3)
        model = models.build(config, shape, (), outputs=stage.pretext.outputs)
        variables = jax.device_get(models.init_variables(model, shape, jax.random.key(0), stage.method))
        raw = np.random.default_rng(0).integers(0, 256, (16, *shape)).astype(np.float64)
        mask = np.r_[np.ones(13), np.zeros(3)]
        optimizer = train.make_optimizer(config[name], 4)

        def after(devices, parts):
            changed = ConfigDict(config.to_dict() | {"accumulation": parts})
            mesh = parallel.make_mesh(devices)
            state = train.create_state(variables, optimizer, {}, jax.random.key(1))
            step = train.make_step(model, stage, changed, optimizer, lambda raw, key: raw / 127.5 - 1, 4)
            state, metrics = step(parallel.replicate(state, mesh), *parallel.shard((raw, mask), mesh))
            return jax.device_get(state.params), jax.device_get(metrics)

        params, metrics = after(1, 1)
        for other in (after(8, 1), after(1, 2)):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), (params, metrics), other)


def test_an_encoder_is_handed_on_from_any_pretext(tmp_path):
    config = config_of("rotation", "one_class", distance="centroid")
    result = pipeline.run(config, tmp_path, keep_checkpoints=True)
    assert result["transferred_arrays"] > 10
    assert {row["stage"] for row in runs_rows(tmp_path)} == {"rotation", "one_class"}
    assert all("correct" in row for row in runs_rows(tmp_path) if row["stage"] == "rotation")


def runs_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """A finished run of rotation, scored by all it has, with watched images."""
    workdir = tmp_path_factory.mktemp("turned")
    config = config_of("rotation", score="combined")
    return workdir, pipeline.run(config, workdir, load=with_watched), config


def with_watched(config):
    dataset = synthetic.load(config)
    rows = np.arange(len(dataset.train))
    parts = [
        Split(dataset.train.images[of], dataset.train.labels[of], [dataset.train.samples[i] for i in of])
        for of in (rows[:-12], rows[-12:])
    ]
    return dataclasses.replace(dataset, train=parts[0], watched=parts[1])


def test_a_run_says_what_it_saw_on_watched_images(turned):
    workdir, result, _ = turned
    found = [row["watched"] for row in runs_rows(workdir)]
    assert len(found) == 2 and all({"loss", "correct", "guess"} == set(of) for of in found)
    np.testing.assert_allclose([of["guess"] for of in found], np.log(4), rtol=1e-5)
    assert result["advice"].keys() <= {"rotation"}


def test_the_detector_of_a_pretext_scores_as_the_run_did(turned):
    workdir, result, config = turned
    detector = Detector.load(workdir)
    dataset = with_watched(config)
    scores = detector.score(dataset.test.images)
    assert roc_auc_score(dataset.test.labels, scores) == pytest.approx(result["metrics"]["combined"]["auc"], abs=1e-3)
    assert set(result["metrics"]) == {"combined", "layer2", "layer3", "pretext"}
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score(dataset.test.images), scores)


def test_a_detector_of_parts_is_trained_from_scratch_and_scores_by_places(washers, tmp_path):
    config = folder.get_config("scratch")
    config.data_dir = str(washers)
    config.update(resize=64, overlays=0, code_size=16, layers=(1, 2), fine_layers=(1,), maps=())
    config.pasted.epochs = 1
    result = pipeline.run(config, tmp_path)
    assert result["seconds"]["pasted"] > 0 and result["statistics"]["weights"]["source"] == "trained here"
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["final"]
    detector = Detector.load(tmp_path)
    hole = washers / "test/hole"
    kind = hole if hole.exists() else next(of for of in (washers / "test").iterdir() if of.name != "good")
    bad, good = (detector.score(sorted(of.iterdir())).mean() for of in (kind, washers / "test/good"))
    assert bad > good


def test_distances_are_those_of_plain_numpy_and_scikit_learn():
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(40, 2, 6)) + 3, rng.normal(size=(5, 2, 6)) + 3
    euclid = pooled.euclid(pooled.fit(x, "euclid"), jnp.asarray(new))
    np.testing.assert_allclose(euclid, np.linalg.norm(new - x.mean(0), axis=-1), rtol=1e-5)
    cosine = pooled.cosine(pooled.fit(x, "cosine"), jnp.asarray(new))
    unit = [of / np.linalg.norm(of, axis=-1, keepdims=True) for of in (x, new)]
    for view in range(2):
        near = NearestNeighbors(n_neighbors=5).fit(unit[0][:, view]).kneighbors(unit[1][:, view])[0].mean(1)
        np.testing.assert_allclose(cosine[:, view], near, rtol=2e-3)  # the bank is kept in float16


@pytest.mark.parametrize("distance", ["whitened", "neighbours", "cosine"])
def test_a_picture_that_is_left_out_is_told_as_by_statistics_without_it(distance):
    x = np.random.default_rng(1).normal(size=(200, 1, 4)).astype(np.float32)
    own = np.arange(3, dtype=np.int32)
    left_out = pooled.DISTANCES[distance](pooled.fit(x, distance), jnp.asarray(x[:3]), own)
    for index in range(3):
        without = pooled.fit(np.delete(x, index, 0), distance)
        alone = pooled.DISTANCES[distance](without, jnp.asarray(x[index : index + 1]))[0]
        np.testing.assert_allclose(left_out[index], alone, rtol=0.02)
    inside = pooled.DISTANCES[distance](pooled.fit(x, distance), jnp.asarray(x[:3]))
    assert (np.asarray(inside) < np.asarray(left_out)).all()


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"stages": ("rotation", "one_class"), "score": "pretext"}, "last stage must be a pretext"),
        ({"distance": "centroid"}, "no stage trains distances"),
        ({"layers": ()}, "layers must name layers"),
        ({"data": "cifar10", "layer_weights": "made_up"}, "watched must be above 0"),
        ({"head": "selector"}, "must be 'mean' or 'whole'"),
        ({"distance": "centroid", "score": "pretext", "score_views": "turned"}, None),
        ({"distance": "cosine", "score": "pretext"}, "does not use it"),
    ],
)
def test_what_does_not_fit_together_is_said(fields, said):
    config = config_of("rotation", "one_class")
    config.stages = ("rotation",)
    config.update(fields)
    if said is None:
        configs.check(config)
        return
    with pytest.raises(UserError, match=said):
        configs.check(config)


def test_a_picture_that_is_not_square_cannot_be_turned(tmp_path):
    config = config_of("rotation")

    def load(config):
        dataset = synthetic.load(config)
        inputs = dataclasses.replace(dataset.inputs, shape=(32, 24, 3), size=(32, 24))
        return dataclasses.replace(dataset, inputs=inputs)

    with pytest.raises(UserError, match="square"):
        pipeline.run(config, tmp_path, load=load)


@pytest.mark.parametrize(
    "curve, said",
    [
        ([{"loss": 1.38, "guess": 1.386}] * 3, "nothing was learned"),
        ([{"loss": 0.001, "guess": 1.386, "correct": 1.0}] * 3, "too easy"),
        ([{"loss": value} for value in (3, 2, 1, 1.5)], "least after epoch 3 and then rose by 50%"),
        ([{"loss": value} for value in (3, 2, 1, 0.999, 1.0, 1.0, 1.0, 0.999)], "no longer fell"),
        ([{"loss": value} for value in (4, 3, 2, 1)], "still fell"),
    ],
)
def test_what_a_curve_says(curve, said):
    assert said in curves.advice(curve)


@pytest.mark.parametrize("encoder", ["resnet8", "resnet14", "resnet20"])
def test_thin_networks_have_the_layers_that_they_are_named_after(encoder):
    config = config_of("rotation", encoder=encoder, layers=(0, 1, 2, 3))
    model = models.build(config, (16, 24, 3), config.layers, outputs=4)
    variables = jax.eval_shape(lambda: models.init_variables(model, (16, 24, 3), jax.random.key(0), "__call__"))
    kernels = [path for path, x in jax.tree_util.tree_leaves_with_path(variables["params"]) if x.ndim > 1]
    shortcuts = [path for path in kernels if "conv2a" in str(path)]
    assert len(kernels) - len(shortcuts) == int(encoder.removeprefix("resnet"))
    shapes = train.feature_shapes(model, variables, (16, 24, 3))
    assert shapes == {"layer0": (2,), "layer1": (4,), "layer2": (8,), "layer3": (16,)}
    with pytest.raises(ValueError, match="divisible by 8"):
        models.build(config, (12, 16, 3), (3,))
    with pytest.raises(ValueError, match="multiple of 8"):
        models.build(ConfigDict(config.to_dict() | {"code_size": 12}), (16, 16, 3), (3,))


def test_layers_weigh_by_what_made_up_anomalies_say():
    """Layer 0 knows nothing of the anomalies, layer 1 all: layer 1 alone counts."""
    rng = np.random.default_rng(0)

    def drawn(count, shift):
        x = rng.normal(size=(2, count, 1, 3)).astype(np.float32)
        return {"layer0": x[0], "layer1": x[1] + shift}, None

    trained, watched, anomalous = drawn(200, 0), drawn(50, 0), drawn(50, 9)
    anomalous[0]["layer0"] = watched[0]["layer0"]
    known = pooling.statistics(trained, watched, "whitened", anomalous)
    assert {name: float(weight) for name, weight in known.weights.items()} == {"layer0": 0.0, "layer1": 1.0}
    parts = pooling.of_parts("whitened", known.layers, anomalous[0])
    alone = pooling.statistics(trained, watched, "whitened")
    assert {float(weight) for weight in alone.weights.values()} == {0.5}
    found = pooled.unit_scores(known, parts, (pooled.DISTANCE,))
    np.testing.assert_allclose(found[pooled.SCORE], found["layer1"], rtol=1e-3, atol=1e-3)


def seen(model, stage, config, state, images):
    """`pooling.seen` as one program: the features alone."""
    return jax.jit(lambda *of: pooling.seen(model, stage, config, *of)[0])(state, images, jnp.ones(len(images)))


@pytest.mark.parametrize("distance", ["cosine", "euclid"])
def test_a_whole_map_may_count_in_place_of_its_mean(tmp_path, distance):
    """Where something is tells then too: the features of the last layer are as many as its map has numbers."""
    config = config_of("rotation", head="whole", layers=(2, 3), distance=distance, score="distance")
    dataset = with_watched(config)
    result = pipeline.run(config, tmp_path, load=lambda config: dataset)
    detector = Detector.load(tmp_path)
    scores = detector.score(dataset.test.images)
    assert roc_auc_score(dataset.test.labels, scores) == pytest.approx(result["metrics"]["combined"]["auc"], abs=1e-3)
    model = pooling.network(config, dataset.inputs.shape)
    images = dataset.inputs.preprocess(dataset.test.images[:3])
    mean = pooling.network(ConfigDict(config.to_dict() | {"head": "mean"}), dataset.inputs.shape)
    stage, state = STAGES["rotation"], detector.content.state
    whole, pooled_means = (seen(of, stage, config, state, images) for of in (model, mean))
    for layer, means in pooled_means.items():
        places = whole[layer].reshape(*means.shape[:2], -1, means.shape[-1])
        assert places.shape[2] == {"layer2": 16, "layer3": 4}[layer]
        np.testing.assert_allclose(places.mean(2), means, rtol=1e-4, atol=1e-5)


def test_views_in_scoring_are_averaged(turned):
    _, _, config = turned
    dataset = with_watched(config)
    config = ConfigDict(config.to_dict() | {"score": "distance", "score_views": "turned"})
    model = pooling.network(config, dataset.inputs.shape)
    stage = STAGES["rotation"]
    variables = models.init_variables(model, dataset.inputs.shape, jax.random.key(0), "encode")
    state = train.untrained_state(variables, jax.random.key(0))
    images = dataset.inputs.preprocess(dataset.test.images[:2])
    found = seen(model, stage, config, state, images)
    plain = ConfigDict(config.to_dict() | {"score_views": "plain"})
    for turns in range(4):
        one = seen(model, stage, plain, state, jnp.rot90(images, turns, (1, 2)))
        np.testing.assert_allclose(found["layer3"][:, turns], one["layer3"][:, 0], rtol=1e-4, atol=1e-5)
    assert evaluate.built(config, dataset.inputs.shape).decoder is not None
