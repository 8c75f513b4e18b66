"""Every file under a folder is used, or named with the reason."""

import os

import numpy as np
import pytest
from PIL import Image

from mocca_jax import data
from mocca_jax.data import layout, listing, sources, video_layout
from mocca_jax.errors import UserError
from tests import odd
from tests.runs import small


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    return odd.parts(tmp_path / "parts")


def reasons(found):
    return {of.path.name: of.reason for of in found}


def test_pictures_in_folders_of_folders_are_used_and_others_named(folder):
    for cam in ("cam1", "cam2/left"):
        odd.save(folder / f"train/good/{cam}/0.png", odd.part(7))
        odd.save(folder / f"test/hole/{cam}/0.png", odd.part(8))
        odd.save(folder / f"ground_truth/hole/{cam}/0_mask.png", np.full((40, 40), 255, np.uint8))
    for name in ("train/a.png", "test/b.png", "c.png", "train/bad/d.png", "validation/good/e.png"):
        odd.save(folder / name, odd.part(9))
    odd.save(folder / "ground_truth/hole/lonely_mask.png", np.zeros((40, 40), np.uint8))
    found = layout.scan(folder)
    assert len(found.train) == 8 and len(found.test) == 6
    assert {mask.name for mask in found.masks if mask} == {"000_mask.png", "001_mask.png", "0_mask.png"}
    assert sum(mask is not None for mask in found.masks) == 4
    said = reasons(found.unused)
    assert list(said) == ["c.png", "b.png", "a.png", "d.png", "e.png"]
    for name, words in (("a", "directly in train/"), ("b", "directly in test/"), ("c", "directly in the folder")):
        assert words in said[f"{name}.png"]
    assert "not called good" in said["d.png"] and "beside train/" in said["e.png"]
    assert "a mask of no image: ground_truth/hole/lonely_mask.png" in found.told()
    used = {*found.used(), *found.stray_masks, *(of.path for of in found.unused)}
    assert used == {path for path in folder.rglob("*") if path.is_file()}


def test_a_flat_folder_beside_a_test_set_keeps_it(folder):
    for path in (folder / "train/good").iterdir():
        path.rename(folder / path.name)
    (folder / "train/good").rmdir()
    (folder / "train").rmdir()
    found = layout.scan(folder)
    assert (len(found.train), found.labels, len([mask for mask in found.masks if mask])) == (6, [0, 0, 1, 1], 2)


def test_pictures_directly_in_train_are_good_where_there_is_no_folder_of_good_ones(folder):
    for path in (folder / "train/good").iterdir():
        path.rename(folder / "train" / path.name)
    (folder / "train/good").rmdir()
    assert len(layout.scan(folder).train) == 6


def test_capital_letters_change_nothing(folder):
    for name in ("train", "test", "ground_truth"):
        (folder / name).rename(folder / name.upper())
    found = layout.scan(folder)
    assert (len(found.train), len(found.test), sum(mask is not None for mask in found.masks)) == (6, 4, 2)


@pytest.mark.parametrize(
    "name", ["Good", "GOOD", "ok", "OK", "Ok_2", "normal", "goods", "no_defect", "defect-free", "i.O.", "pass", "良品"]
)
def test_common_spellings_of_good_are_understood(tmp_path, name):
    odd.parts(tmp_path / "parts", name=name)
    found = layout.scan(tmp_path / "parts")
    assert sorted(found.labels) == [0, 0, 1, 1]
    (tmp_path / "parts/train/good").rename(tmp_path / "parts/train" / name)
    assert len(layout.scan(tmp_path / "parts").train) == 6


@pytest.mark.parametrize(
    "name", ["not_good", "NG", "nok", "n.i.O.", "abnormal", "anomalous", "bad", "wood", "hole", "defect"]
)
def test_names_of_defects_stay_those(name):
    assert not layout.is_good(name)


@pytest.mark.parametrize("name", ["goood", "Nromal", "good_but_scratched", "goodones", "images", "1", "class_2"])
def test_names_that_could_be_either_are_refused(tmp_path, name):
    odd.parts(tmp_path / "parts", name=name)
    with pytest.raises(UserError, match=f"'{name}' hold good images or defects"):
        layout.scan(tmp_path / "parts")


