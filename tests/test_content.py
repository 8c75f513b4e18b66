"""Data is known by what it holds: in caches, in runs that go on, in results."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector, data, pipeline
from mocca_jax.data import decoder, images
from mocca_jax.errors import UserError
from mocca_jax.files import digests, whole
from mocca_jax.outputs import bundle, folders, results
from tests import odd
from tests.runs import quick, small


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    return odd.parts(tmp_path / "parts", train=8)


def replaced(path, pixels):
    """Writes other pixels in a file of the same name, size and time of change."""
    before = path.stat()
    odd.save(path, pixels)
    content = path.read_bytes()
    path.write_bytes(content + bytes(max(0, before.st_size - len(content))))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_other_pixels_under_the_same_name_size_and_time_are_decoded_anew(folder):
    first = data.load(small(folder))
    path = folder / "train/good/000.png"
    replaced(path, odd.part(99))
    second = data.load(small(folder))
    assert path.stat().st_mtime_ns and first.fingerprint != second.fingerprint
    held = [np.concatenate([of.train.images[np.arange(7)], of.heldout.images[np.arange(1)]]) for of in (first, second)]
    assert (held[0] != held[1]).any()


def test_names_and_times_change_nothing_in_the_cache(folder, tmp_path):
    data.load(small(folder))
    before = sorted((tmp_path / "cache").iterdir())
    for path in (folder / "train/good").iterdir():
        os.utime(path, (1, 1))
    data.load(small(folder))
    assert sorted((tmp_path / "cache").iterdir()) == before


def test_a_file_that_was_unreadable_once_is_tried_again(folder, monkeypatch):
    picture = decoder.picture

    def fails(source, *more, **how):
        if str(source).endswith("003.png"):
            raise UserError("the network drive was away")
        return picture(source, *more, **how)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "picture", fails)
        with pytest.raises(UserError, match=r"003\.png: the network drive was away"):
            data.load(small(folder))
        assert len(data.load(small(folder, unreadable="skip", heldout_fraction=0.0)).train) == 7
    assert len(data.load(small(folder, heldout_fraction=0.0)).train) == 8


def test_a_run_goes_on_with_the_data_that_it_was_begun_with_alone(folder, tmp_path):
    config, run = quick(folder, "mocca", maps=()), tmp_path / "run"
    result = pipeline.run(config, run)
    assert result["data"]["fingerprint"] == data.load(config).fingerprint == bundle.load(run).data
    assert result["data"]["files"] == 8 + 4 + 2 and result["data"]["unused"] == ""
    assert pipeline.run(config, run)["sha256"] == result["sha256"]
    for number in range(11):
        odd.save(folder / f"train/good/new{number:02d}.png", odd.part(300 + number))
    (folder / "test/good/000.png").unlink()
    replaced(folder / "train/good/004.png", odd.part(99))
    said = r"11 added: train/good/new00\.png.*\.\.\.\n  1 removed: test/good/000\.png\n  1 changed: train/good/004\.png"
    with pytest.raises(UserError, match=said):
        pipeline.run(config, run)
    (run / results.RESULT).unlink()  # as if it had been stopped
    with pytest.raises(UserError, match=said):
        pipeline.run(config, run)
    assert not (run / results.RESULT).exists()
    whole.write_json(tmp_path / "now.json", data.load(config).files)
    (tmp_path / "now.json").rename(run / folders.DATA)
    assert pipeline.run(config, run)["data"]["files"] == 24


def test_a_finished_run_is_printed_again_where_its_data_is_gone(folder, tmp_path):
    config, run = quick(folder, "mocca", maps=()), tmp_path / "run"
    pipeline.run(config, run)
    folder.rename(tmp_path / "away")
    assert pipeline.run(config, run)["data"]["files"] == 14


def test_what_is_not_used_stands_in_the_result_and_on_the_page(folder, tmp_path):
    odd.save(folder / "train/a$1<b>.png", odd.part())
    result = pipeline.run(quick(folder, "mocca", maps=()), tmp_path / "run")
    assert "train/a$1<b>.png" in result["data"]["unused"]
    assert "train/a$1&lt;b&gt;.png" in (tmp_path / "run/report.html").read_text()


def test_folders_of_any_name_can_be_cached_and_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("部品 $1 <b>", "y" * 250, os.fsdecode(b"caf\xe9")):
        odd.parts(tmp_path / name)
        found = data.load(small(tmp_path / name))
        found.description.encode("utf-8")
    assert max(len(path.name) for path in (tmp_path / "cache").iterdir()) < 200


def test_digests_tell_contents_and_never_read_a_pipe(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    found = digests.of_files([tmp_path / name for name in ("a", "b", "pipe", "absent", ".")])
    assert found[0] == found[1] != found[2] and set(found[2:]) == {digests.UNREADABLE}


def test_each_picture_is_bounded_before_it_is_decoded(folder, monkeypatch):
    odd.save(folder / "train/good/strip.png", np.zeros((140000, 1), np.uint8))
    monkeypatch.setattr(images, "_pixels", lambda *given: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"strip\.png is 140000x1 pixels: with its shorter side at 32"):
        data.load(small(folder, fit="crop"))


PICTURES = [odd.part(seed, (40 + seed, 50)) for seed in range(8)]


def given(kind, folder):
    """The same pictures in other forms."""
    files = [odd.save(folder / f"{number}.png", pixels) for number, pixels in enumerate(PICTURES)]
    forms = {
        "folder": folder,
        "text": str(folder),
        "pattern": str(folder / "*.png"),
        "files": files,
        "bytes": [path.read_bytes() for path in files],
        "open files": [io.BytesIO(path.read_bytes()) for path in files],
        "arrays": PICTURES,
        "Pillow images": [Image.fromarray(pixels) for pixels in PICTURES],
        "mixed": [files[0], str(files[1]), files[2].read_bytes(), *PICTURES[3:]],
        "generator": (path for path in files),
    }
    return forms[kind]


KINDS = ["folder", "text", "pattern", "files", "bytes", "open files", "arrays", "Pillow images", "mixed", "generator"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_takes_what_people_hold(finished, tmp_path, kind):
    detector = Detector.load(finished / "object")
    np.testing.assert_allclose(detector.score(given(kind, tmp_path)), detector.score(PICTURES), rtol=1e-4)


@pytest.mark.parametrize("kind", ["pattern", "files", "open files", "mixed", "generator"])
def test_fit_takes_what_people_hold(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    loaded = []
    monkeypatch.setattr(pipeline, "run", lambda config, place, load: loaded.append(load(config)))
    monkeypatch.setattr(Detector, "load", lambda place: None)
    Detector.fit(given(kind, tmp_path / "in"), quick("", "mocca"))
    wanted = data.load(quick(tmp_path / "in", "mocca"))
    np.testing.assert_array_equal(
        loaded[0].heldout.images[np.arange(4)], np.asarray(wanted.heldout.images[np.arange(4)])
    )
    assert len(loaded[0].files) == 8 and loaded[0].fingerprint


def test_fit_trains_on_pictures_of_mixed_size_and_depth(tmp_path):
    pictures = [*PICTURES, *(pixels.astype(np.uint16) << 8 for pixels in PICTURES)]
    detector = Detector.fit(pictures, quick("", "texture", maps=()))
    assert np.isfinite(detector.score(PICTURES[:2])).all()


@pytest.mark.parametrize(
    "normal, said",
    [
        (PICTURES[0], "1 picture.s. to train on"),
        ([PICTURES[0]], "1 picture.s. to train on"),
        ([], "0 picture.s. to train on"),
        (None, "not None"),
        (7, "not int 7"),
        ({"a": PICTURES[0]}, "not dict"),
        ([PICTURES[0], None], "picture 1: .*not None"),
        ([PICTURES[0], "absent.png"], "picture 1: absent.png cannot be read"),
        ("absent", "no such folder"),
        ("absent/*.png", "matches nothing"),
        (np.zeros((2, 3, 4, 5, 6)), "neither a picture"),
    ],
)
def test_what_one_cannot_train_on_is_refused_in_words(normal, said):
    with pytest.raises(UserError, match=said):
        Detector.fit(normal, quick("", "mocca"))


@pytest.mark.parametrize(
    "bad, said", [(None, "not None"), (3, "not int 3"), ({}, "not dict"), ("*.gone", "matches nothing")]
)
def test_what_is_no_picture_is_refused_in_words(finished, bad, said):
    with pytest.raises(UserError, match=said):
        Detector.load(finished / "object").score(bad)
