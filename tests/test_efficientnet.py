"""The EfficientNet-Lites: the same numbers as in PyTorch, in both formulations; what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import record_efficientnet as record
from experiments.record_resnet import draw
from mocca_jax import models, pipeline, weights
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.models import efficientnet, pieces
from mocca_jax.training import parallel, step
from mocca_jax.weights import efficientnet as converter
from tests.conftest import REPOSITORY

CASES = [(name, sides, "plain") for name, which in record.NETWORKS.items() for sides in which.split()] + [
    ("package/efficientnet_lite0", "odd", "rewritten"),
    ("packaged/efficientnet_lite0", "even", "rewritten"),
]


@pytest.fixture(scope="module")
def recorded():
    with np.load(REPOSITORY / "tests/recorded/efficientnet.npz") as arrays:
        return dict(arrays)


def drawn(recorded, name, dtype=np.float64) -> dict[str, np.ndarray]:
    """The state dict that the record was made with."""
    lines = bytes(recorded[f"{name}/names"]).decode().splitlines()
    shapes = {n: tuple(int(s) for s in sides.split(",") if s) for n, sides in (line.split(" ") for line in lines)}
    return {n: draw(n, shape).astype(dtype) for n, shape in shapes.items()}


def build(encoder="efficientnet_lite0", layers=(0,), formulation="plain", shape=(32, 32, 3), head="activation"):
    config = ConfigDict({"encoder": encoder, "head": head, "code_size": 1, "formulation": formulation})
    return models.build(config, shape, layers)


def features(model, variables, image) -> dict[str, jax.Array]:
    def apply(variables, image):
        mask = jnp.ones(image.shape[0], image.dtype)
        return model.apply(variables, image, mask, False, method="encode", mutable=["features"])[1]

    fast = {"xla_backend_optimization_level": 1}  # to compile
    return step.features_of(jax.jit(apply, compiler_options=fast)(variables, image))


@pytest.mark.parametrize("name, sides, formulation", CASES)
def test_every_block_gives_what_pytorch_gives(recorded, name, sides, formulation):
    """In float64, so that nothing but rounding is left: of trained weights, which are folded in float32."""
    naming, encoder = name.split("/")
    trained = naming == "packaged"
    loaded = weights.load(encoder).variables if trained else None
    with jax.enable_x64(True):
        variables = loaded or converter.variables(drawn(recorded, name), encoder)[0]
        variables = jax.tree.map(lambda array: np.asarray(array, np.float64), variables)
        image = record.image(record.SIDES[sides]).transpose(0, 2, 3, 1).astype(np.float64)
        layers = tuple(range(len(efficientnet.plan(encoder))))
        found = features(build(encoder, layers, formulation, image.shape[1:]), variables, jnp.asarray(image))
        found = [np.asarray(found[models.layer_name(j)]).transpose(0, 3, 1, 2) for j in layers]
    assert [f.shape for f in found] == [tuple(s) for s in recorded[f"{name}/{sides}/shapes"].tolist()]
    found = np.concatenate([record.some(f) for f in found])
    expected = recorded[f"{name}/{sides}/values"]
    np.testing.assert_allclose(found, expected, **({"atol": 2e-5} if trained else {"rtol": 1e-9, "atol": 1e-9}))


@pytest.mark.parametrize("sides", [(1, 1), (2, 7), (8, 8), (9, 12), (5, 3)])
@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_shifted_products_are_the_grouped_convolution(rng, sides, kernel, stride):
    with jax.enable_x64(True):
        x, weight = jnp.asarray(rng.normal(size=(2, *sides, 6))), jnp.asarray(rng.normal(size=(kernel, kernel, 6)))
        bias = jnp.asarray(rng.normal(size=6))
        variables = {"params": {"kernel": weight, "bias": bias}}
        plain, shifted = (efficientnet.Depthwise(kernel, stride, r).apply(variables, x) for r in (False, True))
        np.testing.assert_allclose(shifted, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (8, 8), (9, 12), (6, 5)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_pairs_of_columns_are_the_convolution_with_a_stride_of_two(rng, sides, kernel):
    with jax.enable_x64(True):
        x, weight = jnp.asarray(rng.normal(size=(2, *sides, 3))), jnp.asarray(rng.normal(size=(kernel, kernel, 3, 4)))
        plain, paired = efficientnet.same_conv(x, weight, 2), efficientnet.paired_conv(x, weight)
        np.testing.assert_allclose(paired, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("devices", [1, 8])
def test_a_batch_in_pieces_gives_what_it_gives_whole(rng, monkeypatch, devices):
    """32 images over eight devices: two steps of two images each."""
    monkeypatch.setattr(pieces, "PIXELS", 2 * 16 * 16)
    assert pieces.per_step((32, 16, 16, 3), 8) == 2
    variables = weights.load("efficientnet_lite0", deepest=3).variables
    image = rng.uniform(-1, 1, (32, 16, 16, 3)).astype(np.float32)
    mesh = parallel.make_mesh(devices)
    placed = parallel.replicate(variables, mesh), parallel.shard(image, mesh)
    found = features(build(layers=(1, 3), formulation="rewritten"), *placed)
    expected = features(build(layers=(1, 3)), variables, jnp.asarray(image))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "shape, devices, count",
    [((8, 256, 256, 3), 2, 1), ((8, 128, 128, 3), 2, 4), ((64, 64, 64, 3), 2, 16), ((6, 64, 64, 3), 2, 1)],
)
def test_pieces_divide_each_devices_share(shape, devices, count):
    assert pieces.per_step(shape, devices) == count


def test_a_program_whose_batch_is_not_known_takes_it_whole():
    variables = weights.load("efficientnet_lite0", deepest=0).variables
    model = build(formulation="rewritten")
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, 16, 16, 3), np.float32)

    def first(image):
        mask = jnp.ones(image.shape[0])
        return step.features_of(model.apply(variables, image, mask, False, method="encode", mutable=["features"])[1])

    exported = jax.export.export(jax.jit(first))(shape)
    assert exported.call(np.zeros((3, 16, 16, 3), np.float32))["layer0"].shape == (3, 8, 8, 16)


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_cells_look_where_they_are_said_to_look(layer):
    """All kernels are boxes and nothing is clipped, so the gradient's centre of mass is exact."""
    model = build(layers=(layer,), shape=(64, 64, 3))
    variables = models.init_variables(model, (64, 64, 3), jax.random.key(0), "encode")
    boxes = jax.tree.map(lambda a: jnp.full(a.shape, 0.1 / a.size if a.ndim > 1 else 0.0), variables)
    first, size = models.ENCODERS["efficientnet_lite0"].cell_centre(layer)
    cell = int(24 // size)

    def value(image):
        sown = model.apply(boxes, image, jnp.ones(1), False, method="encode", mutable=["features"])[1]
        return step.features_of(sown)[f"layer{layer}"][0, cell, cell].sum()

    slope = np.asarray(jax.jit(jax.grad(value))(jnp.full((1, 64, 64, 3), 0.5))).sum((0, 3))
    for axis in (0, 1):
        centre = (slope.sum(axis) * np.arange(64)).sum() / slope.sum()
        np.testing.assert_allclose(centre, first + size * cell, atol=1e-3)


def test_nothing_beyond_the_deepest_selected_block_is_needed():
    loaded = weights.load("efficientnet_lite0", deepest=4)
    assert set(loaded.variables["params"]["encoder"]) == {"stem", *(f"block{j}" for j in range(5))}
    model = build(layers=(2, 4), head="mean")
    found = features(model, loaded.variables, jnp.ones((1, 32, 32, 3)))
    assert {name: f.shape for name, f in found.items()} == {"layer2": (1, 24), "layer4": (1, 40)}
    fresh = models.init_variables(model, (32, 32, 3), jax.random.key(0), "encode")
    assert jax.tree.map(jnp.shape, fresh["params"]) == jax.tree.map(jnp.shape, loaded.variables["params"])


def test_grey_levels_are_scaled_as_the_weights_want():
    inputs = Inputs((1, 3, 3), models.ENCODERS["efficientnet_lite0"].normalize)
    raw = np.array([[[[0] * 3, [127] * 3, [255] * 3]]], np.uint8)
    np.testing.assert_array_equal(inputs.preprocess(raw)[0, 0, :, 0], [-127 / 128, 0, 1])


def test_stages_that_decode_are_refused_and_the_way_out_is_said(smoke, tmp_path):
    smoke.encoder = "efficientnet_lite0"
    with pytest.raises(UserError, match=r"has no decoder: nothing can be reconstructed\. Leave out the stages"):
        pipeline.run(smoke, tmp_path / "run")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"shape": (32, 32, 1)}, "three channels, not 32x32x1"),
        ({"shape": (16, 32, 32, 3)}, "three channels, not 16x32x32x3"),
        ({"layers": (3, 16)}, r"not \[16\]"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("_blocks.3._bn1.bias"), r"_blocks\.3\._bn1\.bias: missing"),
        (lambda w: w.update(extra=np.zeros(3)), r"extra \(3,\): unknown"),
        (lambda w: w.update({"_conv_stem.weight": np.zeros((32, 1, 3, 3))}), r"wanted \(32, 3, 3, 3\)"),
        (lambda w: w["_bn0.weight"].fill(np.nan), r"_bn0\.weight: holds values that are not finite"),
        (lambda w: w["_bn0.running_var"].fill(-1), r"_bn0\.running_var: negative"),
        (lambda w: w.update({"_bn0.bias": np.arange(32)}), r"_bn0\.bias int64: not numbers"),
    ],
)
def test_missing_unknown_and_unusable_arrays_are_listed(recorded, change, message):
    arrays = drawn(recorded, "package/efficientnet_lite0", np.float32)
    change(arrays)
    with pytest.raises(UserError, match=message):
        converter.variables(arrays, "efficientnet_lite0")


def test_weights_of_another_size_are_refused(recorded):
    arrays = drawn(recorded, "package/efficientnet_lite1", np.float32)
    with pytest.raises(UserError, match=r"not the weights of efficientnet_lite0"):
        converter.variables(arrays, "efficientnet_lite0")
