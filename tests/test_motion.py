"""Unusual movement: means over time, statistics of flow by place, thresholds from blocks, whole runs."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import signal

from mocca_jax import Detector, config, pipeline
from mocca_jax.config import files
from mocca_jax.data import flow, footage, movement, planted
from mocca_jax.errors import UserError
from mocca_jax.method import blocks, motion, over_time, places
from mocca_jax.method.threshold import Calibration
from mocca_jax.method.timeline import Timeline
from mocca_jax.outputs import events, verdict
from mocca_jax.scoring.moments import Moment


@pytest.mark.parametrize("kernel", [over_time.mean(3), over_time.gaussian(3.0, ahead=8), over_time.gaussian(1.0, 0)])
@pytest.mark.parametrize("length", [1, 2, 30])
def test_means_over_time_are_the_same_while_a_video_runs(kernel, length):
    values = np.random.default_rng(0).normal(size=(length, 2))
    running, found = over_time.Running(kernel), []
    for part in np.array_split(values, min(length, 7)):
        found.append(running.push(part))
    found.append(running.end())
    whole = over_time.whole(values, kernel)
    assert (np.concatenate(found) == whole).all() and whole.shape == values.shape
    padded = np.concatenate([values[:1]] * kernel.before + [values] + [values[-1:]] * kernel.ahead)
    expected = [np.convolve(padded[:, n], kernel.weights[::-1], "valid") for n in range(2)]
    np.testing.assert_allclose(whole, np.stack(expected, -1), atol=1e-12)


def test_pieces_end_where_frames_are_missing():
    timeline = Timeline(["a", "b"], np.array([5, 4]), np.zeros(9, int), np.arange(9), 1, breaks=(2,))
    assert timeline.pieces.tolist() == [2, 3, 4]
    values = np.arange(9.0)
    found = over_time.of_pieces(values, timeline.pieces, over_time.mean(3))
    np.testing.assert_allclose(found[:2], [1 / 3, 2 / 3])
    np.testing.assert_allclose(found[5:], [16 / 3, 6, 7, 23 / 3])


def test_a_layer_whitens_by_half_its_place_and_half_all():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4, 3)) * [[1, 2, 0.5]] + np.arange(4)[None, :, None]
    sums = places.Sums(np.zeros((4, 3)))
    sums.add(x)
    layer = motion.fit(sums, (2, 2), floor=0.1)
    own = np.cov(x[:, 3].T, bias=True)
    means = x.mean(0)
    shared = np.mean([np.cov(x[:, p].T, bias=True) for p in range(4)], 0) + np.cov(means.T, bias=True)
    covariance = 0.5 * own + 0.5 * shared + 0.01 * np.eye(3)
    away = rng.normal(size=3)
    frame = np.zeros((1, 2, 2, 3), np.float32)
    frame[0, 1, 1] = 0.5 * means[3] + 0.5 * means.mean(0) + away
    expected = np.sqrt(away @ np.linalg.inv(covariance) @ away)
    assert motion.distances(layer, frame)[0, 1, 1] == pytest.approx(expected, rel=1e-4)


def test_sums_add():
    x = np.random.default_rng(1).normal(size=(7, 2, 3))
    one, two, both = (places.Sums(np.ones((2, 3))) for _ in range(3))
    one.add(x[:3])
    two.add(x[3:])
    both.add(x)
    np.testing.assert_allclose((one + two).covariance(), both.covariance())
    np.testing.assert_allclose((one + two).mean(), both.mean())


def test_boxes_are_means_with_repeated_edges():
    x = np.random.default_rng(2).normal(size=(1, 5, 6, 3)).astype(np.float32)
    padded = np.pad(x[0], ((2, 1), (2, 1), (0, 0)), "edge")
    expected = [[padded[i : i + 4, j : j + 4].mean((0, 1)) for j in range(6)] for i in range(5)]
    np.testing.assert_allclose(motion.boxed(x, 4)[0], expected, atol=1e-5)
    np.testing.assert_array_equal(motion.boxed(x, 1), x)


def drawn(count: int, speed: float, start: float = 10.0, size=(64, 96)) -> list[np.ndarray]:
    """A textured square that moves to the right on a textured ground."""
    rng = np.random.default_rng(3)
    ground = rng.integers(90, 130, size).astype(np.uint8)
    square = np.kron(rng.integers(0, 255, (8, 8)), np.ones((2, 2))).astype(np.uint8)
    frames = []
    for number in range(count):
        frame = ground.copy()
        left = round(start + speed * number) % (size[1] - 16)
        frame[24:40, left : left + 16] = square
        frames.append(frame)
    return frames


def test_flow_says_where_and_how_fast():
    frames = drawn(3, 2)
    found = [cells for cells, _ in flow.cells((frame, n == 0) for n, frame in enumerate(frames))]
    assert found[0].shape == (8, 12, 3) and found[0].dtype == np.float16
    np.testing.assert_array_equal(found[0], found[1])
    inside = found[2][3:5, 2]
    assert np.allclose(inside, [2, 0, 2], atol=0.5) and np.abs(found[2][:, 8:]).max() < 0.1


def test_a_camera_that_moves_moves_nothing():
    rng = np.random.default_rng(4)
    scene = np.asarray(Image.fromarray(rng.integers(0, 255, (40, 60)).astype(np.uint8)).resize((180, 120)))
    still, moved = scene[:96, :144], scene[2 : 2 + 96, 3 : 3 + 144]
    assert np.abs(flow.between(np.ascontiguousarray(still), np.ascontiguousarray(moved))).mean() < 0.1


def test_flow_begins_anew_where_frames_are_missing():
    frames = drawn(6, 2)
    begins = [True, False, False, True, False, True]
    found = list(flow.cells(zip(frames, begins, strict=True), threads=1))
    assert [begin for _, begin in found] == begins
    np.testing.assert_array_equal(found[3][0], found[4][0])
    assert not found[5][0].any()  # a lone frame


@pytest.mark.parametrize(("phi", "of_film"), [(0.9, 0.0), (0.98, 0.0), (0.9, 0.7)])
def test_blocks_keep_their_promise_on_scores_that_depend_on_each_other(phi, of_film):
    rng = np.random.default_rng(5)
    flagged, frames_flagged = [], []
    for _ in range(150):
        noise = rng.normal(size=(17, 350))
        films = signal.lfilter([1], [1, -phi], noise, axis=1)[:, 200:] * np.sqrt(1 - phi**2)
        films += of_film * rng.normal(size=(17, 1))
        maxima = blocks.maxima(films[:16].ravel(), np.full(16, 150))
        threshold = Calibration(maxima, 0.1).threshold
        flagged.append((blocks.maxima(films[16], np.array([150])) > threshold).mean())
        frames_flagged.append((films[16] > Calibration(films[:16].ravel(), 0.1).threshold).any())
    assert 0.05 < np.mean(flagged) < 0.15
    assert np.mean(frames_flagged) > 0.3  # what a threshold from frames does to films of six blocks


def moment(frame: int, score: float, **more) -> Moment:
    return Moment(frame, frame / 25, more.pop("begins", frame == 0), score, None, score > 1, more)


def test_events_are_joined_over_short_pauses_and_cut_where_a_video_begins_anew():
    scores = np.zeros(60)
    scores[[5, 6, 15, 40, 44, 45]] = [2, 4, 3, 5, 6, 2]
    found = list(events.of_video("a", (moment(n, s, begins=n in (0, 43), layer0=s) for n, s in enumerate(scores))))
    assert [(e.start, e.end, e.peak) for e in found] == [(5, 15, 6), (40, 40, 40), (44, 45, 44)]
    assert found[0].start_seconds == 0.2 and found[0].peak_seconds == 0.24 and found[0].part == "layer0"
    lines = events.table(found).splitlines()
    assert lines[0].startswith("video,start,end,peak") and lines[1].startswith("a,44,45,44,1.76")


@pytest.mark.parametrize("kind", ["slow", "still", "run", "large"])
def test_new_kinds_of_planted_anomalies(kind):
    frames = np.stack(drawn(60, 1))[..., None]
    made = planted.plant(frames, kind, np.random.default_rng(0))
    assert made.shape == frames.shape and made.dtype == np.uint8 and (made != frames).any()
    usual = np.abs(np.diff(frames.astype(int), axis=0)).mean()
    change = np.abs(np.diff(made.astype(int), axis=0)).mean()
    assert change < 0.8 * usual if kind == "slow" else change > usual if kind in ("run", "large") else True


def test_nothing_is_pasted_where_nothing_moves():
    still = np.full((30, 48, 64, 1), 100, np.uint8)
    assert planted.videos([still], ["run", "large"], 5, 0) == {}


def save(folder, frames):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on five films of a square that moves at two pixels a frame; in the test film it is three times as fast."""
    place = tmp_path_factory.mktemp("movement")
    for number in range(5):
        save(place / f"films/train/{number}", drawn(60, 2, start=7 * number))
    save(place / "films/test/fast", drawn(40, 2) + drawn(30, 6) + drawn(30, 2, start=40))
    chosen = files.load("video")
    chosen.data_dir, chosen.alpha = str(place / "films"), 0.1
    pipeline.run(chosen, place / "run")
    return place


