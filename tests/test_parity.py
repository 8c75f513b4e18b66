"""The published program's recorded numbers against ours, in the `reference` preset.

`recorded/cifar10.npz` holds the published network's weights, six inputs, and what its program computed from
them. Arrays too large to keep are recorded at every 29th value (`@every29`), at their first 1,000 (`@head`)
or as `@norm` and `@sum`.

Ours are computed in double precision: how far they are from PyTorch's, which are in single, is then the same on every
machine.
"""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mocca_jax import models, torch_weights
from mocca_jax.configs import cifar10
from mocca_jax.method import losses, scores
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES
from tests.conftest import REPOSITORY

LAYERS = ("layer0", "layer1", "layer2", "layer3")
THEIR_LAYERS = ("conv1", "conv2", "conv3", "fc1")
MASK = np.ones(6)
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def in_double_precision(double):
    pass


@pytest.fixture(scope="module")
def recorded():
    with np.load(REPOSITORY / "tests/recorded/cifar10.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def variables(recorded):
    state_dict = {n.removeprefix("param/"): a for n, a in recorded.items() if n.startswith("param/")}
    converted, count = torch_weights.lenet_variables(state_dict)
    assert count == len(state_dict) == 24
    return jax.tree.map(np.float64, converted)


@pytest.fixture(scope="module")
def image(recorded):
    return recorded["input"].transpose(0, 2, 3, 1).astype(np.float64)


@pytest.fixture(scope="module")
def config():
    return cifar10.get_config("reference")


@pytest.fixture(params=["plain", "rewritten"])
def model(request, config):
    config = config.copy_and_resolve_references()
    config.formulation = request.param
    return models.build(config, (32, 32, 3), config.layers)


def assert_close(recorded, name, ours):
    """Compares with whatever of `name` was recorded, relative to its largest value."""
    ours = np.asarray(ours)
    assert ours.dtype == np.float64
    parts = {
        "": lambda a: a,
        "@every29": lambda a: a.ravel()[::29],
        "@head": lambda a: a.ravel()[:1000],
        "@norm": np.linalg.norm,
    }
    kept = [suffix for suffix in parts if name + suffix in recorded]
    assert kept, f"{name} was not recorded"
    for suffix in kept:
        theirs = recorded[name + suffix]
        np.testing.assert_allclose(
            parts[suffix](ours), theirs, rtol=TOLERANCE, atol=TOLERANCE * np.abs(theirs).max(), err_msg=name + suffix
        )


def their_layout(name, array):
    """Our kernel -> the published program's layout."""
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.reshape(4, 4, 128, -1).transpose(3, 2, 0, 1).reshape(-1, 2048)


def transposed_layout(array):
    return array.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1]


def encode(model, variables, image, train=False):
    return applied(model, variables, image, train, method="encode", mutable=("features", "batch_stats"))


@functools.partial(jax.jit, static_argnames=("model", "train", "method", "mutable"))
def applied(model, variables, image, train, method="__call__", mutable=()):
    return model.apply(variables, image, MASK, train, method=method, mutable=list(mutable))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_code_features_and_reconstruction_equal_the_published(model, variables, image, recorded, mode):
    code, updated = encode(model, variables, image, train=mode == "train")
    assert_close(recorded, f"{mode}/code", code)
    for ours, theirs in zip(LAYERS, THEIR_LAYERS, strict=True):
        assert_close(recorded, f"{mode}/feat/{theirs}", train.features_of(updated)[ours])
    reconstruction, _ = applied(model, variables, image, mode == "train", mutable=("features", "batch_stats"))
    assert_close(recorded, f"{mode}/recon", reconstruction.transpose(0, 3, 1, 2))
    error = losses.reconstruction_error(reconstruction, image).mean()
    assert_close(recorded, f"{mode}/recon_loss", error)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_raw_layers_equal_the_published(model, variables, image, recorded, mode):
    _, seen = model.apply(
        variables,
        image,
        MASK,
        mode == "train",
        method="encode",
        mutable=["intermediates", "features", "batch_stats"],
        capture_intermediates=lambda module, _: module.name in ("conv1", "conv2", "conv3", "linear"),
    )
    raw = seen["intermediates"]["encoder"]
    for name in ("conv1", "conv2", "conv3"):
        assert_close(recorded, f"{mode}/raw/{name}", raw[name]["__call__"][0].transpose(0, 3, 1, 2))
    assert_close(recorded, f"{mode}/raw/fc1", raw["linear"]["__call__"][0])


def centroids_and_radii(recorded):
    centroids = {f"layer{i}": jnp.asarray(recorded[f"c/0{i}"], float) for i in range(4)}
    return centroids, {f"layer{i}": jnp.asarray(recorded[f"R/0{i}"], float) for i in range(4)}


