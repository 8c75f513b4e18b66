"""ResNet-18 and Wide ResNet-50-2: the same numbers as torchvision's, in both formulations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import record_imagenet as record
from mocca_jax import models, weights
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.models import imagenet_resnet
from mocca_jax.weights import imagenet_resnet as converter
from tests.conftest import REPOSITORY
from tests.test_efficientnet import build, drawn, features


@pytest.fixture(scope="module")
def recorded():
    with np.load(REPOSITORY / "tests/recorded/imagenet_resnet.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def small_wide(monkeypatch):
    """A Wide ResNet of five blocks, as a network of that name."""
    size = imagenet_resnet.Size(record.SMALL_WIDE, narrows=True, inner=2)
    monkeypatch.setitem(imagenet_resnet.SIZES, "small_wide", size)
    monkeypatch.setitem(models.ENCODERS, "small_wide", imagenet_resnet._network("small_wide"))


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("name, sides", [("resnet18", "even"), ("resnet18", "odd"), ("small_wide", "odd")])
def test_every_block_gives_what_torchvision_gives(recorded, small_wide, name, sides, formulation):
    with jax.enable_x64(True):
        variables, _ = converter.variables(drawn(recorded, name), name)
        image = record.image(record.SIDES[sides]).transpose(0, 2, 3, 1).astype(np.float64)
        layers = models.ENCODERS[name].LAYERS
        found = features(build(name, layers, formulation, image.shape[1:]), variables, jnp.asarray(image))
        found = [np.asarray(found[models.layer_name(j)]).transpose(0, 3, 1, 2) for j in layers]
    assert [f.shape for f in found] == [tuple(s) for s in recorded[f"{name}/{sides}/shapes"].tolist()]
    found = np.concatenate([record.some(f) for f in found])
    np.testing.assert_allclose(found, recorded[f"{name}/{sides}/values"], rtol=1e-9, atol=1e-9)


def test_wide_resnet50_2_has_torchvisions_and_timms_names(recorded):
    lines = bytes(recorded["wide_resnet50_2/names"]).decode().splitlines()
    shapes = {n: tuple(int(s) for s in sides.split(",")) for n, sides in (line.split(" ") for line in lines)}
    zeros = {n: np.broadcast_to(np.float32(0), shape) for n, shape in shapes.items()}
    variables, count = converter.variables(zeros, "wide_resnet50_2", deepest=6)
    assert count == len(shapes) - 2 == 265  # without the classifier
    assert set(variables["params"]["encoder"]) == {"stem", *(f"block{j}" for j in range(7))}


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (8, 8), (9, 12)])
def test_rewritten_pooling_is_the_readable_one(rng, sides):
    x = jnp.asarray(np.maximum(rng.normal(size=(2, *sides, 3)), 0), jnp.float32)
    plain, rewritten = (imagenet_resnet.max_pool(x, r) for r in (False, True))
    np.testing.assert_array_equal(plain, rewritten)


def test_colours_are_scaled_as_the_weights_want():
    inputs = Inputs((1, 1, 3), models.ENCODERS["resnet18"].normalize)
    found = inputs.preprocess(np.array([[[[0, 127.5, 255]]]]))
    np.testing.assert_allclose(found[0, 0, 0], [-0.485 / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-5)


def test_weights_that_come_in_no_package_are_said_to_be_elsewhere(recorded, tmp_path):
    with pytest.raises(UserError, match=r"come in no package[\s\S]*download.pytorch.org/models/resnet18-f37072fd\.pth"):
        weights.load("resnet18")
    np.savez(tmp_path / "w.npz", **drawn(recorded, "resnet18", np.float32))
    assert weights.load("resnet18", tmp_path / "w.npz", deepest=1).record.source == "w.npz"
