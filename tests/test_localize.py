"""Anomaly maps: methods, pixel figures, masks, overlays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mocca_jax import data as datasets
from mocca_jax import models, pipeline
from mocca_jax.data import masks
from mocca_jax.data.inputs import mirrored
from mocca_jax.data.pictures import Pictures
from mocca_jax.errors import UserError
from mocca_jax.method import metrics
from mocca_jax.outputs import examples
from mocca_jax.report import overlays
from mocca_jax.scoring import localize, maps, rounding
from mocca_jax.training import parallel
from mocca_jax.training import step as train
from tests.runs import save, small
from tests.test_folder import own_cache, parts  # noqa: F401 (fixtures)


def brute_force_aupro(found, masks, limit, steps):
    """The definition: every threshold, every region, every normal pixel counted anew; trapezoids between them."""
    curve = [(0.0, 0.0)]
    for threshold in sorted(np.unique(np.concatenate([m.ravel() for m in found])), reverse=True):
        overlaps, wrong, normal = [], 0, 0
        for values, mask in zip(found, masks, strict=True):
            above = values >= threshold
            regions, count = ndimage.label(mask, np.ones((3, 3)))
            overlaps += [above[regions == r].mean() for r in range(1, count + 1)]
            wrong, normal = wrong + (above & ~mask).sum(), normal + (~mask).sum()
        curve.append((wrong / normal, np.mean(overlaps)))
    rates, overlap = (np.array(values) for values in zip(*curve, strict=True))
    grid = np.linspace(0, limit, steps)
    at = [overlap[rates <= x + 1e-15][-1] if (rates == x).any() else np.interp(x, rates, overlap) for x in grid]
    return np.trapezoid(at, grid) / limit


@pytest.mark.parametrize("decimals", [8, 1])  # 1: many ties
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_aupro_equals_brute_force(rng, decimals, limit):
    masks = [np.zeros((12, 15), bool) for _ in range(3)]
    masks[0][2:5, 3:9] = masks[0][8, 8] = masks[1][5, 5] = masks[1][6, 6] = True  # (5, 5) and (6, 6): one region
    found = [np.round(rng.normal(size=m.shape) + m, decimals) for m in masks]
    assert metrics.aupro(found, masks, limit) == pytest.approx(brute_force_aupro(found, masks, limit, 20001), abs=2e-3)


def test_a_perfect_map_has_pixel_figures_of_one(rng):
    masks = [np.zeros((8, 8), bool), np.zeros((5, 7), bool)]
    masks[0][1:3, 2:6] = True
    found = [mask + rng.uniform(0, 0.5, mask.shape) for mask in masks]
    assert metrics.pixel_auroc(found, masks) == metrics.aupro(found, masks) == 1.0
    with pytest.raises(ValueError, match="normal and anomalous pixels"):
        metrics.aupro(found[1:], masks[1:])
    with pytest.raises(ValueError, match="must agree"):
        metrics.pixel_auroc(found[:1], masks[1:])


def test_masks_of_another_size_are_resized_and_of_another_shape_refused(tmp_path):
    mask = np.zeros((20, 40), np.uint8)
    mask[5:10, 20:30] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    save(tmp_path / "image.png", (40, 80, 3))
    save(tmp_path / "square.png", (40, 40, 3))
    files, sides = [tmp_path / "image.png", tmp_path / "square.png"], np.array([[40, 80], [40, 40]])
    masks.check([tmp_path / "m.png", None], files, [1, 1], sides, sides, "stretch")
    found = masks.read(tmp_path / "m.png").marked
    np.testing.assert_array_equal(masks.reduced(found, (40, 80), "stretch"), mask.repeat(2, 0).repeat(2, 1) > 0)
    np.testing.assert_array_equal(masks.reduced(found, (20, 20), "crop"), mask[:, 10:30] > 0)
    with pytest.raises(UserError, match=r"m\.png is 40x20, its image .*square.png 40x40(.*\n)*Save each mask"):
        masks.check([tmp_path / "m.png"], files[1:], [1], sides[1:], sides[1:], "stretch")


def test_cells_are_interpolated_at_the_pixels_they_look_at():
    weights = maps._interpolation(16, 4, first=1.0, step=4.0)
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_array_equal(weights[[1, 5, 9, 13]], np.eye(4))
    np.testing.assert_array_equal(weights[3], [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(weights[[0, 15]], [[1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("encoder", ["resnet", "lenet"])
def test_cell_centres_are_where_a_changed_pixel_changes_the_map_most(encoder, rng):
    """The centre of mass of a cell's gradient with respect to the image, averaged over random weights."""
    network = models.ENCODERS[encoder]
    layer = network.MAPS[-1]
    first, step = network.cell_centre(layer)
    model = models.AutoEncoder(*network.build((32, 32, 3), 16, (layer,), models.heads.HEADS["activation"], False))
    image = jnp.asarray(rng.normal(size=(1, 32, 32, 3)), jnp.float32)

    def cell(image, variables):
        _, sown = model.apply(variables, image, jnp.ones(1), False, method="encode", mutable=["features"])
        (activation,) = train.features_of(sown).values()
        return activation[0, activation.shape[1] // 2, activation.shape[2] // 2].sum(), activation.shape[1]

    @jax.jit
    def slope(key):
        variables = models.init_variables(model, (32, 32, 3), key, "encode")
        (_, cells), found = jax.value_and_grad(cell, has_aux=True)(image, variables)
        return jnp.square(found).sum((0, 3)), cells

    slopes, cells = zip(*(slope(jax.random.key(seed)) for seed in range(12)), strict=True)
    mass = np.asarray(sum(slopes) / sum(slopes).sum())
    middle = [float((mass.sum(axis) * np.arange(32)).sum()) for axis in (0, 1)]
    assert np.allclose(middle, first + step * (int(cells[0]) // 2), atol=0.35 * max(step, 1)), (layer, middle)


def context(config, mesh):
    """A model as initialised, with zero centroids, and its data set."""
    dataset = datasets.load(config)
    model = models.build(config, dataset.inputs.shape, tuple(config.layers))
    variables = models.init_variables(model, dataset.inputs.shape, jax.random.key(0), "encode")
    shapes = train.feature_shapes(model, variables, dataset.inputs.shape)
    state = train.create_state(variables, train.make_optimizer(config.one_class, 1), shapes, jax.random.key(0))
    return maps.Context(model, state, dataset.inputs, config, mesh), dataset


def method(name, of, dataset):
    return maps.make(name, of, maps.fit(name, of, dataset.train.pictures))


def tiny(folder, kind, **changes):
    """LeNet on small images: compiles in a moment."""
    config = small(folder, kind, code_size=16, batch_size=4, heldout_fraction=0.25, map_stride=8)
    config.update(encoder="lenet", head="mean", layers=(1, 2), **changes)
    return config


@pytest.mark.parametrize(
    "kind, name",
    [
        ("texture", "features"),
        ("texture", "patches"),
        ("texture", "gradient"),
        ("mocca", "features"),
        ("mocca", "positions"),
        ("mocca", "scaled_positions"),
        ("mocca", "gradient"),
    ],
)
def test_maps_have_their_pictures_sizes_whatever_the_devices(double, parts, kind, name):  # noqa: F811
    config = tiny(parts, kind)
    found = []
    for devices in (1, 2):
        mesh = parallel.Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,))
        of, dataset = context(config, mesh)
        found.append(list(method(name, of, dataset)(dataset.heldout.pictures)))
    assert [m.shape for m in found[0]] == [tuple(size) for size in dataset.heldout.pictures.sizes]
    assert all(np.isfinite(m).all() and m.std() > 0 for m in found[0])
    for one, two in zip(*found, strict=True):
        assert one.dtype == two.dtype == np.float64
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11 * np.abs(one).max())