def published_loss(boundary, dist, radii):
    """The published objective: layers summed, no 1/nu in the hard loss, and a stray constant 1."""
    loss = losses.LOSSES[boundary](dist, radii, nu=0.1 if boundary == "soft" else 1)
    return 1 + len(dist) * loss.mean()


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("boundary", ["soft", "hard"])
def test_distances_losses_scores_and_gradients_equal_the_published(model, variables, image, recorded, mode, boundary):
    centroids, radii = centroids_and_radii(recorded)

    def objective(params):
        _, updated = encode(model, {**variables, "params": params}, image, train=mode == "train")
        dist = train.distances(train.features_of(updated), centroids)
        return published_loss(boundary, dist, radii), dist

    encoder_only = {"encoder": variables["params"]["encoder"]}
    (loss, dist), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(encoder_only)
    assert_close(recorded, f"{mode}/loss_{boundary}", loss)
    for i, layer in enumerate(LAYERS):
        assert_close(recorded, f"{mode}/dist/0{i}", dist[layer])
    score = scores.combine(scores.layer_scores(dist, radii, boundary=boundary))
    assert_close(recorded, f"{mode}/score_{boundary}", score)
    for ours, theirs in zip(("conv1", "conv2", "conv3", "linear"), THEIR_LAYERS, strict=True):
        gradient = np.asarray(grads["encoder"][ours]["kernel"])
        assert_close(recorded, f"grad_{mode}_{boundary}/{theirs}.weight", their_layout(theirs, gradient))


def test_reconstruction_gradients_and_running_statistics_equal_the_published(model, variables, image, recorded):
    def objective(params):
        given = {**variables, "params": params}
        reconstruction, updated = model.apply(given, image, MASK, True, mutable=["batch_stats", "features"])
        return losses.reconstruction_error(reconstruction, image).mean(), updated["batch_stats"]

    (_, stats), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(variables["params"])
    for i in (1, 2, 3):
        gradient = np.asarray(grads["encoder"][f"conv{i}"]["kernel"])
        assert_close(recorded, f"grad_train_recon/encoder.conv{i}.weight", their_layout("", gradient))
    gradient = np.asarray(grads["encoder"]["linear"]["kernel"])
    assert_close(recorded, "grad_train_recon/encoder.fc1.weight", their_layout("", gradient))
    for i in (1, 2, 3, 4):
        gradient = np.asarray(grads["decoder"][f"conv{i}"]["kernel"])
        assert_close(recorded, f"grad_train_recon/decoder.deconv{i}.weight", transposed_layout(gradient))
    theirs = {n.removeprefix("stats_after/"): a for n, a in recorded.items() if n.startswith("stats_after/")}
    weights = {n.removeprefix("param/"): a for n, a in recorded.items() if n.startswith("param/")}
    expected, _ = torch_weights.lenet_variables({**weights, **theirs})
    flat = flax.traverse_util.flatten_dict(expected["batch_stats"], sep="/")
    ours = flax.traverse_util.flatten_dict(dict(stats), sep="/")
    assert ours.keys() == flat.keys()
    for name, value in flat.items():
        np.testing.assert_allclose(ours[name], value, rtol=TOLERANCE, atol=TOLERANCE * np.abs(value).max())


def test_centroids_equal_the_published(model, config, variables, image, recorded):
    state = train.create_state(variables, optax.identity(), {}, jax.random.key(0))
    half = [
        (image[:4], jnp.ones(4)),
        (jnp.concatenate([image[4:], jnp.ones((2, 32, 32, 3))]), jnp.array([1, 1, 0, 0.0])),
    ]
    ours = train.compute_centroids(model, state, lambda raw, key: raw, half, config.centroid_push)
    for i, layer in enumerate(LAYERS):
        assert_close(recorded, f"init_c/0{i}", ours[layer])


def test_three_adam_steps_equal_the_published(config, variables, image, recorded):
    """Hard loss, all layers, inference-mode batch-norm, rate 1e-4, decay 0.01: through our own training step."""
    config = config.copy_and_resolve_references()
    config.boundary = "hard"
    config.one_class.weight_decay = 0.01
    model = models.build(config, (32, 32, 3), config.layers)
    optimizer = train.make_optimizer(config.one_class, steps_per_epoch=1)
    encoder = {kind: {"encoder": value["encoder"]} for kind, value in variables.items()}
    centroids, radii = centroids_and_radii(recorded)
    state = train.create_state(encoder, optimizer, {}, jax.random.key(0))
    state = jax.tree.map(jnp.array, state.replace(centroids=centroids, radii=radii))
    step = train.make_step(model, STAGES["one_class"], config, optimizer, lambda raw, key: raw, 1)
    seen = []
    for _ in range(3):
        state, metrics = step(state, image, MASK)
        seen.append(float(metrics["loss"]) + 1)  # the published constant
    assert_close(recorded, "adam3_losses", np.array(seen))
    for ours, theirs in zip(("conv1", "conv2", "conv3", "linear"), THEIR_LAYERS, strict=True):
        kernel = np.asarray(state.params["encoder"][ours]["kernel"])
        assert_close(recorded, f"adam3/{theirs}.weight", their_layout("", kernel))
