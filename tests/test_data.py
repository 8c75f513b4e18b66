"""Data sets, batches, cache."""

import hashlib
import io
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mocca_jax import data
from mocca_jax.configs import cifar10 as cifar10_config
from mocca_jax.configs import digits as digits_config
from mocca_jax.data import Split, batching, cache, inputs
from mocca_jax.data.sets import cifar10, cifar10_files
from mocca_jax.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))


def split(size: int) -> Split:
    images = np.arange(size, dtype=np.uint8).reshape(-1, 1) + 1
    return Split(images, np.zeros(size, np.int32), [str(i) for i in range(size)])


def test_an_epoch_visits_every_unit_once_and_pads_the_last_batch_alone():
    order = batching.epoch_order(10, seed=0, stage=0, epoch=0)
    batches = list(batching.batches(split(10), order, batch_size=4, padded=6))
    assert [b.mask.sum() for b in batches] == [4, 4, 2]
    assert all(b.image.shape == (6, 1) for b in batches)
    seen = np.concatenate([b.image[b.mask > 0, 0] for b in batches])
    assert sorted(seen) == list(range(1, 11))
    assert all((b.image[b.mask == 0] == 0).all() for b in batches)
    assert all((b.with_copies()[b.mask > 0] == b.image[b.mask > 0]).all() for b in batches)
    assert all(set(b.with_copies().ravel()) == set(b.image[b.mask > 0].ravel()) for b in batches)
    nothing = batching.Batch(np.zeros((2, 1)), np.zeros(2, np.float32), 4)
    assert (nothing.with_copies() == 0).all()


def test_the_order_depends_on_seed_stage_and_epoch():
    orders = {tuple(batching.epoch_order(50, s, t, e)) for s in (0, 1) for t in (0, 1) for e in (0, 1)}
    assert len(orders) == 8
    assert batching.epoch_order(50, 3, 1, 7).tolist() == batching.epoch_order(50, 3, 1, 7).tolist()


