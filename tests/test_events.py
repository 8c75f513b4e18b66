"""Events of videos: lists that a person can work through, by `predict` and by a run."""

import csv
import json

import numpy as np
import pytest

from mocca_jax import Detector
from mocca_jax.commands import predict
from mocca_jax.data import films, footage
from mocca_jax.errors import UserError
from mocca_jax.outputs import events, predictions
from mocca_jax.scoring.moments import Moment
from tests import runs


def moment(frame, score, begins=False, seconds=None, part="layer0", box=None):
    return Moment(
        frame, seconds, begins, score, 0.01, score > 5, {"slow": 0.0, part: score}, box if score > 5 else None
    )


def of(scores, begins=(0,)):
    return list(events.of_video("v", (moment(i, score, i in begins) for i, score in enumerate(scores))))


def test_frames_that_are_near_each_other_are_one_event_with_what_is_true_of_its_peak():
    gap = [0.0] * events.GAP
    (event,) = of([0, 6, 9, 7, *gap[1:], 8, 0])
    assert (event.start, event.end, event.peak, event.score) == (1, 4 + len(gap) - 1, 2, 9)
    assert [(e.start, e.end, e.peak) for e in of([6, 7, *gap, 8])] == [(0, 1, 1), (14, 14, 14)]
    assert [(e.start, e.end) for e in of([6, 7, 8, 9], begins=(0, 2))] == [(0, 1), (2, 3)]
    assert of([1, 2, 3]) == []


def test_the_loudest_part_is_furthest_above_the_usual_and_networks_have_none():
    def loudest(**parts):
        return events.at("v", Moment(0, None, True, 1.0, None, None, parts)).part

    assert loudest(layer0=0.5, layer1=2.0, slow=1.2) == "layer1"
    assert loudest(layer0=1.0, slow=2.0) == "slow"
    assert loudest(layer1=3.0, one_class=1.0) == loudest(layer1=3.0, reconstruction=900.0) == loudest() == ""


def test_highest_frames_lie_apart_within_a_video_but_not_across():
    scores = np.array([9.0, 8, 1, 7, 10, 2, 3])
    assert events.peaks(scores, np.array([4, 3]), 10, 2) == [4, 0, 3, 6]
    assert events.peaks(scores, np.array([4, 3]), 2, 3) == [4, 0]
    assert events.peaks(scores, np.array([7]), 10, 100) == [4]


def test_lines_for_a_terminal_name_time_place_and_what_is_left_out():
    found = [events.at("cam", moment(9, 6.0, seconds=61.25, box=(4, 5, 6, 7))), events.at("cam", moment(50, 8.0))]
    head, first, second = events.lines(found, 2)
    *_, rest = events.lines(found, 1)
    assert "from" in head and "frame 50" in first and " 8 " in first
    assert "1:01.2" in second and "6x7 pixels from 4,5" in second and second.rstrip().count("cam") == 1
    assert rest == "and 1 more, less anomalous"


@pytest.fixture(scope="module")
def films_of(tmp_path_factory):
    """Two films, of which the second has one that is fast in its second half."""
    folder = tmp_path_factory.mktemp("films")
    films.write(folder / "calm.avi", list(runs.crossing(seed=20, count=40)), 10)
    films.write(folder / "fast.avi", [*runs.crossing(seed=21, count=30), *runs.crossing(True, seed=21, count=40)], 10)
    return folder


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predict_leaves_the_events_of_all_videos_the_most_anomalous_first(movement, films_of, tmp_path):
    done, flagged, failed = predict.predict(movement, [str(films_of)], tmp_path / "out")
    assert (done, failed) == (110, 0) and flagged > 0
    detector = Detector.load(movement)
    wanted = []
    for path in sorted(films_of.glob("*.avi")):
        wanted += events.of_video(str(path), detector.moments(path))
    found = table(tmp_path / "out" / predictions.EVENTS)
    assert [row["peak"] for row in found] == [str(e.peak) for e in sorted(wanted, key=lambda e: -e.score)]
    assert found[0]["video"].endswith("fast.avi") and int(found[0]["peak"]) >= 25
    assert list(found[0]) == [*events.COLUMNS, *events.BOX]
    assert all(0 <= int(found[0][side]) < 128 for side in events.BOX)
    rows = table(tmp_path / "out" / predictions.TABLE)
    assert list(rows[0])[:4] == ["path", "frame", "seconds", "score"]
    assert sum(row["anomalous"] == "True" for row in rows) == flagged
    assert {row["left"] == "" for row in rows if row["anomalous"] == "False"} == {True}