def test_a_run_finds_what_is_faster(run):
    result = json.loads((run / "run/result.json").read_text())
    assert not result["failed"]
    assert result["samples"]["heldout_videos"] == 5 and result["samples"]["heldout_blocks"] == 10
    assert result["decision"]["promised_share"] == pytest.approx(1 / 11)
    kinds = result["statistics"]["kinds"]
    assert kinds["speed2"] > 0.95 and set(kinds) <= set(files.load("video").planted)
    found = Detector.load(run / "run").examine(run / "films/test/fast")
    assert found.anomalous[52:62].all() and not found.anomalous[:25].any()


def test_moments_say_where_and_equal_the_runs_scores_live_or_not(run):
    detector = Detector.load(run / "run")
    paths = sorted((run / "films/test/fast").glob("*.png"))
    frames = [footage.Frame(Image.open(path).convert("RGB"), n / 10, n == 0) for n, path in enumerate(paths)]
    live, whole = list(detector.moments(iter(frames), live=True)), list(detector.moments(run / "films/test/fast"))
    recorded = np.genfromtxt(run / "run/scores.csv", delimiter=",", names=True)["score"]
    for found in (live, whole):
        np.testing.assert_allclose([of.score for of in found], recorded, atol=1e-4)
    assert [of.seconds for of in live][:3] == [0, 0.1, 0.2] and whole[0].seconds is None
    (event,) = [e for e in events.of_video("fast", live) if e.end - e.start > 10]
    _, top, width, height = event.box
    assert top <= 32 <= top + height and width < 60 and height < 50
    assert event.box == next(e for e in events.of_video("fast", whole) if e.start == event.start).box