def test_batches_can_start_in_the_middle_of_an_epoch():
    order = batching.epoch_order(10, 0, 0, 0)
    whole = list(batching.batches(split(10), order, 4, 4))
    rest = list(batching.batches(split(10), order, 4, 4, first=1))
    for a, b in zip(whole[1:], rest, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_split_refuses_parts_of_different_length():
    with pytest.raises(ValueError, match="3 images, 2 labels, 3 names"):
        Split(np.zeros((3, 1)), np.zeros(2), ["a", "b", "c"])


def test_digits_keep_normal_training_images_out_of_the_test_set():
    config = digits_config.get_config()
    config.normal_class = 3
    digits = data.load(config)
    assert set(digits.train.samples).isdisjoint(digits.test.samples)
    assert all(name.endswith("digit3") for name in digits.train.samples)
    assert [name.endswith("digit3") for name in digits.test.samples] == (digits.test.labels == 0).tolist()
    image = digits.inputs.preprocess(digits.train.images)
    assert image.shape[1:] == digits.inputs.shape
    assert float(image.min()) == 0 and float(image.max()) == 1


def test_an_unknown_data_set_is_refused():
    config = digits_config.get_config()
    config.data = "imagenet"
    with pytest.raises(ValueError, match="unknown data set 'imagenet'; known: cifar10, digits"):
        data.load(config)


def test_contrast_normalisation_gives_mean_zero_and_mean_absolute_value_one(rng):
    raw = jnp.asarray(rng.integers(0, 256, (3, 32, 32, 3)), jnp.uint8)
    image = inputs.contrast_normalize(raw)
    np.testing.assert_allclose(image.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.abs(image).mean((1, 2, 3)), 1, rtol=1e-5)


def test_a_constant_image_becomes_zeros():
    image = inputs.contrast_normalize(jnp.full((1, 32, 32, 3), 77, jnp.uint8))
    np.testing.assert_array_equal(image, 0)


def test_cache_builds_once_and_survives_damage(tmp_path):
    calls = []

    def build():
        calls.append(1)
        return {"a": np.arange(1000)}

    for _ in range(2):
        np.testing.assert_array_equal(cache.arrays("entry", build)["a"], np.arange(1000))
    assert len(calls) == 1
    file = cache.root() / "entry/a.npy"
    file.write_bytes(file.read_bytes()[:500])
    np.testing.assert_array_equal(cache.arrays("entry", build)["a"], np.arange(1000))
    assert len(calls) == 2
    assert not list(cache.root().glob(".draft-*"))


def test_without_a_writable_cache_arrays_stay_in_memory(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(blocked))
    assert cache.arrays("entry", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]


def test_changed_sources_change_the_fingerprint(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"1")
    before = cache.fingerprint([file])
    file.write_bytes(b"22")
    assert cache.fingerprint([file]) != before


def test_absent_cifar10_names_the_remedies(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    config = cifar10_config.get_config()
    config.data_dir = str(tmp_path)
    with pytest.raises(UserError) as error:
        data.load(config)
    for remedy in ("--config.data_dir", "cifar-10-batches-bin", "network", "configs/digits.py", str(tmp_path)):
        assert remedy in str(error.value)


def test_a_damaged_binary_file_is_named(tmp_path):
    folder = tmp_path / cifar10_files.BINARY_FOLDER
    folder.mkdir()
    for name in cifar10_files.MD5:
        (folder / name).write_bytes(b"too short")
    with pytest.raises(UserError, match=r"data_batch_1\.bin \(9 bytes\) is damaged"):
        cifar10_files.find_or_prepare(tmp_path)


@pytest.fixture(scope="module")
def decoded(cifar10_dir) -> dict[str, np.ndarray]:
    """All of the prepared CIFAR-10, see `cifar10_files.decode`."""
    return cifar10_files.decode(cifar10_files.find_or_prepare(Path(cifar10_dir)))


@pytest.mark.data
def test_the_prepared_cifar10_is_the_official_one(decoded):
    """As the official binary files, which have published MD5 sums."""
    for name, part in _files(decoded).items():
        assert hashlib.md5(_binary(*part)).hexdigest() == cifar10_files.MD5[name]


@pytest.mark.data
def test_cifar10_prepared_from_binaries_equals_the_prepared_copy(decoded, tmp_path, monkeypatch):
    """Writes the first pictures of each binary file with their MD5 sums, prepares a set from them."""
    parts, folder = _files(decoded, 300), tmp_path / cifar10_files.BINARY_FOLDER
    folder.mkdir()
    for name, part in parts.items():
        (folder / name).write_bytes(_binary(*part))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in parts}
    monkeypatch.setattr(cifar10_files, "MD5", sums)
    monkeypatch.setattr(cifar10_files, "SIZES", {"train": 1500, "test": 300})
    prepared = cifar10_files.find_or_prepare(tmp_path)
    shutil.rmtree(folder)
    found = cifar10_files.decode(prepared)
    for split, names in (("train", cifar10_files.TRAIN_FILES), ("test", cifar10_files.TEST_FILES)):
        for index, part in enumerate(("image", "label")):
            wanted = np.concatenate([parts[name][index] for name in names])
            np.testing.assert_array_equal(found[f"{split}_{part}"], wanted)


def _files(decoded, count=10_000) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each official binary file, the first images and labels."""
    starts = [("train", 10_000 * i) for i in range(5)] + [("test", 0)]
    return {
        name: tuple(decoded[f"{split}_{part}"][start : start + count] for part in ("image", "label"))
        for name, (split, start) in zip(cifar10_files.MD5, starts, strict=True)
    }


def _binary(images, labels) -> bytes:
    """The official layout: a label byte, then the planes red, green, blue of each image."""
    out = io.BytesIO()
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    out.write(np.concatenate([labels[:, None], planes], axis=1).tobytes())
    return out.getvalue()


@pytest.mark.data
def test_cifar10_has_the_published_sizes_and_range(cifar10_dir, decoded, monkeypatch):
    monkeypatch.setattr(cifar10_files, "decode", lambda _: decoded)
    config = cifar10_config.get_config()
    config.data_dir = cifar10_dir
    cifar = data.load(config)
    assert (len(cifar.train), len(cifar.test), int((cifar.test.labels == 0).sum())) == (5000, 10_000, 1000)
    image = cifar.inputs.preprocess(cifar.train.images)
    assert float(image.min()) == pytest.approx(0, abs=1e-4)
    assert float(image.max()) == pytest.approx(1, abs=1e-4)
    low, high = cifar10.measured_extremes(cifar.train.images)
    np.testing.assert_allclose((low, high), cifar10.EXTREMES[1], rtol=1e-4)


@pytest.mark.data
def test_truncated_cifar10_is_an_error_that_says_so(cifar10_dir, tmp_path):
    source = cifar10_files.find_or_prepare(Path(cifar10_dir))
    copy = tmp_path / "cifar10" / source.name
    copy.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        (copy / file.name).write_bytes(content[: len(content) // 2] if "train.array" in file.name else content)
    with pytest.raises(UserError, match=r"train set in .* cannot be read"):
        cifar10_files.decode(copy)
