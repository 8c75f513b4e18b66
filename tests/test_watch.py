"""`mocca watch`: films, folders that grow, streams over HTTP; against the scores of the whole video."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mocca_jax import Detector, pipeline
from mocca_jax.commands import main, watch
from mocca_jax.configs import video as video_config
from mocca_jax.data import films, footage, live, pace
from mocca_jax.data.arrivals import Arrived, Settings, Stamp, thinned
from mocca_jax.data.live_folder import Folder, _Numbers
from mocca_jax.data.live_stream import MOST
from mocca_jax.errors import UserError
from mocca_jax.outputs import events
from tests import runs
from tests.conftest import REPOSITORY, shared

SIZE = (64, 96)


def scene(seed, count=40, fast=(0, 0)):
    """A textured square that walks over a textured ground, a pixel a frame; three from frame fast[0] to fast[1]."""
    rng = np.random.default_rng(7)
    ground = ndimage.gaussian_filter(rng.uniform(0, 255, SIZE), 1.5) * 2 - 127
    square = ndimage.gaussian_filter(np.random.default_rng(seed).uniform(0, 255, (20, 20)), 1) * 3 - 255
    at, top, way = 5.0 + 7 * (seed % 5), 8 + 5 * (seed % 6), 1
    for frame in range(count):
        picture = ground.copy()
        picture[top : top + 20, round(at) : round(at) + 20] = square
        yield np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
        at += way * (3 if fast[0] <= frame < fast[1] else 1)
        if not 4 < at < SIZE[1] - 24:
            way, at = -way, min(max(at, 4.0), SIZE[1] - 24.0)


def saved(folder, pictures, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def walking(tmp_path_factory):
    """A finished run on four films in which a square walks."""

    def make(draft):
        for seed in range(4):
            saved(draft.with_name("watched") / str(seed), scene(seed))
        config = video_config.get_config()
        config.update(data_dir=str(draft.with_name("watched")), alpha=0.25, planted=())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOCCA_CACHE_DIR", str(draft.with_name("watch_cache")))
            pipeline.run(config, draft)

    return runs.once(shared(tmp_path_factory) / "walking", make)


@pytest.fixture(scope="session")
def detector(walking):
    return Detector.load(walking)


@pytest.fixture(scope="session")
def runner():
    """Frames in which the square runs, and stands out."""
    return list(scene(11, 70, (25, 45)))


def watched(detector, source, settings, stopped=lambda: False):
    """What is told, and the frames that were judged."""
    told, found, judge = [], [], watch.judged

    def kept(*given):
        for moment, stamp in judge(*given):
            found.append((moment, stamp))
            yield moment, stamp

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "judged", kept)
        watch.watch(detector, source, settings, told.append, stopped)
    return told, found


def same(detector, video, told, found):
    """Whether these are the scores and events of the whole video."""
    whole = list(detector.moments(video))
    assert [moment.frame for moment, _ in found] == list(range(len(whole)))
    np.testing.assert_allclose([m.score for m, _ in found], [m.score for m in whole], atol=1e-5)
    wanted = list(events.of_video("v", whole))
    assert wanted and [t["event"] for t in told] == ["begins", "ends"] * len(wanted)
    for begins, ends, event in zip(told[::2], told[1::2], wanted, strict=True):
        assert begins["start"] == event.start
        named = {name: ends[name] for name in ("start", "end", "peak", "part", "box")}
        assert named == {name: getattr(event, name) for name in named}
        assert ends["score"] == pytest.approx(event.score, abs=1e-5)
    json.dumps(told)


def test_a_film_is_judged_as_its_frames_are(detector, runner, tmp_path):
    films.write(tmp_path / "a.avi", runner, 25)
    settings = Settings()
    told, found = watched(detector, live.opened(str(tmp_path / "a.avi"), settings), settings)
    same(detector, tmp_path / "a.avi", told, found)
    assert all(25 <= event["peak"] <= 50 for event in told if event["event"] == "ends" and event["score"] > 20)


def test_a_folder_that_grows_is_judged_as_when_it_is_full(detector, runner, tmp_path):
    """Half are there at first; the others are written in two parts each, with what is no frame beside them."""
    folder, full = tmp_path / "grows", saved(tmp_path / "full", runner)
    saved(folder, runner[:35])
    (folder / "notes.txt").write_text("no frame")

    def write():
        for number in range(35, len(runner)):
            content = (full / f"{number}.png").read_bytes()
            with open(folder / f"{number}.png", "wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(0.25 if number == 40 else 0.005)
                file.write(content[len(content) // 2 :])

    writer = threading.Thread(target=write)
    writer.start()
    settings = Settings(patience=60)
    source = live.opened(str(folder), settings)
    told, found = watched(detector, source, settings, lambda: source._number == len(runner))
    writer.join()
    same(detector, full, told, found)
    peak = told[1]["peak"]
    assert told[1]["peak_file"] == f"{peak}.png"
    written = (folder / f"{peak}.png").stat().st_mtime
    assert watch.datetime.fromisoformat(told[1]["peak_time"]).timestamp() == pytest.approx(written, abs=2e-3)
    assert re.fullmatch(r"20..-..-..T..:..:......[+-]..:..", told[1]["peak_time"])


@contextmanager
def served(pictures, apart=0.004, ends=True, times=1):
    """The address of pictures as a film over HTTP, `apart` seconds; a client that comes back gets them anew."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for picture in pictures if len(asked) <= times else ():
                content = as_jpeg(picture)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                self.wfile.write(head.encode() + content + b"\r\n")
                self.wfile.flush()
                time.sleep(apart)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://me:secret@127.0.0.1:{server.server_port}/camera?token=secret"
    finally:
        server.shutdown()
        server.server_close()