def test_a_test_set_without_good_pictures_is_said_aloud(folder, caplog):
    for path in (folder / "test/good").iterdir():
        path.unlink()
    data.load(small(folder))
    assert "test/ holds no good images" in caplog.text


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    (tmp_path / "a/bad").mkdir(parents=True)
    odd.save(tmp_path / "a/bad/0.png", odd.part())
    (tmp_path / "a/b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(UserError, match=r"What is there:\n(.*\n)?.*HEIC.*b\.heic(.*\n)*.*bad/0\.png|bad/0\.png"):
        layout.scan(tmp_path / "a")


def test_a_name_says_nothing_about_what_a_file_holds(tmp_path):
    for name in ("noending", "a.PNG", "b.picture", "c.png"):
        Image.fromarray(odd.part()).save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "array.npy").write_bytes(b"\x93NUMPY\x01\0")
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (tmp_path / "gone.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    found = listing.under(tmp_path)
    assert [path.name for path in found.pictures] == ["a.PNG", "b.picture", "c.png", "noending"]
    said = reasons(found.unused)
    wanted = {"gone.png": "a link to nothing", "pipe.png": "not a regular file", "round": "searched already"}
    wanted |= {"phone.HEIC": "HEIC", "notes.txt": "text", "table.csv": "text", "array.npy": "NumPy"}
    assert set(said) == {*wanted, "nothing"} and all(words in said[name] for name, words in wanted.items())


def test_hidden_files_and_folders_are_treated_alike_and_litter_is_no_word_worth(tmp_path):
    for name in ("a.png", ".cache/thumbs/c.png", ".cache/d.png", ".e.png"):
        odd.save(tmp_path / name, odd.part())
    for name in (".DS_Store", "Thumbs.db", "._a.png", "__MACOSX/a.png", ".git/objects/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0")
    found = listing.under(tmp_path)
    assert [path.name for path in found.pictures] == ["a.png"]
    assert {of.path.name for of in found.unused if of.said} == {"c.png", "d.png", ".e.png"}
    assert "DS_Store" not in listing.told(found.unused)


def test_what_a_command_wrote_is_no_input(tmp_path):
    for name in ("a.png", "out/overlays/a.png", "old/overlays/a.png", "run/overlays/a.png"):
        odd.save(tmp_path / name, odd.part())
    (tmp_path / "old/predictions.jsonl").write_text("")
    (tmp_path / "run/detector.npz").write_bytes(b"")
    assert [path.name for path in listing.under(tmp_path, tmp_path / "out").pictures] == ["a.png"]
    wanted = sources.find([str(tmp_path)], clips=False, output=tmp_path / "out").wanted
    assert [source.path for source in wanted] == [tmp_path / "a.png"]
    patterned = sources.find([str(tmp_path / "*")], clips=False, output=tmp_path / "out").wanted
    assert tmp_path / "out/overlays/a.png" not in [source.path for source in patterned]


def test_films_in_folders_of_folders_are_found_and_others_named(tmp_path):
    for name in ("train/cam1/a.avi", "train/cam1/b.mp4", "train/cam2/a.avi", "test/c.MOV", "more.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"RIFF")
    for number in (1, 2, 10):
        odd.save(tmp_path / f"train/cam3/day 1/{number}.png", odd.part())
    odd.save(tmp_path / "train/cover.jpg", odd.part())
    (tmp_path / "notes.txt").write_text("notes")
    found = video_layout.find(tmp_path, "auto", False)
    assert [video.name for video in found.train] == ["cam1/a", "cam1/b", "cam2/a", "cam3/day 1"]
    assert [path.name for path in found.train[-1].source] == ["1.png", "2.png", "10.png"]
    assert [video.name for video in found.test] == ["c"]
    said = reasons(found.unused)
    assert set(said) == {"more.avi", "notes.txt", "cover.jpg"} and "layout" in said["more.avi"]


@pytest.mark.parametrize(
    "name", ["take1²3.png", "٣.png", "a\nb.png", "部品.png", "$1.png", "lot[1].png", "x" * 251 + ".png"]
)
def test_any_name_can_be_sorted_told_and_decoded(tmp_path, name):
    odd.save(tmp_path / name, odd.part())
    odd.save(tmp_path / "other.png", odd.part())
    assert {path.name for path in listing.frames_in(tmp_path)} == {name, "other.png"}
    assert listing.printable(tmp_path / name).isprintable()
    (wanted,) = sources.find([str(tmp_path / name)], clips=False).wanted
    assert wanted.path == tmp_path / name


def test_a_name_that_is_no_utf8_is_told_with_its_bytes(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    Image.fromarray(odd.part()).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", place)
    (found,) = listing.under(tmp_path).pictures
    assert listing.printable(found.name) == "caf\\xe9.png"
    listing.printable(found).encode("utf-8")


def test_numbers_are_sorted_as_such():
    from pathlib import Path

    names = ["10.jpg", "2.jpg", "a1.jpg", "1.jpg", "1²3.jpg"]
    ordered = sorted(map(Path, names), key=listing.natural)
    assert [path.name for path in ordered] == ["1.jpg", "1²3.jpg", "2.jpg", "10.jpg", "a1.jpg"]
