"""Films of judged videos, and the command that makes them."""

import numpy as np
import pytest
from PIL import Image

from mocca_jax import Detector
from mocca_jax.commands import film as command
from mocca_jax.data import films, footage
from mocca_jax.errors import UserError
from mocca_jax.outputs.events import Event
from mocca_jax.report import film
from tests import runs


def grey(count, size=(400, 200)):
    return (footage.Frame(Image.new("RGB", size, (128, 128, 128)), None, number == 0) for number in range(count))


def judged(scores, **more):
    scores = np.array(scores, float)
    return film.Judged(scores, scores > 5, 5.0, **({"labels": np.full(len(scores), -1)} | more))


def marked(page, color, rows=slice(None)):
    return int((page[rows] == color).all(-1).sum())


def test_a_film_shows_the_curve_up_to_the_frame_and_flags_it(tmp_path):
    made = list(film.draw(grey(6), judged([0, 1, 2, 9, 9, 1], labels=np.array([0, 0, 0, 1, 1, 0])), "v"))
    assert [page.shape for page in made] == [(200 + film.CURVE, 400, 3)] * 6
    corners = [tuple(int(c) for c in page[199, -1]) for page in made]
    assert [corner == film.RED for corner in corners] == [False, False, False, True, True, False]
    drawn = [marked(page, film.INK, slice(200, None)) for page in made]
    assert drawn[0] < drawn[2] < drawn[4]
    assert marked(made[0], film.LABELLED, slice(200, None)) > 400
    assert films.write(tmp_path / "f.gif", made, 10) == 6
    with Image.open(tmp_path / "f.gif") as gif:
        assert gif.n_frames == 6
    with pytest.raises(UserError, match=r"\.gif, \.mp4 or \.avi"):
        films.write(tmp_path / "f.txt", made, 10)


def test_the_unusual_place_is_framed_while_it_is_known_and_events_stand_on_the_axis():
    event = Event("v", 3, 4, 3, None, None, None, 9.0, 0.1, "layer0", (100, 50, 20, 20))
    of = judged([0, 1, 2, 9, 9, 1], boxes={3: (100, 50, 20, 20)}, events=[event])
    made = list(film.draw(grey(6), of, "v"))
    inside = [bool((page[30:90, 80:140] != 128).any()) for page in made]
    assert inside == [False, False, False, True, False, False]
    axis = [tuple(int(c) for c in made[0][-2, x]) == film.RED for x in (100, 235, 310, 380)]
    assert axis == [False, True, True, False]


@pytest.mark.parametrize("size, shown", [((2000, 1000), (960, 480)), ((500, 301), (500, 302)), ((128, 96), (384, 288))])
def test_pictures_keep_their_size_within_bounds_and_both_sides_are_even(size, shown):
    (page,) = film.draw(grey(1, size), judged([3.0]), "v")
    assert page.shape[:2] == (shown[1] + film.CURVE, shown[0])


def test_no_more_than_one_frame_is_asked_for_at_a_time():
    asked = []

    def counted():
        for frame in grey(50):
            asked.append(frame)
            yield frame

    for number, _ in enumerate(film.draw(counted(), judged(np.zeros(50)), "v"), 1):
        assert len(asked) == number


def test_a_test_video_by_its_name_has_the_scores_of_the_run_and_its_labels(movement, crossings, tmp_path, monkeypatch):
    drawn, draw = [], film.draw
    monkeypatch.setattr(film, "draw", lambda frames, of, title: (drawn.append((of, title)), draw(frames, of, title))[1])
    count, found = command.make(movement, "Test002", tmp_path / "a.avi")
    (of, title) = drawn.pop()
    assert (count, title) == (60, "Test002") and found and found[0].video == "Test002"
    rows = [row for row in runs.rows_of(movement / "scores.csv") if row["sample"].startswith("Test002/")]
    np.testing.assert_allclose(of.scores, [float(row["score"]) for row in rows], rtol=1e-5)
    assert of.labels.tolist() == [1] * 60 and of.threshold == Detector.load(movement).threshold
    assert set(of.boxes) == set(np.flatnonzero(of.anomalous).tolist())
    every = [np.asarray(frame.picture) for frame in footage.of(tmp_path / "a.avi")]
    assert len(every) == 60 and every[0].shape == (288 + film.CURVE, 384, 3)
    given = crossings / "Test/Test002"
    assert command.make(movement, str(given), tmp_path / "b.avi")[0] == 60
    of, title = drawn.pop()
    assert of.labels.tolist() == [-1] * 60 and title == "Test002"


def test_a_film_file_is_drawn_at_its_own_pace(movement, tmp_path, monkeypatch):
    films.write(tmp_path / "in.avi", list(runs.crossing(True, seed=30, count=40)), 10)
    whole, rates, write = footage.of, [], films.write

    def timed(source, depth=0):
        return (footage.Frame(f.picture, number / 25, f.begins) for number, f in enumerate(whole(source, depth)))

    def noted(path, pictures, rate):
        rates.append(rate)
        return write(path, pictures, rate)

    monkeypatch.setattr(films, "write", noted)
    command.make(movement, str(tmp_path / "in.avi"), tmp_path / "out.avi", 7)
    monkeypatch.setattr(footage, "of", timed)
    count, found = command.make(movement, str(tmp_path / "in.avi"), tmp_path / "out.avi")
    assert count == 40 and rates == [7, pytest.approx(25)]
    assert found[0].peak_seconds == found[0].peak / 25


def test_the_command_prints_the_events(movement, tmp_path, capsys):
    command.main([str(movement), "Test002", str(tmp_path / "a.avi"), "--quiet"])
    said = capsys.readouterr().out.splitlines()
    assert "Test002, most at frame" in said[1] and said[-1] == f"60 frames written to {tmp_path / 'a.avi'}"
    command.main([str(movement), "Test001", str(tmp_path / "b.avi"), "--quiet"])
    assert capsys.readouterr().out.splitlines()[0] == "nothing unusual"


def test_the_papers_network_has_films_without_boxes(finished, tmp_path):
    rows = runs.rows_of(finished / "clip/scores.csv")
    video = rows[-1]["sample"].partition("/")[0]
    count, found = command.make(finished / "clip", video, tmp_path / "a.avi")
    assert count == sum(row["sample"].startswith(f"{video}/") for row in rows)
    assert all(event.box is None for event in found)


def test_what_cannot_be_drawn_is_said_before_anything_is_scored(movement, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "moments", None)
    films.write(tmp_path / "a.avi", list(runs.crossing(count=3)), 10)
    wrong = {
        "holds no run": (tmp_path, "v", "f.gif"),
        "no run on videos": (finished / "object", "v", "f.gif"),
        "Test001, Test002": (movement, "v", "f.gif"),
        r"written as \.mp4": (movement, "Test001", "f.txt"),
        "is the video itself": (movement, str(tmp_path / "a.avi"), "a.avi"),
    }
    for said, (run, video, output) in wrong.items():
        with pytest.raises(UserError, match=said):
            command.make(run, video, tmp_path / output)