@pytest.mark.parametrize("name", ["features", "patches", "gradient"])
def test_a_map_of_a_texture_hangs_on_no_other_picture_of_another_size(parts, rng, name):  # noqa: F811
    of, dataset = context(tiny(parts, "texture"), parallel.make_mesh())
    draw = method(name, of, dataset)
    sizes = np.array([(32, 37), (90, 32), (16, 16), (32, 64)])
    raws = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    whole = np.stack([mirrored(raw, sizes.max(0)) for raw in raws])
    together = list(draw(Pictures(whole, sizes)))
    for raw, size, values in zip(raws, sizes, together, strict=True):
        (alone,) = draw(Pictures(raw[None], size[None]))
        assert alone.shape == tuple(size)
        np.testing.assert_allclose(alone, values, rtol=1e-4, atol=1e-5 * np.abs(values).max())


def test_the_map_of_features_is_high_where_a_picture_was_changed(parts):  # noqa: F811
    of, dataset = context(tiny(parts, "mocca"), parallel.make_mesh())
    fitted = dataset.train.pictures
    damaged = np.array(fitted.images[np.arange(2)])
    damaged[:, 8:16, 20:28] = 255
    for name in ("features", "positions", "scaled_positions"):
        for values in method(name, of, dataset)(Pictures(damaged, fitted.sizes[:2])):
            inside = values[8:16, 20:28].mean()
            assert inside > 1.2 * np.delete(values, np.s_[4:20], 0).mean(), name


