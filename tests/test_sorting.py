"""Pictures that are put into a folder are judged once, and moved to the good or the bad ones."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import sorting
from mocca_jax.data.arrivals import Settings
from mocca_jax.data.live_folder import Folder
from mocca_jax.errors import UserError

ONCE = Settings(patience=0.3, once=True)


@pytest.fixture(scope="module")
def detector(untrained):
    return Detector.load(untrained)


@pytest.fixture
def good(detector):
    return detector.samples[0]


@pytest.fixture
def bad(good):
    return np.random.default_rng(0).integers(0, 255, good.shape).astype(np.uint8)


def judged(detector, folder, places, settings=ONCE):
    lines = []
    counts = sorting.sort(detector, Folder(folder, settings), places, lines.append, lambda: False)
    return lines, counts


def test_good_bad_and_unreadable_pictures_go_to_their_places(tmp_path, detector, good, bad):
    inbox = tmp_path / "in"
    inbox.mkdir()
    Image.fromarray(good).save(inbox / "a.png")
    Image.fromarray(bad).save(inbox / "b.png")
    (inbox / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    os.utime(inbox / "c.png", (1, 1))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/b.png").write_bytes(b"of before")
    places = sorting.Places(tmp_path / "ok", tmp_path / "bad", tmp_path / "unreadable")
    lines, counts = judged(detector, inbox, places, Settings(patience=3.0, once=True))
    assert (counts.judged, counts.anomalous, counts.unreadable) == (2, 1, 1)
    assert [os.path.basename(line["path"]) for line in lines] == ["a.png", "b.png", "c.png"]
    assert lines[0]["anomalous"] is False and lines[1]["anomalous"] is True and "error" in lines[2]
    assert lines[1]["regions"] and not lines[0]["regions"]
    assert os.listdir(inbox) == [] and os.listdir(tmp_path / "ok") == ["a.png"]
    assert sorted(os.listdir(tmp_path / "bad")) == ["b-1.png", "b.png"]
    assert (tmp_path / "bad/b.png").read_bytes() == b"of before" and os.listdir(tmp_path / "unreadable") == ["c.png"]


def test_nothing_is_judged_twice_after_a_restart_and_a_move_is_made_up_for(tmp_path, detector, good, bad):
    inbox, journal = tmp_path / "in", tmp_path / "judged.jsonl"
    inbox.mkdir()
    Image.fromarray(good).save(inbox / "a.png")
    lines, _ = judged(detector, inbox, sorting.Places())
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"path": "torn')
    Image.fromarray(bad).save(inbox / "b.png")
    again, counts = judged(detector, inbox, sorting.Places(ok=tmp_path / "ok", journal=journal))
    assert [os.path.basename(line["path"]) for line in again] == ["b.png"] and counts.judged == 1
    assert os.listdir(tmp_path / "ok") == ["a.png"] and os.listdir(inbox) == ["b.png"]


def test_a_picture_that_changes_is_judged_anew_and_one_that_is_written_again_is_not(tmp_path, detector, good, bad):
    inbox, lines, stop = tmp_path / "in", [], threading.Event()
    inbox.mkdir()
    arguments = (detector, Folder(inbox, Settings(patience=60)), sorting.Places(), lines.append, stop.is_set)
    thread = threading.Thread(target=sorting.sort, args=arguments)
    thread.start()

    def put(pixels, wanted):
        draft = tmp_path / "draft.png"
        Image.fromarray(pixels).save(draft)
        os.replace(draft, inbox / "a.png")
        end = time.monotonic() + 20
        while len(lines) < wanted and time.monotonic() < end:
            time.sleep(0.02)

    try:
        put(good, 1)
        put(bad, 2)
        put(bad, 3 if len(lines) < 2 else 2)
        time.sleep(0.5)
    finally:
        stop.set()
        thread.join()
    assert [line["anomalous"] for line in lines] == [False, True]


def test_places_and_runs_that_do_not_fit_are_refused(tmp_path, detector, untrained):
    folder = Folder(tmp_path, ONCE)
    with pytest.raises(UserError, match="is the folder that is watched"):
        sorting.sort(detector, folder, sorting.Places(ok=tmp_path), print, lambda: True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be made"):
        sorting.sort(detector, folder, sorting.Places(bad=tmp_path / "file/bad"), print, lambda: True)
    command = [sys.executable, "-m", "mocca_jax", "watch", str(untrained), str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "a run on pictures watches a folder" in done.stderr


def test_the_command_sorts_until_it_is_stopped(tmp_path, untrained, good, bad):
    inbox, output = tmp_path / "in", tmp_path / "judged.jsonl"
    inbox.mkdir()
    Image.fromarray(good).save(inbox / "a.png")
    options = [f"--ok={tmp_path / 'ok'}", f"--bad={tmp_path / 'bad'}", f"--output={output}"]
    command = [sys.executable, "-m", "mocca_jax", "watch", str(untrained), str(inbox), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = json.loads(process.stdout.readline())
        Image.fromarray(bad).save(tmp_path / "b.png")
        os.replace(tmp_path / "b.png", inbox / "b.png")
        second = json.loads(process.stdout.readline())
        end = time.monotonic() + 10
        while os.listdir(inbox) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    finally:
        process.kill()
        process.communicate()
    assert [first["anomalous"], second["anomalous"]] == [False, True]
    assert os.listdir(tmp_path / "ok") == ["a.png"] and os.listdir(tmp_path / "bad") == ["b.png"]
    assert [json.loads(line) for line in output.read_text().splitlines()] == [first, second]