def test_events_are_the_same_after_a_stop_and_after_a_video_changed(movement, films_of, tmp_path, monkeypatch):
    predict.predict(movement, [str(films_of)], tmp_path / "whole")
    wanted = (tmp_path / "whole" / predictions.EVENTS).read_text()
    monkeypatch.setattr(predictions, "HELD", 7)  # rows are written before a video is over
    count, whole = [], Detector.moments

    def stopped(self, video):
        for moment in whole(self, video):
            count.append(1)
            if len(count) == 75:
                raise KeyboardInterrupt
            yield moment

    with monkeypatch.context() as patch:
        patch.setattr(Detector, "moments", stopped)
        with pytest.raises(KeyboardInterrupt):
            predict.predict(movement, [str(films_of)], tmp_path / "out")
    assert not (tmp_path / "out" / predictions.EVENTS).exists()
    assert len((tmp_path / "out" / predictions.ROWS).read_text().splitlines()) > 40
    assert predict.predict(movement, [str(films_of)], tmp_path / "out")[0] == 110
    assert (tmp_path / "out" / predictions.EVENTS).read_text() == wanted


def test_a_video_that_breaks_off_leaves_no_rows_and_no_events(movement, films_of, tmp_path, monkeypatch):
    whole = footage.of

    def torn(source, depth=0):
        for number, frame in enumerate(whole(source, depth)):
            if number == 60:
                raise UserError("torn")
            yield frame

    monkeypatch.setattr(predictions, "HELD", 7)
    monkeypatch.setattr(predict.footage, "of", torn)
    assert predict.predict(movement, [str(films_of)], tmp_path / "out")[::2] == (40, 1)
    assert {row["path"] for row in table(tmp_path / "out" / predictions.TABLE)} == {str(films_of / "calm.avi")}


def test_the_terminal_gets_events_of_videos_not_frames(movement, films_of, capsys, monkeypatch):
    monkeypatch.setattr(predict.parallel, "configure", lambda *given: None)  # devices of this process are chosen
    with pytest.raises(SystemExit) as ended:
        predict.main([str(movement), str(films_of), "--quiet"])
    assert not ended.value.code
    said = capsys.readouterr().out.splitlines()
    assert len(said) < 15 and "fast.avi, most at" in said[1] and "pixels from" in said[1]
    assert "--output" in said[-2] and "110 scored" in said[-1] and "event(s)" in said[-1]
    with pytest.raises(SystemExit):
        predict.main([str(movement), str(films_of / "calm.avi"), "--quiet"])
    assert capsys.readouterr().out.splitlines()[0] == "nothing unusual"


def test_what_stands_still_is_an_event_of_the_whole_picture(movement):
    still = np.repeat(runs.crossing(seed=22, count=1), 40, 0)
    noisy = (still + np.random.default_rng(0).normal(0, 1.5, still.shape)).clip(0, 255).astype(np.uint8)
    found = list(events.of_video("v", Detector.load(movement).moments(noisy)))
    assert [(event.part, event.box) for event in found] == [("slow", None)]


def test_seconds_stand_in_rows_where_a_video_tells_them(movement, films_of, tmp_path, monkeypatch):
    whole = footage.of

    def timed(source, depth=0):
        for number, frame in enumerate(whole(source, depth)):
            yield footage.Frame(frame.picture, number / 10, frame.begins)

    monkeypatch.setattr(predict.footage, "of", timed)
    predict.predict(movement, [str(films_of / "fast.avi")], tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / predictions.ROWS).read_text().splitlines()]
    assert [row["seconds"] for row in rows] == [number / 10 for number in range(70)]
    event = table(tmp_path / "out" / predictions.EVENTS)[0]
    assert float(event["peak_seconds"]) == int(event["peak"]) / 10


def test_the_papers_network_has_events_without_boxes(finished, tmp_path, rng):
    flicker = rng.integers(0, 256, (30, 48, 48, 3), np.uint8)
    films.write(tmp_path / "film.avi", iter(flicker), 10)
    _, flagged, _ = predict.predict(finished / "clip", [str(tmp_path / "film.avi")], tmp_path / "out")
    found = table(tmp_path / "out" / predictions.EVENTS)
    assert bool(flagged) == bool(found) and all(row["left"] == "" for row in found)
