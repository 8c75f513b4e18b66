"""What a run on videos leaves to look at: events of its test videos, pictures, and the page that shows them."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector, pipeline
from mocca_jax.data import films, footage, stills
from mocca_jax.outputs import events, table
from mocca_jax.report import moments
from mocca_jax.report import page as report
from mocca_jax.report.stills import RED, fitted, framed
from tests import runs


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cards(text):
    """Captions of the sheet."""
    sheet = text.partition("<h2>Moments worth a look</h2>")[2].partition("<h2>")[0]
    return sheet, re.findall(r"<figcaption>(.*?)</figcaption>", sheet)


def test_a_run_lists_the_events_that_its_detector_finds_in_the_test_videos(movement, crossings):
    detector, wanted = Detector.load(movement), []
    for video in ("Test001", "Test002"):
        wanted += events.of_video(video, detector.moments(crossings / "Test" / video))
    assert wanted and {event.video for event in wanted} == {"Test002"}
    found = rows_of(movement / moments.TABLE)
    assert list(found[0]) == [*events.COLUMNS, *events.BOX]
    for row, event in zip(found, sorted(wanted, key=lambda event: -event.score), strict=True):
        assert (row["video"], int(row["peak"]), row["part"]) == (event.video, event.peak, event.part)
        assert float(row["score"]) == pytest.approx(event.score)
        assert tuple(int(row[side]) for side in events.BOX) == event.box


def test_the_page_shows_them_in_words_of_movement(movement):
    text = (movement / report.FILE).read_text()
    sheet, captions = cards(text)
    found = rows_of(movement / moments.TABLE)
    assert len(captions) == min(len(found), moments.MOST) and sheet.count("data:image/jpeg") == len(captions)
    assert captions[0].startswith(f"Test002, frame {found[0]['peak']}, ")
    assert "p-value" in captions[0] and "labelled anomalous" in captions[0] and "pixels" in captions[0]
    assert "Above the threshold" in sheet and moments.TABLE in sheet
    seen = text.partition("<details>")[0]
    assert "Which kinds of anomalies it sees" in seen and "everything stands still" in seen
    assert not re.search(r"defect|layer\d|picture of|worse than guessing", re.sub(r'src="[^"]*"', "", seen))
    assert "The statistics of movement decide" in seen and "240 normal frames" in seen
    said = table.text(json.loads((movement / "result.json").read_text()))
    assert "defect" not in said and "The statistics of movement decide" in said
    assert report.write(movement).read_text() == text  # from the files of the run alone


def test_the_picture_of_a_moment_is_its_frame_with_the_box(movement, crossings):
    first = rows_of(movement / moments.TABLE)[0]
    with Image.open(movement / moments.FOLDER / moments.picture(0)) as drawn:
        assert drawn.size == (256, 192)
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    with Image.open(crossings / f"Test/Test002/{int(first['peak']):03d}.png") as frame:
        plain = np.asarray(frame.convert("RGB").resize((256, 192), Image.Resampling.BICUBIC)).astype(int)
    red = (pixels[..., 0] - pixels[..., 1] > 100) & (plain[..., 0] - plain[..., 1] < 30)
    rows, columns = np.nonzero(red)
    left, top, width, height = (2 * int(first[side]) for side in events.BOX)
    assert abs(columns.min() - max(left - 6, 0)) <= 2 and abs(columns.max() - min(left + width + 4, 255)) <= 2
    assert abs(rows.min() - max(top - 6, 0)) <= 2 and abs(rows.max() - min(top + height + 4, 191)) <= 2
    assert np.median(np.abs(pixels - plain)) < 10


@pytest.mark.parametrize("count", [2, 4])
def test_without_test_videos_the_highest_of_the_normal_ones_are_shown(tmp_path, count, monkeypatch):
    """Of two videos parts are compared; they are called by the videos' names, with the numbers of their frames."""
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))
    for seed in range(count):
        length = 120 if count < 4 else 60
        films.write(tmp_path / f"films/cam{seed}.avi", list(runs.crossing(seed=seed, count=length)), 10)
    run = tmp_path / "run"
    result = pipeline.run(runs.movement(tmp_path / "films", planted=()), run)
    assert not result["failed"] and not (run / moments.TABLE).exists()
    sheet, captions = cards((run / report.FILE).read_text())
    assert "really normal" in sheet and 4 <= len(captions) <= moments.MOST
    found = json.loads((run / moments.FOLDER / moments.LIST).read_text())
    scores = [moment["score"] for moment in found["shown"]]
    assert scores == sorted(scores, reverse=True) and found["kind"] == moments.NORMAL
    heldout = rows_of(run / "scores_heldout.csv")
    assert scores[0] == pytest.approx(max(float(row["score"]) for row in heldout))
    best = max(heldout, key=lambda row: float(row["score"]))["sample"]
    name, _, frame = best.rpartition("/")
    part = int(name.partition(", part ")[2] or 1) - 1
    assert found["shown"][0]["video"] == name.partition(",")[0]
    assert found["shown"][0]["peak"] == int(frame) + part * (30 if count < 4 else 0)
    assert captions[0].startswith(f"{found['shown'][0]['video']}, frame {found['shown'][0]['peak']}, ")
    assert "labelled" not in sheet


def test_the_papers_network_leaves_events_and_frames_without_boxes(finished):
    run = finished / "clip"
    text = (run / report.FILE).read_text()
    sheet, captions = cards(text)
    assert captions and sheet.count("data:image/jpeg") == len(captions) and "Framed in red" not in sheet
    assert "Cells" not in sheet
    for row in rows_of(run / moments.TABLE):
        assert row["left"] == ""


def test_single_frames_of_films_and_files_are_those_of_the_whole(tmp_path):
    frames = runs.crossing(seed=3, count=12)
    films.write(tmp_path / "a.avi", list(frames), 10)
    runs.save_frames(tmp_path / "frames", frames)
    every = [np.asarray(frame.picture) for frame in footage.of(tmp_path / "a.avi")]
    sources = (tmp_path / "a.avi", every), (sorted((tmp_path / "frames").iterdir()), frames), (frames, frames)
    for source, wanted in sources:
        found = dict(stills.at(source, [7, 2, 7, 11]))
        assert list(found) == [2, 7, 11]
        for number, picture in found.items():
            np.testing.assert_array_equal(np.asarray(picture), wanted[number])


@pytest.mark.parametrize("box", [None, (0, 0, 1, 1), (30, 10, 10, 10), (0, 0, 40, 20)])
def test_a_frame_in_red_stays_in_the_picture(box):
    drawn = framed(Image.new("L", (40, 20), 90), box, fitted((40, 20), 100, 200))
    assert drawn.size == (120, 60)
    assert (np.asarray(drawn) == RED).all(-1).any() == (box is not None)