def test_patches_of_one_score_give_an_even_map(parts, monkeypatch):  # noqa: F811
    of, dataset = context(tiny(parts, "texture"), parallel.make_mesh())
    pictures = dataset.heldout.pictures
    monkeypatch.setattr(maps, "_unit_scores", lambda of, state, image: jnp.full(len(image), 3.0))
    for values in maps.make("patches", of, {})(pictures):
        np.testing.assert_allclose(values, 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"maps": ("nowhere",)}, "unknown method in maps 'nowhere'; known: features"),
        ({"maps": ("feature",)}, "unknown method in maps 'feature'; did you mean 'features'"),
        ({"maps": ("patches",)}, "needs patches"),
        ({"maps": ("reconstruction",)}, "needs score = 'reconstruction'"),
    ],
)
def test_methods_that_cannot_work_are_refused_before_training(parts, tmp_path, change, message):  # noqa: F811
    with pytest.raises(UserError, match=message):
        pipeline.run(tiny(parts, "mocca", **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_writes_maps_and_overlays_and_its_figures(parts, tmp_path):  # noqa: F811
    config = tiny(parts, "mocca", maps=("features", "positions"), overlays=1, stages=("one_class",))
    config.one_class.epochs = 0
    result = pipeline.run(config, tmp_path / "run")["maps"]
    found = result["candidates"]
    merits = {name: (row["aupro"] + row["image_auc"]) / 2 for name, row in found.items()}
    assert merits[result["method"]] >= max(merits.values()) - metrics.ALIKE
    assert all(row["images"] == 63 * 2 and 0 <= row["changed_flagged"] <= 1 for row in found.values())
    assert result["test"]["images"] == 2 and 0 <= result["test"]["pixel_auroc"] <= 1
    assert result["threshold"] > result["ordinary"]
    assert result["test"]["image_auc"] in (0.0, 0.5, 1.0)  # one good image, one bad
    drawn = [p.relative_to(tmp_path / "run/overlays").as_posix() for p in (tmp_path / "run/overlays").rglob("*.png")]
    assert sorted(drawn) == ["test/good/a.png", "test/scratch/b.png"]  # the most anomalous, and the report's examples
    values = np.load(tmp_path / "run/maps" / drawn[0].replace(".png", ".npy"))
    assert values.shape == (32, 32) and values.dtype == np.float32


def test_a_method_that_takes_another_lamp_for_an_anomaly_loses(parts, monkeypatch):  # noqa: F811
    """One method knows the masks and has a loud pixel on every next-day image; the other knows half of each mask."""
    of, dataset = context(tiny(parts, "mocca", maps=("features", "positions"), alpha=0.3), parallel.make_mesh())

    def drawn(name):
        def method(pictures, state=None):
            days = {id(dataset.changed.pictures), id(dataset.defects.pictures)}
            for index in range(len(pictures)):
                values = pictures.mask(index).astype(float)
                if name == "features" and id(pictures) in days:
                    values[0, 0] = 9.0  # of 1024 pixels: pixel figures hardly see it
                elif name == "positions":
                    values[:, ::2] = 0
                yield values

        return method

    monkeypatch.setattr(maps, "fit", lambda *_: {})
    monkeypatch.setattr(maps, "make", lambda name, *_: drawn(name))
    monkeypatch.setattr(rounding, "of_maps", lambda *_: 0.0)
    result = localize.run(of, dataset, np.zeros(0, int)).result
    loud, quiet = result["candidates"]["features"], result["candidates"]["positions"]
    assert loud["aupro"] > quiet["aupro"] and loud["image_auc"] == 0.5 and quiet["image_auc"] > 0.9
    assert (loud["changed_flagged"], quiet["changed_flagged"]) == (1.0, 0.0)
    assert result["method"] == "positions"


def test_colors_are_the_same_for_the_same_value_in_every_image(tmp_path, rng):
    scale = overlays.Scale(ordinary=1.0, threshold=3.0)
    np.testing.assert_allclose(scale.relative(np.array([1.0, 3.0, 5.0])), [0, 1, 2])
    white, seen = np.full((20, 20, 3), 255, np.uint8), []
    for other in (1.0, 9.0):
        values = np.full((20, 20), other)
        values[:, :10] = 5.0
        overlays.draw(tmp_path / "o.png", white, values, None, scale, "title")
        with Image.open(tmp_path / "o.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        seen.append(pixels[pixels.shape[0] // 2, int(0.52 * pixels.shape[1])])
    np.testing.assert_array_equal(seen[0], seen[1])
    assert int(seen[0][0]) > int(seen[0][2]) + 50  # red


def test_an_overlay_outlines_the_mask_in_cyan_and_leaves_long_names_legible(tmp_path):
    mask = np.zeros((40, 60), bool)
    mask[10:20, 15:30] = True
    picture, flat = np.full((40, 60, 3), 90, np.uint8), np.zeros((40, 60))
    scale, cyan = overlays.Scale(0.0, 1.0), {}
    for name, known in (("marked", mask), ("none", None), ("empty", ~mask & mask)):
        overlays.draw(tmp_path / f"{name}.png", picture, flat, known, scale, "a long name/" * 40 + ".png   score 1")
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image)
        cyan[name] = (pixels == overlays.OUTLINE).all(-1)
        assert (pixels[:, : overlays.GAP] == 255).all()  # no text runs over the edge
    assert not cyan["none"].any() and not cyan["empty"].any()
    rows, columns = (np.flatnonzero(cyan["marked"].any(axis)) for axis in (1, 0))
    height, width = rows[-1] - rows[0], columns[-1] - columns[0]
    assert abs(height - overlays.SIDE * 10 / 40) < 6 and abs(width - overlays.SIDE * 1.5 * 15 / 60) < 6


def test_names_of_overlays_never_fall_together():
    assert examples.file_names(["a/1.png", "a/2.png"]) == ["a/1", "a/2"]
    assert examples.file_names(["a/1.png", "a/1.jpg"]) == ["a/1.png", "a/1.jpg"]
