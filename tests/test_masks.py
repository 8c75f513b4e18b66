"""Masks in all the ways that people draw and store them, and masks of defects that are smaller than a pixel."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mocca_jax import data
from mocca_jax.data import masks
from mocca_jax.errors import UserError
from tests import odd
from tests.runs import small

TRUE = np.zeros((40, 60), bool)
TRUE[10:17, 30:37] = True
ONE, NONE = TRUE.astype(np.uint8), np.zeros(TRUE.shape, np.uint8)


def palette(*colours, index=ONE):
    image = Image.frombytes("P", TRUE.shape[::-1], index.tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return image


def colours(marked, ground, opacity=None):
    pixels = np.where(TRUE[..., None], marked, ground).astype(np.uint8)
    return Image.fromarray(pixels)


def soft(image):
    """With edges between what is marked and what is not."""
    return image.resize((15, 10), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)


MEANT = {  # in files without loss: exactly what is meant
    "white on black": Image.fromarray(ONE * 255),
    "bits": Image.fromarray(TRUE),
    "opacity": colours((255, 255, 255, 255), (255, 255, 255, 0)),
    "opacity of black": colours((0, 0, 0, 255), (0, 0, 0, 0)),
    "half opacity": colours((255, 0, 0, 128), (255, 0, 0, 0)),
    "opaque black ground, half opaque mark": colours((255, 0, 0, 128), (0, 0, 0, 255)),
    "colour under no opacity": colours((255, 0, 0, 255), (9, 9, 9, 0)),
    "two colours on nothing": Image.fromarray(
        np.where(np.indices(TRUE.shape)[1][..., None] < 33, (255, 0, 0, 255), (0, 0, 255, 255)).astype(np.uint8)
        * TRUE[..., None]
    ),
    "grey and opacity": Image.fromarray(np.dstack([NONE + 255, ONE * 255]), "LA"),
    "class 1 in red": colours((1, 0, 0), (0, 0, 0)),
    "class 1 in blue": colours((0, 0, 1), (0, 0, 0)),
    "class 1": Image.fromarray(ONE),
    "classes 1 and 2": Image.fromarray(ONE + (ONE & (np.indices(TRUE.shape)[1] > 33).astype(np.uint8))),
    "classes 1 and 200": Image.fromarray(np.where(np.indices(TRUE.shape)[1] > 33, 200, 1).astype(np.uint8) * ONE),
    "dark palette": palette((0, 0, 0), (0, 0, 1)),
    "red palette": palette((0, 0, 0), (128, 0, 0)),
    "palette of a white ground": palette((255, 255, 255), (255, 0, 0)),
    "palette of a white ground, black mark": palette((255, 255, 255), (0, 0, 0)),
    "palette, white mark first": palette((255, 255, 255), (0, 0, 0), index=1 - ONE),
    "palette of three": palette((0, 0, 0), (0, 0, 0), (255, 255, 0), index=ONE * 2),
    "floats to 1": Image.fromarray(ONE.astype(np.float32)),
    "floats to a half": Image.fromarray(ONE * np.float32(0.5)),
    "floats to 255": Image.fromarray(ONE * np.float32(255)),
    "int32": Image.fromarray(ONE.astype(np.int32)),
    "16 bits": Image.fromarray(ONE.astype(np.uint16) * 65535),
    "16 bits of colours, class 1": cv2.imencode(".png", np.dstack([NONE, NONE, ONE]).astype(np.uint16))[1].tobytes(),
    "16 bits, class 1": Image.fromarray(ONE.astype(np.uint16)),
}


@pytest.mark.parametrize("name", MEANT)
def test_a_mask_marks_what_is_meant(name, tmp_path):
    image = MEANT[name]
    if isinstance(image, bytes):
        path = tmp_path / "m.png"
        path.write_bytes(image)
    else:
        path = tmp_path / ("m.tif" if image.mode in ("F", "I") else "m.png")
        image.save(path)
    with Image.open(path) as opened:
        for source in (path, path.read_bytes(), *([] if isinstance(image, bytes) else [opened])):
            np.testing.assert_array_equal(masks.read(source).marked, TRUE)
    assert masks.read(path).doubt() == ""


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_lossy_mask_marks_nearly_that_and_is_told(suffix, tmp_path):
    Image.fromarray(ONE * 255).save(tmp_path / f"m.{suffix}", quality=75)
    found = masks.read(tmp_path / f"m.{suffix}")
    assert abs(int(found.marked.sum()) - TRUE.sum()) <= 2 and "is lossy" in found.doubt()


def test_soft_edges_end_at_the_half(tmp_path):
    image = soft(Image.fromarray(ONE * 255))
    image.save(tmp_path / "m.png")
    values = np.asarray(image)
    np.testing.assert_array_equal(masks.read(tmp_path / "m.png").marked, values >= values.max() / 2)


def test_a_mask_is_upright(tmp_path):
    for suffix in ("png", "tif", "jpg"):
        path = odd.lying(tmp_path / f"m.{suffix}", ONE * 255, **({"quality": 100} if suffix == "jpg" else {}))
        np.testing.assert_array_equal(masks.read(path).marked, TRUE)


@pytest.mark.parametrize(
    "marked, anomalous, said",
    [
        (TRUE, True, ""),
        (~TRUE, True, "98% is marked"),
        (TRUE & False, True, "nothing is marked"),
        (TRUE | True, True, "everything is marked"),
        (TRUE & False, False, ""),
        (TRUE, False, "2.0% of a good image"),
    ],
)
def test_masks_that_one_may_doubt(marked, anomalous, said):
    found = masks.Mask(marked, "PNG").doubt(anomalous)
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize("size", [(128, 128), (100, 200), (32, 32), (1, 1)])
def test_no_region_vanishes_however_small_it_is(rng, size):
    marked = np.zeros((1000, 1000), bool)
    for top, left in rng.integers(0, 990, (20, 2)):
        marked[top : top + 4, left : left + 4] = True
    marked[0, 0] = marked[999, 999] = True
    found = masks.reduced(marked, size, "stretch")
    assert found.shape == size
    at = np.argwhere(marked) * size // 1000
    near = np.array([found[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any() for y, x in at])
    assert near.all() and found[0, 0] and found[-1, -1]


def test_a_large_mask_keeps_its_area(rng):
    marked = np.zeros((600, 900), bool)
    marked[100:400, 200:500] = True
    found = masks.reduced(marked, (128, 192), "stretch")
    assert found.mean() == pytest.approx(marked.mean(), rel=0.03)
    np.testing.assert_array_equal(masks.reduced(marked, marked.shape, "stretch"), marked)


def test_tiny_defects_are_all_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    odd.parts(tmp_path / "tiny", bad=4, size=(400, 400), side=3)
    split = data.load(small(tmp_path / "tiny")).test
    marked = [split.pictures.mask(i).any() for i in range(len(split.samples))]
    assert marked == [False, False, True, True, True, True]


def test_upright_masks_of_lying_pictures_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    folder = odd.parts(tmp_path / "turned", size=(60, 40))
    for path in folder.glob("t*/*/*.png"):
        odd.lying(path.with_suffix(".tif"), np.asarray(Image.open(path)))
        path.unlink()
    split = data.load(small(folder, fit="stretch")).test
    picture = np.asarray(split.images[np.array([2])][0]).astype(int)
    mask = split.pictures.mask(2)
    assert picture[mask].mean() < 60 < 80 < picture[~mask].mean()  # the dark square is where the mask says


def test_what_a_crop_cuts_off_is_told(tmp_path, caplog):
    mask = np.zeros((40, 120), np.uint8)
    mask[5:10, 2:8] = 255
    files = [odd.save(tmp_path / "m.png", mask)], [odd.save(tmp_path / "a.png", odd.part(size=(40, 120)))]
    masks.check(*files, [1], np.array([[40, 120]]), np.array([[32, 32]]), "crop")
    assert "lies outside of what fit = 'crop' keeps" in caplog.text


def test_a_mask_of_several_pages_or_none_is_named(tmp_path):
    first, second = Image.fromarray(ONE * 255), Image.fromarray(NONE)
    first.save(tmp_path / "m.tif", save_all=True, append_images=[second])
    sides = np.array([TRUE.shape])
    with pytest.raises(UserError, match=r"m\.tif: it has 2 pages"):
        masks.check([tmp_path / "m.tif"], [tmp_path / "a.png"], [1], sides, sides, "stretch")
