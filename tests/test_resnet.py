"""The MVTec AD network: sizes of the specification, the same numbers as in PyTorch, rewritten as readable.

`recorded/mvtec.npz` was made by `experiments.record_resnet` in float64: features, reconstruction, gradient norms
and running statistics for weights that are drawn from a seed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import record_resnet
from mocca_jax import models, torch_weights
from mocca_jax.errors import UserError
from mocca_jax.method import losses
from mocca_jax.models import convolutions, heads, residual, rewrites
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES
from tests.conftest import REPOSITORY

TOLERANCE = 1e-6  # recorded numbers are rounded to single precision


def build(layers=(), side=64, code_size=128, head="selector", formulation="plain"):
    config = ConfigDict({"encoder": "resnet", "head": head, "code_size": code_size, "formulation": formulation})
    return models.build(config, (side, side, 3), layers)


def shapes_of(model, side, method="__call__"):
    image = np.zeros((2, side, side, 3), np.float32)
    init = model.init
    return jax.eval_shape(lambda: init(jax.random.key(0), image, np.ones(2), False, method=method))["params"]


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "side, code_size, encoder, decoder, code_selector",
    [
        (64, 64, 5_437_856, 5_592_352, 50_048),
        (64, 128, 5_454_304, 5_608_736, 66_432),
        (128, 64, 18_020_768, 18_322_720, 50_048),
        (128, 128, 18_037_216, 18_339_104, 66_432),
    ],
)
def test_parameter_counts_equal_the_specification(side, code_size, encoder, decoder, code_selector):
    params = shapes_of(build(tuple(range(8)), side, code_size), side)
    selectors = [count(params["encoder"][f"head{j}"]) for j in range(8)]
    assert selectors == [50_081, 50_081, 50_113, 50_177, 50_305, 99_200, code_selector, code_selector]
    assert (count(params["encoder"]) - sum(selectors), count(params["decoder"])) == (encoder, decoder)


@pytest.fixture(scope="module")
def recorded():
    with np.load(REPOSITORY / "tests/recorded/mvtec.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def state_dict(recorded):
    names = {n.removeprefix("shape/"): tuple(a) for n, a in recorded.items() if n.startswith("shape/")}
    return {name: record_resnet.draw(name, shape) for name, shape in names.items()}


def assert_close(ours, theirs, name):
    assert ours.dtype == jnp.float64
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("mode, formulation", [("eval", "plain"), ("train", "rewritten")])
def test_outputs_gradients_and_statistics_equal_pytorchs(request, double, recorded, state_dict, mode, formulation):
    variables, moved = torch_weights.resnet_variables(state_dict)
    assert moved == len(state_dict) == 206
    variables = jax.tree.map(np.float64, variables)
    model = build(tuple(range(8)), record_resnet.SIDE, record_resnet.CODE, formulation=formulation)
    image = jnp.asarray(record_resnet.image().transpose(0, 2, 3, 1), jnp.float64)

    def outputs(params):
        given = {**variables, "params": params}
        mask = jnp.ones(record_resnet.BATCH)
        made, updated = model.apply(given, image, mask, mode == "train", mutable=["features", "batch_stats"])
        features = train.features_of(updated)
        loss = sum(jnp.square(f).sum(1).mean() for f in features.values())
        return loss + losses.reconstruction_error(made, image).mean(), (made, features, updated["batch_stats"])

    if mode == "train":
        (loss, found), gradients = jax.jit(jax.value_and_grad(outputs, has_aux=True))(variables["params"])
        assert_gradient_norms(recorded, state_dict, mode, gradients)
    else:
        request.getfixturevalue("optimised")
        loss, found = jax.jit(outputs)(variables["params"])
    made, features, statistics = found
    assert_close(loss, recorded[f"{mode}/loss"], "loss")
    for name, feature in features.items():
        assert_close(feature, recorded[f"{mode}/{name}"], name)
    every29 = np.asarray(made.transpose(0, 3, 1, 2)).ravel()[::29]
    assert_close(every29, recorded[f"{mode}/reconstruction@every29"], "reconstruction")
    if mode == "train":
        after = {n.removeprefix("after/"): a for n, a in recorded.items() if n.startswith("after/")}
        expected, _ = torch_weights.resnet_variables({**state_dict, **after})
        jax.tree.map(lambda a, b: assert_close(a, b, "statistics"), dict(statistics), expected["batch_stats"])


def assert_gradient_norms(recorded, state_dict, mode, gradients):
    """Norms do not depend on the layout; biases before a batch-norm have gradients of rounding errors only."""
    norms = {n: float(recorded[f"{mode}/gradient_norm/{n}"]) for n in state_dict if "running" not in n}
    stamped = {n: np.full(a.shape, norms.get(n, 0.0), np.float32) for n, a in state_dict.items()}
    expected, _ = torch_weights.resnet_variables(stamped)
    largest = max(norms.values())
    checked = 0
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected["params"]), strict=True):
        wanted = float(theirs.ravel()[0])
        if wanted > 1e-5 * largest:
            assert float(jnp.linalg.norm(ours)) == pytest.approx(wanted, rel=TOLERANCE)
            checked += 1
    assert checked > 90


def test_an_incomplete_state_dict_is_refused_by_name(state_dict):
    weights = dict(state_dict)
    weights.pop("decoder.conv.1.bn2a.bias")
    weights["encoder.extra"] = np.zeros(3)
    with pytest.raises(UserError, match=r"bn2a\.bias: missing\n.*encoder\.extra \(3,\): unknown"):
        torch_weights.resnet_variables(weights)


def test_an_encoder_with_some_selectors_is_taken(state_dict):
    bare = {n.removeprefix("encoder."): a for n, a in state_dict.items() if n.startswith("encoder.")}
    some = {n: a for n, a in bare.items() if not n.startswith("selectors.") or n.split(".")[1] in "46"}
    variables, _ = torch_weights.resnet_variables(some)
    assert {n for n in variables["params"]["encoder"] if n.startswith("head")} == {"head4", "head6"}


@pytest.mark.parametrize("layers, absent", [((4,), {"linear1", "norm", "linear2"}), ((0, 5), {"linear2"})])
def test_nothing_beyond_the_deepest_selected_layer_has_parameters(layers, absent):
    encoder = shapes_of(build(layers, 32, 16), 32, "encode")["encoder"]
    assert not absent & set(encoder)
    assert {f"head{j}" for j in layers} <= set(encoder)


def test_pre_training_has_no_selectors():
    assert STAGES["reconstruction"].has_centroids is False
    assert not [n for n in shapes_of(build((), 32, 16), 32)["encoder"] if n.startswith("head")]


@pytest.mark.parametrize("side", [4, 8, 31, 62, 126])
def test_adaptive_max_pooling_takes_pytorchs_windows(rng, side):
    x = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    pooled = heads.adaptive_max_pool(jnp.asarray(x), 8)
    for i in range(8):
        for j in range(8):
            rows, columns = ((k * side // 8, int(np.ceil((k + 1) * side / 8))) for k in (i, j))
            window = x[:, rows[0] : rows[1], columns[0] : columns[1]]
            np.testing.assert_array_equal(pooled[:, i, j], window.max((1, 2)))


def assert_same_values_and_gradients(found, wanted, x, kernel):
    """Of two functions of `x` and `kernel`, in double precision."""

    def both(function):
        @jax.jit
        def of(x, kernel):
            value, gradients = jax.vjp(function, x, kernel)
            return value, *gradients(jnp.cos(value))

        return of(x, kernel)

    for fast, plain in zip(both(found), both(wanted), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_gradients_of_a_transposed_convolution_are_those_that_jax_makes(double, rng, strides, side):
    x = jnp.asarray(rng.normal(size=(2, *(3, 4, 5)[: len(strides)], 3)))
    kernel = jnp.asarray(rng.normal(size=(*(side,) * len(strides), 3, 4)))
    assert_same_values_and_gradients(
        lambda x, k: convolutions.transposed_conv(x, k, strides),
        lambda x, k: convolutions._spread(x, k, strides),
        x,
        kernel,
    )


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("channels", [2, convolutions.MANY])
def test_transposed_convolutions_by_phase_equal_the_definition(double, rng, size, channels):
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)))
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, channels)))
    assert_same_values_and_gradients(
        lambda x, k: convolutions.fast_transposed_conv(x, k, (2, 2)),
        lambda x, k: convolutions.transposed_conv(x, k, (2, 2)),
        x,
        kernel,
    )


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("size, padded", [(1, True), (3, True), (3, False), (5, True)])
def test_fast_convolutions_equal_the_definition(double, rng, monkeypatch, strides, size, padded):
    monkeypatch.setattr(rewrites, "PART_SIZE", 100)  # of the batch of 16, two images of each of 8 devices
    padding = ((size // 2, size // 2) if padded else (0, 0),) * 2
    x = jnp.asarray(rng.normal(size=(16, 8, 10, 3)))
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, 6)))
    assert_same_values_and_gradients(
        lambda x, k: convolutions.fast_conv(x, k, strides, padding),
        lambda x, k: convolutions.conv(x, k, strides, padding),
        x,
        kernel,
    )


@pytest.mark.parametrize("c_in, c_out", [(20, 3), (20, 20), (6, 3), (3, 6)])
@pytest.mark.parametrize("positions", [1, 2**16])
def test_kernel_gradients_equal_the_definition_with_few_channels_and_many(
    double, rng, monkeypatch, c_in, c_out, positions
):
    monkeypatch.setattr(rewrites, "PART_SIZE", 20)
    monkeypatch.setattr(rewrites, "PART_POSITIONS", positions)
    x, kernel = jnp.asarray(rng.normal(size=(16, 4, 6, c_in))), jnp.asarray(rng.normal(size=(3, 3, c_in, c_out)))
    assert_same_values_and_gradients(rewrites.conv, rewrites.same_conv, x, kernel)


def test_a_batch_is_cut_where_its_result_is_large_and_every_device_has_as_much(monkeypatch):
    monkeypatch.setattr(rewrites, "PART_SIZE", 100)
    devices = jax.device_count()
    assert rewrites._parts(16 * devices, 100 * devices) == 1
    assert rewrites._parts(16 * devices, 350 * devices) == 4
    assert rewrites._parts(2 * devices, 350 * devices) == 2
    assert rewrites._parts(16 * devices, 10**6 * devices) == rewrites.PARTS
    assert rewrites._parts(16 * devices + 1, 10**6 * devices) == 1


def test_a_products_kernel_gradient_is_made_in_the_kernels_order(double, rng):
    x, kernel = jnp.asarray(rng.normal(size=(2, 3, 4))), jnp.asarray(rng.normal(size=(4, 5)))
    assert_same_values_and_gradients(rewrites.matmul, jnp.matmul, x, kernel)
    made = jax.make_jaxpr(jax.grad(lambda k: rewrites.matmul(x, k).sum()))(kernel)
    assert made.eqns[-1].outvars == made.jaxpr.outvars and made.eqns[-1].primitive.name == "dot_general"


@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_over_clips_keeps_the_clip_alone_for_its_gradient(rng, transposed):
    clip, kernel = jnp.asarray(rng.normal(size=(1, 4, 8, 8, 3))), jnp.asarray(rng.normal(size=(3, 3, 3, 3, 5)))
    apply = {
        False: lambda x, k: convolutions.fast_conv(x, k, (1, 1, 1), ((1, 1),) * 3),
        True: lambda x, k: convolutions.fast_transposed_conv(x, k, (2, 2, 2)),
    }[transposed]
    kept = jax.tree.leaves(jax.vjp(apply, clip, kernel)[1])
    assert sum(array.size for array in kept) <= clip.size + 4 * kernel.size  # its phases with zeros between


def test_a_causal_convolution_over_clips_sees_no_later_frame(rng):
    clip = jnp.asarray(rng.normal(size=(1, 6, 8, 8, 2)), jnp.float32)
    conv = residual.Conv(3, (3, 3, 3), (1, 1, 1), causal=True)
    variables = conv.init(jax.random.key(0), clip)
    changed = conv.apply(variables, clip.at[:, 4:].add(1.0))
    np.testing.assert_array_equal(changed[:, :4], conv.apply(variables, clip)[:, :4])


@pytest.mark.parametrize("block", [residual.Residual(), residual.Downsample(6, (2, 2)), residual.Upsample(2, (2, 2))])
def test_rewritten_blocks_equal_the_readable_ones_and_ignore_padding(double, rng, block):
    image = jnp.asarray(rng.normal(2, 3, size=(5, 7, 8, 4)))
    padded = jnp.concatenate([image, 9 * jnp.ones((3, 7, 8, 4))])
    variables = block.init(jax.random.key(0), image, jnp.ones(5), False)
    scale = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), variables["params"])

    def outputs(rewritten, x, mask):
        module = block.clone(rewritten=rewritten)

        def total(params, x):
            given = {**variables, "params": params}
            y, updated = module.apply(given, x, mask, True, mutable=["batch_stats"])
            return jnp.sin(y[:5]).sum(), (y[:5], updated)

        differentiate = jax.jit(jax.grad(total, (0, 1), has_aux=True))
        (params_gradient, x_gradient), seen = differentiate(scale, x)
        return params_gradient, x_gradient[:5], seen

    plain = outputs(False, image, jnp.ones(5))
    real = jnp.array([1, 1, 1, 1, 1, 0, 0, 0], jnp.float32)  # as runs have it, in double precision too
    for found in (outputs(True, image, real[:5]), outputs(True, padded, real)):
        for ours, wanted in zip(*map(jax.tree.leaves, (found, plain)), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-10)
