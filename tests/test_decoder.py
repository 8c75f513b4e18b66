"""One door for pictures: whatever holds a picture, and whatever it is stored as, gives the same pixels."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mocca_jax.config import check
from mocca_jax.configs import folder as folder_config
from mocca_jax.data import decoder, incoming
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from tests import odd

UPRIGHT = odd.part(3, (48, 30))


def as_lying_jpeg(folder):
    return odd.lying(folder / "a.jpg", UPRIGHT, quality=95)


def as_lying_tiff(folder):
    return odd.lying(folder / "a.tif", UPRIGHT)


def as_grey_16(folder):
    return odd.save(folder / "a.png", UPRIGHT[..., 0].astype(np.uint16) << 8)


def as_palette(folder):
    Image.fromarray(UPRIGHT).quantize(32).save(folder / "a.png", transparency=0)
    return folder / "a.png"


def as_transparent(folder):
    return odd.save(folder / "a.png", np.dstack([UPRIGHT, UPRIGHT[..., :1]]))


def as_floats(folder):
    return odd.save(folder / "a.tif", (UPRIGHT[..., 0] / np.float32(255)))


def as_int32(folder):
    return odd.save(folder / "a.tif", UPRIGHT[..., 0].astype(np.int32) << 8)


def as_bits(folder):
    Image.fromarray(UPRIGHT).convert("1").save(folder / "a.png")
    return folder / "a.png"


def as_cmyk(folder):
    Image.fromarray(UPRIGHT).convert("CMYK").save(folder / "a.jpg", quality=95)
    return folder / "a.jpg"


def as_colours_16(folder):
    cv2.imwrite(str(folder / "a.png"), UPRIGHT[..., ::-1].astype(np.uint16) << 8)
    return folder / "a.png"


EXACT = (as_lying_tiff, as_grey_16, as_transparent, as_floats, as_int32, as_colours_16)
LOSSY = (as_lying_jpeg, as_palette, as_bits, as_cmyk)


@pytest.mark.parametrize("made", [*EXACT, *LOSSY], ids=lambda made: made.__name__)
def test_file_text_path_bytes_open_file_pillow_image_and_array_give_the_same_pixels(made, tmp_path):
    path = made(tmp_path)
    first = np.asarray(decoder.picture(path))
    assert first.shape == UPRIGHT.shape
    with open(path, "rb") as file, Image.open(path) as image:
        doors = [str(path), path.read_bytes(), bytearray(path.read_bytes()), file, io.BytesIO(path.read_bytes()), image]
        for door in doors:
            np.testing.assert_array_equal(np.asarray(decoder.picture(door)), first)
    np.testing.assert_array_equal(np.asarray(decoder.picture(first)), first)
    if made in EXACT:
        wanted = UPRIGHT if made in (as_lying_tiff, as_transparent, as_colours_16) else UPRIGHT[..., :1]
        np.testing.assert_array_equal(first, np.broadcast_to(wanted, UPRIGHT.shape))


@pytest.mark.parametrize("kind", ["I;16", "I", "F", "LA"])
def test_a_pillow_image_and_its_array_are_one_picture(kind, tmp_path):
    path = {"I;16": as_grey_16, "I": as_int32, "F": as_floats}.get(kind, as_grey_16)(tmp_path)
    with Image.open(path) as opened:
        image = Image.fromarray(UPRIGHT).convert("LA") if kind == "LA" else opened
        assert image.mode == kind
        np.testing.assert_array_equal(decoder.picture(image), decoder.picture(np.asarray(image)))


@pytest.mark.parametrize("suffix, colours", [("png", 1), ("png", 3), ("tif", 1), ("tif", 3)])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_depth_says_how_many_bits_of_a_deep_file_count(suffix, colours, bits, tmp_path):
    deep = UPRIGHT[..., :colours].astype(np.uint16) << (bits - 8)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), deep[..., ::-1])
    wanted = np.broadcast_to(UPRIGHT[..., :colours], UPRIGHT.shape)
    np.testing.assert_array_equal(decoder.picture(path, depth=bits), wanted)
    np.testing.assert_array_equal(decoder.picture(deep if colours == 3 else deep[..., 0], depth=bits), wanted)
    with Image.open(path) as image:
        for _ in range(2):  # it is left as it was
            np.testing.assert_array_equal(decoder.picture(image, depth=bits), wanted)
        image.load()
    assert decoder.looked_at(path)[0].bits == bits
    assert len(np.unique(np.asarray(decoder.picture(path)))) < len(np.unique(wanted))
    with pytest.raises(UserError, match=f"depth = {bits - 1} has room for 0 to {2 ** (bits - 1) - 1}"):
        decoder.picture(path, depth=bits - 1)


def test_depth_is_a_field_and_part_of_a_detectors_inputs(tmp_path):
    config = folder_config.get_config()
    for depth, said in ((12, None), (0, None), (7, "0, or from 8 to 16"), (17, "0, or from 8 to 16")):
        config.depth = depth
        if said:
            with pytest.raises(UserError, match=said):
                check(config)
        else:
            check(config)
    deep = UPRIGHT[..., 0].astype(np.uint16) << 4
    seen = incoming.view(deep, Inputs((48, 30, 3), fit="stretch", depth=12))
    np.testing.assert_array_equal(seen, np.broadcast_to(UPRIGHT[..., :1], UPRIGHT.shape))


def test_a_picture_of_8_bits_knows_no_depth():
    np.testing.assert_array_equal(decoder.picture(UPRIGHT, depth=12), UPRIGHT)


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_a_file_of_several_pages_is_no_picture_and_each_page_is_one(suffix, tmp_path):
    pages = [Image.fromarray(odd.part(seed)) for seed in range(3)]
    path = tmp_path / f"a.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:], **({"lossless": True} if suffix == "webp" else {}))
    assert decoder.pages(path) == 3
    with pytest.raises(UserError, match="it has 3 pages"):
        decoder.picture(path)
    found = list(incoming.frames(path))
    assert len(found) == 3
    if suffix != "gif":  # few colours
        for page, image in zip(pages, found, strict=True):
            np.testing.assert_array_equal(image, page)


def test_a_smaller_copy_in_the_same_file_is_no_page(tmp_path):
    from PIL import TiffImagePlugin

    picture, small = Image.fromarray(UPRIGHT), Image.fromarray(UPRIGHT).reduce(4)
    small.encoderinfo = {"tiffinfo": TiffImagePlugin.ImageFileDirectory_v2()}
    small.encoderinfo["tiffinfo"][254] = 1
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    with Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 2
    assert decoder.pages(tmp_path / "a.tif") == 1
    np.testing.assert_array_equal(decoder.picture(tmp_path / "a.tif"), UPRIGHT)


def test_the_preview_in_a_cameras_jpeg_is_no_page(tmp_path):
    picture = Image.fromarray(UPRIGHT)
    picture.save(tmp_path / "a.mpo", save_all=True, append_images=[picture.reduce(2)])
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert decoder.pages(tmp_path / "a.jpg") == 1 and decoder.picture(tmp_path / "a.jpg").size == (30, 48)


REFUSED = {
    "None": (None, "not None"),
    "number": (1.5, "not float 1.5"),
    "list": ([1], "not list"),
    "absent": ("absent.png", "no such file"),
    "base64": ("data:image/png;base64," + "iVBORw0KGgo" * 999, "no such file"),
    "zero in a name": ("a\0.png", "no such file"),
    "folder": (".", "it is a folder"),
    "empty": (b"", "it is empty"),
    "text": (b"hello", "no picture in any format that is read; it looks like text"),
    "text file": (io.StringIO("hello"), "open it with mode 'rb'"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(99), "a HEIC photograph"),
    "film": (b"\0\0\0\x18ftypisom" + bytes(99), "looks like a film"),
    "PDF": (b"%PDF-1.7", "a PDF document"),
    "SVG": (b"<svg>", "an SVG drawing"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    "channels first": (np.zeros((3, 40, 50), np.uint8), "channels last"),
    "floats of 0..255": (np.full((4, 4), 200.0), "floats from 200 to 200"),
    "negative floats": (np.full((4, 4), -0.1), "floats from -0.1"),
    "NaN": (np.full((4, 4), np.nan), "NaN"),
    "int64": (np.zeros((4, 4), np.int64), "type int64"),
    "text array": (np.full((4, 4), "a"), "type <U1"),
    "complex": (np.zeros((4, 4), complex), "type complex128"),
    "int32 of 8 bits": (np.full((4, 4), 200, np.int32), "their range is not known"),
    "negative int32": (np.full((4, 4), -5, np.int32), "their range is not known"),
    "no pixels": (np.zeros((0, 4, 3), np.uint8), "no side zero"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_words(name):
    given, said = REFUSED[name]
    with pytest.raises(UserError, match=said) as caught:
        decoder.picture(given)
    assert "BytesIO" not in str(caught.value) and "0x" not in str(caught.value)


def test_a_cut_off_picture_is_refused(tmp_path):
    content = as_lying_jpeg(tmp_path).read_bytes()
    with pytest.raises(UserError, match="truncated"):
        decoder.picture(content[: len(content) // 2])


def test_more_pixels_than_wanted_are_not_decoded(tmp_path):
    path = odd.save(tmp_path / "a.png", UPRIGHT)
    for given in (path, path.read_bytes(), Image.fromarray(UPRIGHT), UPRIGHT):
        with pytest.raises(UserError, match="30x48 pixels; at most 100"):
            decoder.picture(given, most_pixels=100)


@pytest.mark.parametrize("fit, said", [("crop", "it would be 15360000x256"), ("canvas", "8 times the other")])
def test_a_strip_is_refused_by_what_it_would_become(fit, said):
    with pytest.raises(UserError, match=said):
        incoming.view(np.zeros((60000, 1), np.uint8), Inputs((256, 256, 3), fit=fit))


def test_a_strip_may_be_stretched():
    seen = incoming.view(np.zeros((60000, 1), np.uint8), Inputs((256, 256, 3), fit="stretch"))
    assert seen.shape == (256, 256, 3)
