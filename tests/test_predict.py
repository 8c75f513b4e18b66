"""Decisions on what people bring: names of all kinds, files that changed, pages, what was not looked at."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import predict
from mocca_jax.data import sources
from mocca_jax.outputs import examples, predictions
from tests import odd, test_footage
from tests.conftest import REPOSITORY


def rows(output):
    return {row["path"]: row for row in map(json.loads, (output / predictions.ROWS).read_text().splitlines())}


@pytest.fixture
def new(tmp_path):
    for number in range(3):
        odd.save(tmp_path / f"new/{number}.png", odd.part(number))
    return tmp_path / "new"


def test_what_was_not_looked_at_is_counted_named_and_no_success(finished, new, tmp_path):
    (new / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (new / "gone.png").symlink_to(new / "absent.png")
    (new / "torn.png").write_bytes((new / "0.png").read_bytes()[:200])
    odd.save(new / ".hidden/a.png", odd.part())
    shutil.copy(new / "0.png", new / "without_ending")
    command = [sys.executable, "-m", "mocca_jax", "predict", str(finished / "object"), str(new), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == predict.SOME_UNREADABLE, done.stderr
    assert "4 scored" in done.stdout and "4 file(s) unreadable or not used" in done.stdout
    assert "of good ones about" in done.stdout
    for name in ("phone.heic", "gone.png", "torn.png", ".hidden/a.png"):
        assert name in done.stderr and f"{name} " not in done.stdout


def test_a_file_that_holds_something_else_now_is_judged_anew(finished, new, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert predict.predict(finished / "object", [str(new)], out)[::2] == (3, 0)
    before = rows(out)
    times = (new / "1.png").stat()
    odd.save(new / "1.png", odd.part(1, square=(10, 10, 12)))
    os.utime(new / "1.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    judged = []
    monkeypatch.setattr(predict, "_add", lambda *given, add=predict._add: (judged.extend(given[1]), add(*given)))
    assert predict.predict(finished / "object", [str(new)], out)[::2] == (3, 0)
    assert [path.name for path, _ in judged] == ["1.png"]
    after = rows(out)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {str(new / "1.png")}
    score = Detector.load(finished / "object").score(new / "1.png")[0]
    assert after[str(new / "1.png")]["score"] == pytest.approx(score, rel=1e-5)
    with open(out / predictions.TABLE, newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_an_interruption_while_old_rows_are_taken_out_begins_anew(finished, new, tmp_path, monkeypatch):
    out = tmp_path / "out"
    predict.predict(finished / "object", [str(new)], out)
    with monkeypatch.context() as patch:
        patch.setattr(predictions.whole, "write_whole", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predictions.Rows(out).forget([str(new / "1.png")])
    assert predict.predict(finished / "object", [str(new)], out)[::2] == (3, 0)
    assert len((out / predictions.ROWS).read_text().splitlines()) == 3


def test_outputs_in_the_input_are_no_input(finished, new):
    for _ in range(2):
        assert predict.predict(finished / "object", [str(new)], new / "out", drawn="all")[::2] == (3, 0)
    assert predict.predict(finished / "object", [str(new)], new / "second", drawn="all")[::2] == (3, 0)
    assert len(list((new / "out/overlays").iterdir())) == 3


def test_every_picture_has_an_overlay_of_its_own_whatever_its_name(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a_b.png", "a/b.png", "a+b.png", "lot_$5_$6.png", "a&b <b>.png", "部品.png", "x" * 251 + ".png"]
    names += ["a.png", "a.jpg", "/".join(["d" * 50] * 6) + "/p.png", "a\nb.png", "100%.png"]
    for seed, name in enumerate(names):
        odd.save(tmp_path / "in" / name, odd.part(seed))
    os.rename(odd.save(tmp_path / "in/latin.png", odd.part()), os.fsencode(tmp_path / "in") + b"/caf\xe9.png")
    count = len(names) + 1
    assert predict.predict(finished / "object", ["in"], tmp_path / "out", drawn="all")[::2] == (count, 0)
    assert len(list((tmp_path / "out/overlays").iterdir())) == count
    assert r"in/caf\xe9.png" in rows(tmp_path / "out") and r"in/a\nb.png" in rows(tmp_path / "out")


def test_names_of_pictures_made_of_others_never_meet():
    from pathlib import Path

    paths = ["a_b.png", "a/b.png", "a+b.png", "/a/b.png", "../a/b.png", "a/../b.png", "b.png", "./b.png", "a/b.jpg"]
    made = {predictions.picture_name(Path(path)) for path in paths}
    assert len(made) == len({Path(path) for path in paths})
    assert not [name for name in made if name.startswith(".") or "/" in name or len(name.encode()) > 255]


def test_a_terminal_that_knows_no_such_letters_ends_nothing(finished, tmp_path):
    odd.save(tmp_path / "in/部品.png", odd.part())
    environment = os.environ | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    command = [sys.executable, "-m", "mocca_jax", "predict", str(finished / "object"), "in", "--quiet"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment | {"PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0, done.stderr
    assert r"\u90e8\u54c1.png" in done.stdout


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_every_page_of_a_file_is_judged(finished, tmp_path, suffix):
    pages = [Image.fromarray(odd.part(seed)) for seed in range(3)]
    path = tmp_path / f"a.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert predict.predict(finished / "object", [str(path)], tmp_path / "out")[::2] == (3, 0)
    found = [json.loads(line) for line in (tmp_path / "out" / predictions.ROWS).read_text().splitlines()]
    assert [row["frame"] for row in found] == [0, 1, 2]
    if suffix == "tif":
        wanted = Detector.load(finished / "object").score(np.stack([np.asarray(page) for page in pages]))
        np.testing.assert_allclose([row["score"] for row in found], wanted, rtol=1e-4)


def test_a_film_in_a_folder_of_pictures_is_judged_frame_by_frame(finished, new, tmp_path, rng):
    from mocca_jax.data import films

    films.write(new / "film.avi", iter(rng.integers(0, 256, (4, 48, 48, 3), np.uint8)), 10)
    assert predict.predict(finished / "object", [str(new)], tmp_path / "out")[::2] == (7, 0)


def test_a_film_of_two_recordings_is_judged_as_a_whole_and_told(finished, new, tmp_path, caplog):
    film = test_footage.write(new / "film.mkv", count=10)
    film.write_bytes(2 * film.read_bytes())
    scored, _, unread = predict.predict(finished / "object", [str(film)], tmp_path / "out")
    assert (scored, unread) == (20, 0)
    assert f"{film} holds several recordings: its times start anew before frame 10 (at 1.0 s)" in caplog.text


def test_a_folder_of_frames_is_known_by_what_they_hold(new):
    (source,) = sources.find([str(new)], clips=True).wanted
    before = source.digest()
    (new / "1.png").write_bytes((new / "0.png").read_bytes())
    assert source.has_frames and source.digest() != before


def test_names_of_samples_become_names_of_files_that_can_be_written(tmp_path):
    long = ["x" * 255, "部" * 85, "\\xe9" * 64 + ".png", "/".join(["d" * 200] * 15) + "/p.png", "a/b.png", "a/b.jpg"]
    names = examples.file_names(long)
    assert len(set(names)) == len(long)
    for name in names:
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert examples.file_names(["test/a.png", "test/b.png"]) == ["test/a", "test/b"]
