"""CIFAR-10's files: find a prepared copy, prepare one, decode it.

A prepared copy is TensorFlow Datasets' `array_record` set `cifar10/<version>`. It is made from the official
binary archive (downloaded, checksum verified) or from its unpacked folder `cifar-10-batches-bin`.
"""

import hashlib
import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from mocca_jax import console
from mocca_jax.errors import UserError

NAME = "cifar10"
ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
BINARY_FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES = ("test_batch.bin",)
MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
SIZES = {"train": 50_000, "test": 10_000}
PIXELS = 32 * 32 * 3


def find_or_prepare(folder: Path) -> Path:
    """The folder of a prepared set under `folder`; prepares it there when it is absent.

    Raises:
        UserError: there is none and none can be made.
    """
    prepared = _newest(folder)
    if prepared:
        return prepared
    binaries = next((b for b in (folder / BINARY_FOLDER, folder) if (b / TRAIN_FILES[0]).is_file()), None)
    if binaries:
        verify_binaries(binaries)
    _prepare(folder, binaries)
    return _newest(folder)


def _newest(folder: Path) -> Path | None:
    versions = [p.parent for p in folder.glob(f"{NAME}/*/dataset_info.json")]
    versions = [v for v in versions if any(v.glob("*.array_record-*"))]
    return max(versions, key=lambda v: [int(n) for n in v.name.split(".") if n.isdigit()], default=None)


def verify_binaries(folder: Path) -> None:
    """Checks every binary file against its published MD5 sum.

    Raises:
        UserError: a file is absent or differs.
    """
    for name, expected in MD5.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing; the folder must hold {', '.join(MD5)}.")
        found = hashlib.md5(path.read_bytes()).hexdigest()
        if found != expected:
            raise UserError(
                f"{path} ({path.stat().st_size} bytes) is damaged: its MD5 sum is {found}, the official one "
                f"{expected}. Unpack cifar-10-binary.tar.gz again, or download it anew."
            )


def _prepare(folder: Path, binaries: Path | None) -> None:
    logging.info("preparing CIFAR-10 in %s from %s", folder, binaries or "the official archive")
    try:
        if binaries is None:  # without a network, the download below would try for minutes
            urllib.request.urlopen(urllib.request.Request(ARCHIVE, method="HEAD"), timeout=20).close()
        builder_class = _builder_class(binaries)
        builder_class(data_dir=str(folder), file_format="array_record").download_and_prepare()
    except Exception as error:  # tfds raises what its transport and its file system raise
        raise UserError(
            f"CIFAR-10 is not in {folder} and could not be prepared there ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200] if str(error) else 'no message'}).\nAny of these helps:\n"
            "  - point --config.data_dir (or TFDS_DATA_DIR) at a folder that holds a prepared TensorFlow "
            "Datasets set, cifar10/3.0.2 in array_record format;\n"
            f"  - unpack {ARCHIVE} there, so that {BINARY_FOLDER}/ "
            "lies in it;\n"
            "  - run on a machine with a network and a writable data folder: the archive is then fetched and "
            "verified.\nWithout any data set at hand, try --config=configs/digits.py."
        ) from error


def _builder_class(binaries: Path | None):
    """TensorFlow Datasets' own builder, made to read and encode by itself so that TensorFlow is not needed."""
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(NAME)

    class Cifar10(stock, skip_registration=True):
        name = NAME
        url_infos = stock.url_infos

        def _split_generators(self, dl_manager):
            if binaries is None:
                return super()._split_generators(dl_manager)
            names = (binaries / "batches.meta.txt").read_text().split() if _has_meta(binaries) else None
            if names:
                self.info.features["label"].names = names
            return {
                "train": self._generate_examples("train_", [str(binaries / f) for f in TRAIN_FILES]),
                "test": self._generate_examples("test_", [str(binaries / f) for f in TEST_FILES]),
            }

        def _generate_examples(self, split_prefix, filepaths):
            images = (image for path in filepaths for image in _read_binary(Path(path)))
            for index, (image, label) in enumerate(images):
                png = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(image)).save(png, format="png")
                png.seek(0)
                yield index, {"id": f"{split_prefix}{index:05d}", "image": png, "label": label}

    return Cifar10


def _read_binary(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """The official layout: per image a label byte, then the planes red, green, blue."""
    rows = np.fromfile(path, np.uint8).reshape(-1, 1 + PIXELS)
    for row in rows:
        yield row[1:].reshape(3, 32, 32).transpose(1, 2, 0), int(row[0])


def _has_meta(binaries: Path) -> bool:
    return (binaries / "batches.meta.txt").is_file()


def decode(prepared: Path) -> dict[str, np.ndarray]:
    """All images and labels of a prepared set, in the official order.

    Returns:
        `{train,test}_image [N, 32, 32, 3]` uint8 and `{train,test}_label [N]` uint8.

    Raises:
        UserError: files are truncated, damaged or incomplete.
    """
    arrays = {}
    for split, size in SIZES.items():
        try:
            images, labels, ids = _decode_split(prepared, split)
        except Exception as error:  # the readers raise what they like on damaged bytes
            raise UserError(
                f"the {split} set in {prepared} cannot be read ({type(error).__name__}: {error}). The files are "
                "damaged or incomplete: remove the folder and prepare it anew."
            ) from error
        if sorted(ids) != list(range(size)):
            raise UserError(
                f"the {split} set in {prepared} has {len(ids)} images, {len(set(ids))} different; CIFAR-10 has "
                f"{size}. Remove the folder and prepare it anew."
            )
        order = np.argsort(ids)
        arrays |= {f"{split}_image": images[order], f"{split}_label": labels[order]}
    return arrays


def _decode_split(prepared: Path, split: str):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepared)
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    images = np.empty((len(source), 32, 32, 3), np.uint8)
    labels = np.empty(len(source), np.uint8)
    ids = []
    chunk = 1000
    with console.Phase(f"decoding CIFAR-10, {split}", len(source), "images") as phase:
        for start in range(0, len(source), chunk):
            stop = min(start + chunk, len(source))
            for i, example in enumerate(source.__getitems__(list(range(start, stop))), start=start):
                with Image.open(io.BytesIO(example["image"]), formats=["PNG"]) as image:
                    images[i] = np.asarray(image)
                labels[i] = example["label"]
                ids.append(int(example["id"].decode().rsplit("_", 1)[1]))
            phase.update(stop - start)
    return images, labels, ids