def as_jpeg(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_a_stream_is_judged_as_its_frames_are(detector, runner):
    settings = Settings(once=True)
    with served(runner, apart=0.008, times=2) as address:
        pictures = [arrived.frame.picture for arrived in live.opened(address, settings).frames(lambda: False)]
        list(detector.moments(iter(pictures), live=True))  # what judges is compiled
        source = live.opened(address, settings)
        told, found = watched(detector, source, settings)
    np.testing.assert_allclose(np.stack(pictures), runner, atol=40)  # as JPEG
    assert source.dropped == 0 and pictures
    same(detector, iter(pictures), told, found)
    assert "secret" not in json.dumps(told) and told[0]["video"].startswith("http://127.0.0.1:")
    assert told[0]["start_seconds"] > 0 and told[0]["start_time"].startswith("20")


def paced(monkeypatch, seconds):
    """Shorter pauses between attempts."""
    monkeypatch.setattr("mocca_jax.data.live_stream.PAUSES", (seconds, 2 * seconds))


def test_a_stream_that_breaks_is_opened_again_and_begins_anew(runner, monkeypatch, caplog):
    paced(monkeypatch, 0.05)
    with served(runner[:6], times=2) as address:
        source = live.opened(address, Settings())
        found = list(islice(source.frames(lambda: False), 12))
    assert [a.frame.begins for a in found] == [n in (0, 6) for n in range(12)]
    assert [a.stamp.number for a in found] == list(range(12))
    assert "has ended after 6 frames. It is opened again in 0.05 s" in caplog.text and "secret" not in caplog.text


def test_what_cannot_be_opened_is_tried_again_with_growing_pauses_or_told_at_once(monkeypatch, caplog):
    paced(monkeypatch, 0.01)
    address, began = "http://127.0.0.1:9/none", time.monotonic()
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/none cannot be opened"):
        list(live.opened(address, Settings(once=True)).frames(lambda: False))
    source = live.opened(address, Settings(patience=0.05))
    stalls = list(source.frames(lambda: caplog.text.count("again in 0.02 s") > 2 and time.monotonic() - began > 0.5))
    assert stalls == [None] and caplog.text.count("It is opened again in 0.01 s") == 1
    with pytest.raises(UserError, match=r"camera 63 cannot be opened \(is it plugged in"):
        list(live.opened("63", Settings(once=True)).frames(lambda: False))


def test_a_stream_that_stalls_is_waited_for_and_begins_anew(runner, detector, caplog):
    class Slow(list):
        def __iter__(self):
            yield from self[:20]
            time.sleep(0.9)
            yield from self[20:]

    settings = Settings(patience=0.4, once=True)
    with served(Slow(runner[:40])) as address:
        _, found = watched(detector, live.opened(address, settings), settings)
    assert [m.frame for m, _ in found] == list(range(40))
    assert [m.frame for m, _ in found if m.begins] == [0, 20]
    assert "no frame for 0.4 s; it is waited for" in caplog.text and "frames again, after 1 s" in caplog.text


def test_what_comes_too_fast_is_dropped_in_stretches_and_counted(runner, monkeypatch):
    monkeypatch.setattr("mocca_jax.data.live_stream.MOST", 16)
    with served(runner * 3) as address:
        source = live.opened(address, Settings(once=True))
        found = []
        for arrived in source.frames(lambda: False):
            found.append(arrived)
            time.sleep(0.02 if len(found) < 24 else 0)
    numbers = [a.stamp.number for a in found]
    assert source.dropped == 3 * len(runner) - len(numbers) > 0
    gaps = [n > 0 and numbers[n] != numbers[n - 1] + 1 for n in range(len(numbers))]
    assert [a.frame.begins for a in found] == [n == 0 or gap for n, gap in enumerate(gaps)]
    assert sum(gaps) <= len(found) // 16  # whole stretches are left


def test_a_film_at_an_address_is_read_whole_and_once(runner, tmp_path):
    films.write(tmp_path / "a.avi", runner * 2, 25)
    content = (tmp_path / "a.avi").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = live.opened(f"http://127.0.0.1:{server.server_port}/a.avi", Settings())
        found = [time.sleep(0.002) or a for a in source.frames(lambda: False)]
        server.shutdown()
    assert len(found) == 2 * len(runner) > MOST and source.dropped == 0


def arriving(pictures, **stamps):
    for number, picture in enumerate(pictures):
        frame = footage.Frame(Image.fromarray(picture), None, number == 0)
        yield Arrived(frame, Stamp(number, 0.0, **stamps))


def test_every_second_frame_keeps_its_number(runner):
    assert [a.stamp.number for a in thinned(arriving(runner[:7]), 2)] == [0, 2, 4, 6]
    broken = [
        a if n != 3 else Arrived(footage.Frame(a.frame.picture, None, True), a.stamp)
        for n, a in enumerate(arriving(runner[:7]))
    ]
    assert [a and a.stamp.number for a in thinned([*broken, None], 2)] == [0, 2, 3, 5, None]


def of_folder(folder, patience):
    return list(Folder(folder, Settings(patience, once=True)).frames(lambda: False))


def test_a_folder_is_taken_in_natural_order_and_a_gap_begins_anew(runner, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mocca_jax.data.live_folder.SETTLES", 0.2)
    for number in (2, 3, 4, 5, 6, 7, 9, 10, 11):
        Image.fromarray(runner[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_bytes(b"no picture")
    (tmp_path / ".8.png").write_bytes(b"hidden")
    (tmp_path / "12.mp4").write_bytes(b"a film")
    os.utime(tmp_path / "2.png", (1_000_000_000, 1_000_000_000))
    found = of_folder(tmp_path, 0.5)
    assert [a.stamp.file for a in found] == [f"{n}.png" for n in (2, 3, 4, 6, 7, 9, 10, 11)]
    assert [a.stamp.file for a in found if a.frame.begins] == ["2.png", "6.png", "9.png"]
    assert found[0].stamp.clock == 1_000_000_000 and found[0].stamp.pace is None
    assert "only pictures directly in it are watched, not 12.mp4" in caplog.text
    assert "5.png cannot be read as an image" in caplog.text and "it is left out" in caplog.text


def test_a_recorder_that_goes_round_writes_new_frames_under_old_names(runner, tmp_path):
    saved(tmp_path, runner[:8])
    source, found = Folder(tmp_path, Settings(0.4, once=True)), []
    for arrived in source.frames(lambda: False):
        found.append(arrived)
        if len(found) == 8:
            for number in range(2):
                Image.fromarray(runner[20 + number]).save(tmp_path / f"{number}.png")
    assert [a.stamp.file for a in found[8:]] == ["0.png", "1.png"]
    assert [a.frame.begins for a in found[8:]] == [True, False]
    np.testing.assert_array_equal(np.asarray(found[8].frame.picture), runner[20])


def test_a_frame_of_another_size_begins_anew_and_the_watch_goes_on(runner, detector, tmp_path):
    saved(tmp_path, runner[:40])
    for number in range(20, 40):
        Image.fromarray(runner[number]).resize((192, 128)).save(tmp_path / f"{number}.png")
    settings = Settings(0.2, once=True)
    _, found = watched(detector, Folder(tmp_path, settings), settings)
    assert [m.frame for m, _ in found if m.begins] == [0, 20] and len(found) == 40


def test_numbers_that_follow_by_a_step_of_their_own():
    for names, wanted in {
        ("f_010", "f_020", "f_030", "f_040", "f_050", "f_060", "f_080", "f_090"): [6],
        ("t_1", "t_7", "t_9", "t_30", "t_31", "t_77", "t_90"): [],  # these count time
        ("a", "b", "c"): [],
        ("9", "8"): [1],
    }.items():
        numbers = _Numbers()
        assert [n for n, name in enumerate(names) if not numbers.follows(f"{name}.png")] == wanted, names


def test_another_rate_than_in_training_is_told_once_with_what_to_do():
    def told(rate, count=160, known=25.0, every=1):
        of = pace.Pace(known, every)
        return [said for n in range(count) if (said := of.push(n / rate, n == 0))]

    assert told(25) == told(22) == told(29) == [] == told(50, known=0.0)
    assert "come at 50 per second, in training it was 25" in told(50)[0] and len(told(50)) == 1
    assert told(50)[0].endswith("everything looks 2 times as slow. Use --every=2.")
    assert told(40)[0].endswith("Let the source send as many as in training.")
    assert told(75, every=2)[0].endswith("Use --every=6.")
    assert "2 times as fast" in told(12.5)[0]
    assert pace.Pace(25.0, 1).push(None, False) == ""


@pytest.fixture
def here(monkeypatch):
    """Commands run in this process, whose devices are set up."""
    monkeypatch.setattr(watch.parallel, "configure", lambda *_: None)


@pytest.mark.parametrize(
    "words, said",
    [
        (["nowhere"], "nowhere does not exist. What can be watched"),
        ([], "what to watch, such as"),
        ([".", "--patience=0"], "--patience=0.0: seconds, more than 0"),
        ([".", "--patience=nan"], "--patience=nan"),
        ([".", "--every=0"], "--every=0: a whole number"),
        ([".", "--alpha=0.001"], "alpha"),
        ([".", "--output=no/such/folder/a.jsonl"], "cannot be written"),
        ([".", "--once", "--patience=0.1"], "no frame came from ."),
    ],
)
def test_what_cannot_be_watched_is_told(walking, here, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"error: .*{re.escape(said)}"):
        main(["watch", str(walking), *words])


def test_only_runs_on_movement_watch_videos(finished, here, tmp_path):
    with pytest.raises(SystemExit, match="only runs on movement can watch"):
        main(["watch", str(finished / "clip"), str(tmp_path)])
    with pytest.raises(SystemExit, match="--ok, --bad and --unreadable are for runs on pictures"):
        main(["watch", str(finished / "clip"), str(tmp_path), f"--ok={tmp_path / 'ok'}"])


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_lines_go_to_a_file_too_after_what_is_there(walking, here, runner, tmp_path, capsys):
    saved(tmp_path / "frames", runner)
    (tmp_path / "events.jsonl").write_text('{"event": "older"}\n')
    with pytest.raises(SystemExit) as end:
        main(
            [
                "watch",
                str(walking),
                str(tmp_path / "frames"),
                "--once",
                "--patience=0.3",
                f"--output={tmp_path / 'events.jsonl'}",
            ]
        )
    out = lines(capsys.readouterr().out)
    assert end.value.code == 0 and [line["event"] for line in out[:2]] == ["begins", "ends"]
    assert lines((tmp_path / "events.jsonl").read_text()) == [{"event": "older"}, *out]


def test_a_signal_ends_the_watch_with_the_open_event_told(walking, runner, tmp_path):
    """It comes while the square runs."""
    saved(tmp_path / "frames", runner[:44])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "mocca_jax", "watch", str(walking), str(tmp_path / "frames"), "--patience=600"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for signum, of in {signal.SIGINT: one, signal.SIGTERM: other}.items():
            first = json.loads(of.stdout.readline())
            of.send_signal(signum)
            out, err = of.communicate(timeout=60)
            assert first["event"] == "begins" and of.returncode == 128 + signum, err
            told = [first, *lines(out)]
            assert [line["event"] for line in told] == ["begins", "ends"] * (len(told) // 2)
            assert first["start"] <= told[1]["end"] <= 43 and "Traceback" not in err and "frames judged" in err


def test_what_is_held_does_not_grow(detector, runner):
    """The teller and the judge, over many frames with events that end and one that goes on."""
    told = []
    teller = watch.Teller("v", told.append)
    moments = list(detector.moments(iter([Image.fromarray(p) for p in runner])))
    largest = 0
    for number in range(30):
        for moment in moments:
            frame = moment.frame + number * len(moments)
            teller.push(
                watch.replace(moment, frame=frame, begins=False, anomalous=moment.anomalous or number > 10),
                Stamp(frame, 0.0),
            )
            largest = max(largest, len(teller._stamps))
    assert largest <= 3 and told[-1]["event"] == "begins"
