"""Folders of images: layout, decoding, splits, views, augmentation."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mocca_jax import config as configs
from mocca_jax import data, pipeline
from mocca_jax.configs import folder as folder_config
from mocca_jax.configs import mvtec as mvtec_config
from mocca_jax.data import augment, decoder, layout, views
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.outputs import table
from tests import runs
from tests.runs import save, small


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def parts(tmp_path):
    """Twelve good images of mixed sizes, modes and formats, under a name with a space and umlauts; a small test set."""
    return runs.mixed(tmp_path / "meine Prüfteile")


def test_every_config_of_images_passes_its_own_check():
    for category in mvtec_config.CATEGORIES:
        for preset in mvtec_config.PRESETS:
            configs.check(mvtec_config.get_config(f"{category},{preset}"))
    for kind in folder_config.KINDS:
        configs.check(folder_config.get_config(kind))


def test_a_misspelt_category_is_suggested():
    with pytest.raises(ValueError, match=r"'metal_nutt'.*did you mean 'metal_nut'"):
        mvtec_config.get_config("metal_nutt")


def test_objects_become_squares_and_heldout_normals_are_not_trained_on(parts):
    dataset = data.load(small(parts, heldout_fraction=0.25))
    assert dataset.train.images.shape == (9, 32, 32, 3)
    assert len(dataset.heldout.samples) == 3
    assert not set(dataset.heldout.samples) & set(dataset.train.samples)
    assert dataset.test.samples == ["test/good/a.png", "test/scratch/b.png"]
    assert dataset.test.labels.tolist() == [0, 1]
    assert "train/good/Teil 3ä.png" in dataset.heldout.samples + dataset.train.samples


def test_the_split_follows_its_seed_alone(parts):
    first, same, other = (
        data.load(small(parts, split_seed=s, seed=t)).heldout.samples for s, t in ((0, 0), (0, 5), (3, 0))
    )
    assert first == same != other


def test_texture_patches_cover_every_pixel_of_sides_that_are_no_multiple(parts):
    dataset = data.load(small(parts, "texture", heldout_fraction=0.25))
    heldout = dataset.heldout
    assert heldout.images.shape[1:] == (16, 16, 3)
    assert set(heldout.sample_of_unit) == {0, 1, 2}
    corners = views.patch_corners(np.array([[32, 45]]), 16, 16)
    seen = np.zeros((32, 45), int)
    for _, top, left in corners:
        seen[top : top + 16, left : left + 16] += 1
    assert seen.min() == 1 and len(corners) == 2 * 3


def test_a_patch_holds_the_pixels_at_its_corner(rng):
    pixels = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    patches = views.Patches(pixels, np.array([[1, 5, 7]]), 16)
    np.testing.assert_array_equal(patches[np.array([0])][0], pixels[1, 5:21, 7:23])


def test_a_512_texture_has_the_papers_64_patches():
    assert len(views.patch_corners(np.array([[512, 512]]), 64, 64)) == 64


def test_a_flat_folder_of_images_is_training_data(tmp_path):
    for i in range(6):
        save(tmp_path / "flat" / f"{i}.png", seed=i)
    dataset = data.load(small(tmp_path / "flat"))
    assert dataset.test is None
    assert len(dataset.train) + len(dataset.heldout) == 6


@pytest.mark.parametrize("bits", [8, 16])
def test_sixteen_bit_images_keep_their_brightness(tmp_path, bits):
    values = np.full((8, 8), 200 if bits == 8 else 200 * 256, np.uint8 if bits == 8 else np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert np.asarray(decoder.picture(tmp_path / "grey.png")).tolist() == np.full((8, 8, 3), 200).tolist()


def test_corrupt_files_are_fatal_by_default_and_named_when_skipped(parts):
    (parts / "train/good/broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png.*(\n.*)*unreadable=skip"):
        data.load(small(parts))
    assert len(data.load(small(parts, unreadable="skip", heldout_fraction=0.0)).train) == 12


@pytest.mark.parametrize("count, message", [(0, "holds no images"), (1, "fewer than two")])
def test_too_few_images_are_refused(tmp_path, count, message):
    (tmp_path / "few/train/good").mkdir(parents=True)
    for i in range(count):
        save(tmp_path / f"few/train/good/{i}.png")
    with pytest.raises(UserError, match=message):
        data.load(small(tmp_path / "few"))


def test_an_absent_folder_shows_the_layout(tmp_path):
    with pytest.raises(UserError, match=r"no such folder(.*\n)*.*train/good"):
        data.load(small(tmp_path / "absent"))


def test_changed_files_are_decoded_again(parts):
    first = data.load(small(parts, heldout_fraction=0.0)).train.images[np.arange(12)]
    save(parts / "train/good/Teil 0ä.png", (40, 50, 3), seed=99)
    assert (data.load(small(parts, heldout_fraction=0.0)).train.images[np.arange(12)] != first).any()


def test_a_failed_build_leaves_nothing_behind(parts, monkeypatch, tmp_path):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(UserError, match=r"No space left(.*\n)*.*MOCCA_CACHE_DIR"):
        data.load(small(parts))
    assert ["-sizes-" in path.name for path in (tmp_path / "cache").iterdir()] == [True]


def test_two_processes_that_build_one_cache_at_once_read_the_same(parts, tmp_path):
    program = (
        "import sys; from pathlib import Path; from mocca_jax.data import images; sys.stdin.readline();"
        "from mocca_jax.files import digests; files = sorted(Path(sys.argv[1]).glob('train/good/*'));"
        "read = images.decoded('x', files, digests.of_files(files), 32, 'stretch', 32, skip=False, depth=0);"
        "print(int(read.images.astype(int).sum()))"
    )
    environment = os.environ | {"MOCCA_CACHE_DIR": str(tmp_path / "cache")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    both = [subprocess.Popen([sys.executable, "-c", program, str(parts)], **pipes) for _ in range(2)]
    sums = [process.communicate("go\n")[0].strip() for process in both]
    assert sums[0] == sums[1] and int(sums[0]) > 0
    assert not list((tmp_path / "cache").glob(".draft-*"))
    assert len(list((tmp_path / "cache").glob("x-stretch*"))) == 1


def test_resizing_is_pillows(parts):
    dataset = data.load(small(parts))
    with Image.open(parts / "test/good/a.png") as image:
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(dataset.test.images[np.array([0])][0], expected)


@pytest.mark.parametrize("degrees", [-45.0, -10.5, 0.0, 33.3, 45.0])
def test_rotation_has_pillows_geometry(rng, degrees):
    """Pad by reflection, rotate (nearest), cut the centre, crop: Pillow and numpy against one gather."""
    image = rng.integers(0, 256, (48, 48, 3), np.uint8)
    padded = Image.fromarray(np.pad(image, ((12, 12), (12, 12), (0, 0)), "reflect"))
    turned = np.asarray(padded.rotate(degrees, Image.Resampling.NEAREST))[12:60, 12:60][5:37, 9:41]
    ours = augment.rotated_crop(jnp.asarray(image)[None], jnp.array([degrees]), jnp.array([5]), jnp.array([9]), 32)
    assert (np.asarray(ours[0]) == turned).all(
        -1
    ).mean() > 0.995  # Pillow's fixed-point steps round a few ties otherwise


def test_augmentation_is_fresh_for_every_key_and_stays_in_range(rng):
    raw = jnp.asarray(rng.integers(0, 256, (4, 48, 48, 3), np.uint8))
    crops = [augment.random_rotated_crop(raw, jax.random.key(k), 16, (0.0, 45.0)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()
    scaled = Inputs((16, 16, 3), "symmetric").preprocess(crops[0])
    assert scaled.dtype == jnp.float32 and float(scaled.min()) >= -1 and float(scaled.max()) <= 1


def test_symbolic_links_in_a_loop_end(parts):
    (parts / "train/good/loop").symlink_to(parts / "train")
    (parts / "train/good/self.png").symlink_to(parts / "train/good/self.png")
    assert len(layout.scan(parts).train) == 12


def test_a_whole_run_on_texture_patches_writes_scores_p_values_and_threshold(parts, tmp_path):
    config = runs.quick(parts, "texture", heldout_fraction=0.25, repeats=2, alpha=0.05)
    result = pipeline.run(config, tmp_path / "run")
    assert set(result["metrics"]) == {"layer1", "layer2", "combined"}
    assert result["threshold"]["heldout"] == 3
    assert 0 <= result["threshold"]["changed_flagged"] <= 1
    assert set(result["made_up_defects"]) == {"layer1", "layer2", "combined"}
    assert result["threshold"]["promised_share"] == pytest.approx(0.25)
    lines = (tmp_path / "run/scores.csv").read_text().splitlines()
    assert lines[0] == "sample,label,score,layer1,layer2,map_largest,p_value"
    assert [line.split(",")[0] for line in lines[1:]] == ["test/good/a.png", "test/scratch/b.png"]
    assert len((tmp_path / "run/scores_heldout.csv").read_text().splitlines()) == 1 + 3
    assert "that takes 19 held out" in table.text(result)


def test_normal_images_alone_give_a_threshold_and_no_metrics(tmp_path):
    for i in range(8):
        save(tmp_path / "flat" / f"{i}.png", seed=i)
    config = runs.quick(tmp_path / "flat", "mocca", stages=("one_class",), heldout_fraction=0.1)
    config.one_class.epochs = 0
    result = pipeline.run(config, tmp_path / "run")
    assert result["metrics"] == {} and result["samples"]["anomalous"] == 0
    assert result["threshold"]["heldout"] == 1
    assert "need normal and anomalous" in table.text(result)


def test_next_day_images_are_the_heldout_ones_and_those_with_defects_have_masks(parts):
    dataset = data.load(small(parts, heldout_fraction=0.25))
    heldout, good, damaged = (
        of.images[np.arange(len(of))] for of in (dataset.heldout, dataset.changed, dataset.defects)
    )
    assert len(good) == len(damaged) == 63  # 64 // 3 of each of the three
    assert dataset.changed.labels.max() == 0 and dataset.defects.labels.min() == 1
    assert all(heldout.any() and (image != heldout).any((1, 2, 3)).all() for image in good)
    assert not any(dataset.changed.pictures.mask(index).any() for index in range(63))
    assert all(dataset.defects.pictures.mask(index).any() for index in range(63))
    assert dataset.changed.samples[0] == f"next_day/00 on {dataset.heldout.samples[0].replace('/', ' ')}"
    assert dataset.defects.samples[0].startswith("made_up_defects/00 ")
    again = data.load(small(parts, heldout_fraction=0.25, seed=5))
    np.testing.assert_array_equal(again.changed.images[np.arange(63)], good)
    np.testing.assert_array_equal(again.defects.images[np.arange(63)], damaged)


def test_next_day_images_of_textures_are_cut_like_the_others(parts):
    dataset = data.load(small(parts, "texture", heldout_fraction=0.25))
    for split in (dataset.changed, dataset.defects):
        assert split.images.shape[1:] == dataset.heldout.images.shape[1:]
        assert len(split) == 21 * len(dataset.heldout)
        np.testing.assert_array_equal(split.pictures.sizes, np.tile(dataset.heldout.pictures.sizes, (21, 1)))


def test_nothing_is_made_up_where_nothing_is_held_out(parts):
    dataset = data.load(small(parts, heldout_fraction=0.0))
    assert dataset.heldout is dataset.changed is dataset.defects is None
