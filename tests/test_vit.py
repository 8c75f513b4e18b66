"""DINOv2's and DINOv3's transformers: the same numbers as timm's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import record_vit as record
from experiments.record_efficientnet import image as drawn_image
from experiments.record_efficientnet import some
from mocca_jax import models, weights
from mocca_jax.errors import UserError
from mocca_jax.models import vit
from mocca_jax.weights import vit as converter
from tests.conftest import REPOSITORY
from tests.test_efficientnet import build, drawn, features

SMALL = (record.PATCH, record.WIDTH, record.HEADS)
SIZES = {
    "dinov2": vit.Size(*SMALL, 0, record.GRID, 1e-6, record.DEPTH),
    "reg4_dinov2": vit.Size(*SMALL, 4, record.GRID, 1e-6, record.DEPTH),
    "dinov3": vit.Size(*SMALL, 4, 0, 1e-5, record.DEPTH),
    "dinov3_qkvb": vit.Size(*SMALL, 4, 0, 1e-5, record.DEPTH),
}


@pytest.fixture(scope="module")
def recorded():
    with np.load(REPOSITORY / "tests/recorded/vit.npz") as arrays:
        return dict(arrays)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Networks of a few tokens, under the names that they were recorded with."""
    for name, size in SIZES.items():
        monkeypatch.setitem(vit.SIZES, name, size)
        monkeypatch.setitem(models.ENCODERS, name, vit._network(name))


def found_and_recorded(recorded, name, sides, variables) -> tuple[np.ndarray, np.ndarray]:
    image = drawn_image(record.SIDES[sides]).transpose(0, 2, 3, 1).astype(np.float64)
    layers = tuple(range(record.DEPTH))
    found = features(build(name, layers, "plain", image.shape[1:]), variables, jnp.asarray(image))
    found = [np.asarray(found[models.layer_name(j)]).transpose(0, 3, 1, 2) for j in layers]
    assert [f.shape for f in found] == [tuple(s) for s in recorded[f"{name}/{sides}/shapes"].tolist()]
    return np.concatenate([some(f) for f in found]), recorded[f"{name}/{sides}/values"]


@pytest.mark.parametrize("sides", record.SIDES)
@pytest.mark.parametrize("name", record.SMALL)
def test_every_block_gives_what_timm_gives(recorded, name, sides):
    """timm computes places and angles in float32, all else here in float64."""
    exact = sides == "trained" and not name.startswith("dinov3")
    with jax.enable_x64(True):
        variables, _ = converter.variables(drawn(recorded, name), name)
        found, expected = found_and_recorded(recorded, name, sides, variables)
    np.testing.assert_allclose(found, expected, rtol=1e-9 if exact else 1e-5, atol=1e-9 if exact else 2e-6)


def test_dinov2s_own_names_are_taken(recorded):
    """With registers, its class token has a place; timm adds it to the token."""
    arrays = drawn(recorded, "reg4_dinov2")
    own = dict(arrays, mask_token=np.zeros((1, record.WIDTH)), register_tokens=arrays["reg_token"])
    place = np.full((1, 1, record.WIDTH), 0.25)
    own["pos_embed"] = np.concatenate([place, arrays["pos_embed"]], 1)
    own["cls_token"] = arrays["cls_token"] - place
    del own["reg_token"]
    (theirs, _), (ours, _) = (converter.variables(a, "reg4_dinov2") for a in (arrays, own))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), theirs, ours)


@pytest.mark.parametrize("name", record.REAL)
def test_the_published_names_and_shapes_are_known(recorded, name):
    lines = bytes(recorded[f"{name}/names"]).decode().splitlines()
    shapes = {n: tuple(int(s) for s in sides.split(",") if s) for n, sides in (line.split(" ") for line in lines)}
    zeros = {n: np.broadcast_to(np.float32(0), shape) for n, shape in shapes.items()}
    variables, count = converter.variables(zeros, name, deepest=0)
    assert count == len(shapes) - 2  # without the last normalisation
    model = build(name, (0,), shape=(vit.SIZES[name].patch * 2,) * 2 + (3,))
    shape = (1, *(vit.SIZES[name].patch * 2,) * 2, 3)
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape), jnp.ones(1), False, method="encode"))
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, fresh["params"])


def test_sides_that_the_patches_do_not_divide_are_refused_and_others_named():
    with pytest.raises(ValueError, match="multiples of 14, as 252x266, not 256x260"):
        build("vit_small_patch14_dinov2", shape=(256, 260, 3))


def test_absent_weights_name_their_place_and_license():
    with pytest.raises(UserError, match=r"huggingface\.co/timm/vit_small_patch16_dinov3.*license"):
        weights.load("vit_small_patch16_dinov3")


def test_every_encoder_with_weights_is_a_network_without_decoder():
    for name in weights.CONVERTERS:
        assert models.ENCODERS[name].DECODES is False
        assert name in weights.packaged.PACKAGES or name in weights.packaged.ELSEWHERE