def test_a_film_is_judged_before_it_ends(run):
    detector, seen = Detector.load(run / "run"), []

    def frames():
        for number, frame in enumerate(drawn(30, 2)):
            seen.append(number)
            yield footage.Frame(Image.fromarray(frame), None, number == 0)

    first = next(detector.moments(frames(), live=True))
    assert first.frame == 0 and len(seen) == motion.LAG + 1


def test_one_long_video_is_cut_into_parts_and_promises_nothing(tmp_path):
    save(tmp_path / "films/a", drawn(120, 2))
    chosen = files.load("video")
    chosen.data_dir, chosen.planted = str(tmp_path / "films"), ()
    result = pipeline.run(chosen, tmp_path / "run")
    assert result["samples"]["heldout_videos"] == 1 and result["samples"]["heldout_blocks"] == 4
    assert "That is no promise" in " ".join(verdict.threshold(result))


def test_videos_of_another_camera_are_refused_by_name_or_taken_on_request(tmp_path):
    for number in range(5):
        frames = drawn(30, 2, start=7 * number)
        save(tmp_path / f"films/{number}", [frame[::-1, ::-1] for frame in frames] if number == 3 else frames)
    chosen = files.load("video")
    chosen.data_dir, chosen.planted = str(tmp_path / "films"), ()
    with pytest.raises(UserError, match=r"1 of 5 videos are of another camera than the others.*: 3\."):
        pipeline.run(chosen, tmp_path / "run")
    chosen.one_camera = False
    assert not pipeline.run(chosen, tmp_path / "run")["failed"]


def test_a_video_that_is_too_short_is_refused(tmp_path):
    save(tmp_path / "films/a", drawn(99, 2))
    chosen = files.load("video")
    chosen.data_dir = str(tmp_path / "films")
    with pytest.raises(UserError, match=r"a has 99 frames.*4 parts of at least 25"):
        pipeline.run(chosen, tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("encoder", "lenet", "encoder must be 'flow'"),
        ("heldout_fraction", 0.1, "heldout_fraction must be 0"),
        ("layers", (), "layers must name layers"),
        ("score", "distance", "is trained; name its stages"),
    ],
)
def test_settings_that_do_not_go_with_movement_are_refused(field, value, said):
    chosen = files.load("video")
    chosen[field] = value
    with pytest.raises(UserError, match=said):
        config.check(chosen)


def test_frames_of_their_own_size_are_for_movement_alone():
    chosen = files.load("video:mocca")
    chosen.frame_size = (0, 0)
    with pytest.raises(UserError, match="a network takes frames of one size"):
        config.check(chosen)


def test_units_are_means_over_neighbours_within_pieces():
    cells = np.random.default_rng(6).normal(size=(9, 2, 3, 3)).astype(np.float16)
    pieces = np.array([3, 4])
    units = movement.Averaged(cells, 2, pieces)[np.arange(7)]
    expected = over_time.of_pieces(cells[2:].astype(np.float64), pieces, motion.AVERAGED).astype(np.float32)
    np.testing.assert_array_equal(units, expected)
