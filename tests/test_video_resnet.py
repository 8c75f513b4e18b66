"""The video network: sizes of the specification, the same numbers as in PyTorch, causality.

`recorded/shanghaitech.npz` was made by `experiments.record_video` in float64: features, reconstruction, gradient
norms and running statistics for weights that are drawn from a seed.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import record_resnet, record_video
from mocca_jax import models, torch_weights
from mocca_jax.errors import UserError
from mocca_jax.method import losses
from mocca_jax.training import step as train
from tests.conftest import REPOSITORY

TOLERANCE = 1e-6  # recorded numbers are rounded to single precision
LAYERS = tuple(range(7))


def build(layers=LAYERS, shape=record_video.SHAPE, code_size=record_video.CODE, head="lstm", size=12, **changes):
    settings = {"encoder": "video_resnet", "head": head, "code_size": code_size, "formulation": "plain"}
    lstm = {"lstm_size": size, "lstm_layers": 1, "lstm_bidirectional": False, "lstm_dropout": 0.0}
    return models.build(ConfigDict(settings | lstm | changes), shape, layers)


def shapes_of(model, shape, method="__call__"):
    clip, init = np.zeros((1, *shape), np.float32), model.init
    return jax.eval_shape(lambda: init(jax.random.key(0), clip, np.ones(1), False, method=method))["params"]


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "head, code_size, total",
    [("lstm", 1024, 12_731_627), ("lstm", 2048, 14_190_827), ("selector_lstm", 1024, 143_437_915)],
)
def test_parameter_counts_equal_the_specification(head, code_size, total):
    shape = (16, 256, 512, 3)
    params = shapes_of(build(LAYERS, shape, code_size, head, size=100), shape)
    assert count(params) == total
    encoder = params["encoder"]
    assert [count(encoder[f"down{i}"]) for i in range(1, 6)] == [2_448, 10_592, 42_176, 168_320, 225_664]
    lstms = [count({n: a for n, a in encoder[f"head{j}"].items() if n != "selector"}) for j in LAYERS[:6]]
    assert lstms == [44_000, 47_200, 53_600, 66_400, 66_400, 245_600]


@pytest.fixture(scope="module")
def recorded():
    with np.load(REPOSITORY / "tests/recorded/shanghaitech.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def drawn(recorded, variant):
    start = f"{variant}/shape/"
    names = {n.removeprefix(start): tuple(a) for n, a in recorded.items() if n.startswith(start)}
    return {name: record_resnet.draw(name, shape) for name, shape in names.items()}


def assert_close(ours, theirs, name):
    assert ours.dtype == jnp.float64
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize(
    "variant, mode, changes",
    [
        ("plain", "eval", {}),
        ("plain", "train", {"formulation": "rewritten"}),
        ("selectors", "train", {"head": "selector_lstm"}),
        ("deep", "eval", {"lstm_layers": 2, "lstm_bidirectional": True}),
    ],
)
def test_outputs_gradients_and_statistics_equal_pytorchs(request, double, recorded, variant, mode, changes):
    state_dict = drawn(recorded, variant)
    variables, moved = torch_weights.video_variables(state_dict, record_video.SHAPE)
    assert moved == len(state_dict)
    variables = jax.tree.map(np.float64, variables)
    model = build(**changes)
    if "formulation" not in changes:
        request.getfixturevalue("optimised")
    clip = jnp.asarray(record_video.clip().transpose(0, 2, 3, 4, 1), jnp.float64)

    def outputs(params):
        mask = jnp.ones(record_video.BATCH)
        collections = ["features", "batch_stats"]
        made, updated = model.apply({**variables, "params": params}, clip, mask, mode == "train", mutable=collections)
        features = train.features_of(updated)
        loss = sum(jnp.square(f).sum(1).mean() for f in features.values())
        return loss + losses.reconstruction_error(made, clip).mean(), (made, features, updated["batch_stats"])

    if mode == "train":
        (loss, found), gradients = jax.jit(jax.value_and_grad(outputs, has_aux=True))(variables["params"])
        assert_gradient_norms(recorded, f"{variant}/train/gradient_norm/", gradients)
    else:
        loss, found = jax.jit(outputs)(variables["params"])
    made, features, statistics = found
    assert_close(loss, recorded[f"{variant}/{mode}/loss"], "loss")
    for name, feature in features.items():
        assert_close(feature, recorded[f"{variant}/{mode}/{name}"], name)
    every101 = np.asarray(made.transpose(0, 4, 1, 2, 3)).ravel()[::101]
    assert_close(every101, recorded[f"{variant}/{mode}/reconstruction@every101"], "reconstruction")
    if mode == "train":
        start = f"{variant}/after/"
        after = {n.removeprefix(start): a for n, a in recorded.items() if n.startswith(start)}
        expected, _ = torch_weights.video_variables({**state_dict, **after}, record_video.SHAPE)
        jax.tree.map(lambda a, b: assert_close(a, b, "statistics"), dict(statistics), expected["batch_stats"])


def assert_gradient_norms(recorded, start, gradients):
    """Of whole modules: they depend neither on layouts nor on which of two biases is which array."""
    ours = {
        f"{half}/{n}": jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(tree)))
        for half in ("encoder", "decoder")
        for n, tree in gradients[half].items()
    }
    theirs: dict[str, float] = {}
    for name, norm in recorded.items():
        if name.startswith(start):
            module = our_module(name.removeprefix(start))
            theirs[module] = theirs.get(module, 0.0) + float(norm) ** 2
    assert ours.keys() == theirs.keys()
    for module, squares in theirs.items():
        assert float(ours[module]) == pytest.approx(np.sqrt(squares), rel=TOLERANCE), module


def our_module(name: str) -> str:
    half, module, index = re.match(r"(encoder|decoder)\.([a-z_]+?)[_.]?(\d)\.", name).groups()
    if half == "decoder":
        return f"decoder/linear{int(index) // 2 + 1}" if module == "tdl" else f"decoder/{decoder_block(int(index))}"
    at = {"conv": f"down{index}", "tdl": f"linear{index}", "lstm_tdl": f"head{int(index) + 4}"}
    return f"encoder/{at.get(module, f'head{int(index) - 1}')}"


def decoder_block(index: int) -> str:
    return "conv" if index == 5 else f"up{index + 1}"


def test_selectors_may_be_left_out(recorded):
    weights = drawn(recorded, "selectors")
    variables, moved = torch_weights.video_variables(weights, record_video.SHAPE, selectors=False)
    assert moved == len([n for n in weights if not n.startswith("encoder.sel")]) == 188
    assert set(variables["params"]["encoder"]["head0"]) == {"lstm0"}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("encoder.lstm_3.bias_hh_l0"), r"encoder\.lstm_3\.l0 are not whole: bias_hh missing"),
        (lambda w: w.pop("decoder.conv.5.bias"), r"decoder\.conv\.5\.bias: missing"),
        (lambda w: w.update({"encoder.extra": np.zeros(3)}), r"encoder\.extra \(3,\): unknown"),
        (lambda w: w.update({"encoder.tdl_1.linear.weight": np.zeros((512, 99))}), r"tdl_1\.linear\.weight: converts"),
    ],
)
def test_incomplete_weights_are_refused_by_name(recorded, change, message):
    weights = drawn(recorded, "plain")
    change(weights)
    with pytest.raises(UserError, match=message):
        torch_weights.video_variables(weights, record_video.SHAPE)


def test_the_maps_never_look_ahead_and_forget_the_start_when_the_docstring_says(double, rng):
    """A later frame changes no earlier step; the missing past reaches no further than 2, 4, 7, 11 and 17 frames."""
    shape = (24, 32, 32, 3)
    model = build((0, 1, 2, 3, 4), shape, head="activation")
    variables = models.init_variables(model, shape, jax.random.key(0), "encode")

    @jax.jit
    def maps(clip):
        sown = model.apply(variables, clip, jnp.ones(1), False, method="encode", mutable=["features"])[1]
        return list(train.features_of(sown).values())

    clip = rng.uniform(0, 1, (1, *shape))
    later = clip.copy()
    later[:, 12:] = 0
    for a, b in zip(maps(clip), maps(later), strict=True):
        stride = shape[0] // a.shape[1]
        np.testing.assert_array_equal(a[:, : 12 // stride], b[:, : 12 // stride])
        assert not np.array_equal(a, b)
    shorter = maps(clip[:, 4:])
    for layer, (a, b, reach) in enumerate(zip(maps(clip), shorter, (2, 4, 7, 11, 17), strict=True)):
        stride = shape[0] // a.shape[1]
        first = -(-reach // stride)
        whole = a[:, 4 // stride :]
        np.testing.assert_allclose(whole[:, first:], b[:, first:], rtol=1e-9, atol=1e-11, err_msg=str(layer))


@pytest.mark.parametrize("shape", [(6, 64, 64, 3), (8, 48, 64, 3), (64, 64, 3)])
def test_clips_that_the_strides_do_not_divide_are_refused(shape):
    with pytest.raises(ValueError, match="divisible by"):
        build(shape=shape)


@pytest.mark.parametrize("layers, absent", [((2,), {"down4", "linear1"}), ((0, 5), {"linear2"})])
def test_nothing_beyond_the_deepest_selected_layer_has_parameters(layers, absent):
    encoder = shapes_of(build(layers), record_video.SHAPE, "encode")["encoder"]
    assert not absent & set(encoder)
    assert {n for n in encoder if n.startswith("head")} == {f"head{j}" for j in layers}
