"""Videos as they come: times, missing frames, turned, cut-off and joined films; frames that begin anew."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from mocca_jax.data import footage, incoming
from mocca_jax.data.ticks import ticks
from mocca_jax.errors import UserError

SIZE = 48, 64  # rows and columns
STEPS = [0.1] * 10 + [0.2] * 9 + [9.0] + [0.1] * 10  # seconds between the frames of an uneven film


def write(path, count=30, code="MJPG", rate=10, seed=0):
    """A film of noise, which does not get small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    film = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), rate, SIZE[::-1])
    for _ in range(count):
        film.write(rng.integers(0, 256, (*SIZE, 3), np.uint8))
    film.release()
    return path


def uneven(path, folder, steps):
    """A film whose frames stand at these distances, in tenths of a second: packets of an even one, timed anew."""
    even = cv2.VideoCapture(str(write(folder / "even.avi", len(steps) + 1)), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    code = cv2.VideoWriter_fourcc(*"MJPG")
    film = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 10, SIZE[::-1], [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1])
    for time in np.cumsum([0, *steps]):
        film.set(cv2.VIDEOWRITER_PROP_PTS, round(10 * time))
        film.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, 1)
        film.write(even.read()[1])
    film.release()
    return path


def boxes(content):
    """The outer boxes of an MP4 file, by name."""
    found, start = {}, 0
    while start < len(content):
        size, name = struct.unpack(">I4s", content[start : start + 8])
        found[name] = bytearray(content[start : start + size])
        start += size
    return found


def turned(path, degrees, folder):
    """A film as a phone writes it that is held on its side: an angle in the track's header, clockwise."""
    content = bytearray(write(folder / "upright.mp4", code="mp4v").read_bytes())
    sine, cosine = {90: (1, 0), 180: (0, -1), 270: (-1, 0)}[degrees]
    start = content.index(b"tkhd") + 44
    one = 1 << 16
    matrix = (cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    content[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    return path


def index_first(path, folder):
    """An MP4 whose index stands before its frames, as for the web: it can be read when it is cut off."""
    parts = boxes(write(folder / "last.mp4", code="mp4v").read_bytes())
    index = parts.pop(b"moov")
    start = index.index(b"stco") + 8
    for place in range(start + 4, start + 4 + 4 * struct.unpack(">I", index[start : start + 4])[0], 4):
        offset = struct.unpack(">I", index[place : place + 4])[0]
        index[place : place + 4] = struct.pack(">I", offset + len(index))
    path.write_bytes(parts.pop(b"ftyp") + index + b"".join(parts.values()))
    return path


def counted(path, said):
    """The AVI, whose header now says another number of frames."""
    content = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 24), (b"strh", 40)):
        place = content.index(name) + offset
        content[place : place + 4] = struct.pack("<I", said)
    path.write_bytes(content)
    return path


def cut(path, share=2 / 3):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def look(source, **how):
    """Frames, their times, the numbers of those that begin, and faults."""
    faults = []
    frames = list(footage.of(source, faults=faults, **how))
    begins = [number for number, frame in enumerate(frames) if frame.begins]
    return frames, [frame.seconds for frame in frames], begins, [(of.kind, of.text) for of in faults]


@pytest.mark.parametrize(
    "suffix, code",
    [("avi", "MJPG"), ("avi", "XVID"), ("mp4", "mp4v"), ("mov", "mp4v"), ("mkv", "MJPG"), ("wmv", "WMV2")],
)
def test_a_sound_film_has_even_times_and_no_fault(suffix, code, tmp_path):
    frames, seconds, begins, faults = look(write(tmp_path / f"a.{suffix}", code=code, rate=5))
    np.testing.assert_allclose(seconds, np.arange(30) / 5, atol=1e-6)
    assert (begins, faults, frames[0].picture.size) == ([0], [], SIZE[::-1])


def test_uneven_times_are_the_containers_and_a_jump_begins_anew(tmp_path, caplog):
    path = uneven(tmp_path / "a.mkv", tmp_path, STEPS)
    frames, seconds, begins, faults = look(path)
    np.testing.assert_allclose(seconds, np.cumsum([0, *STEPS]), atol=1e-6)
    assert begins == [0, 20] and len(frames) == 31
    assert faults == [("gap", "jumps in time before frame 20 (at 11.8 s)")]
    assert f"{path} jumps in time" in caplog.text


def test_slow_films_and_short_pauses_do_not_jump(tmp_path):
    for name, steps in (
        ("slow", [2.0] * 12),
        ("pause", [0.1] * 5 + [0.4] + [0.1] * 5),
        ("slower", [0.1] * 5 + [0.3] * 9),
    ):
        assert look(uneven(tmp_path / f"{name}.mkv", tmp_path, steps))[2:] == ([0], [])


@pytest.mark.parametrize("suffix, code", [("mkv", "MJPG"), ("mpg", "PIM1")])
def test_two_recordings_in_one_file_begin_anew_and_time_goes_on(suffix, code, tmp_path):
    path = write(tmp_path / f"a.{suffix}", code=code, rate=25)
    path.write_bytes(2 * path.read_bytes())
    frames, seconds, begins, faults = look(path)
    assert len(frames) == 60 and begins == [0, 30]
    assert (np.diff(seconds) > 0).all() and seconds[-1] == pytest.approx(59 / 25, abs=0.1)
    assert [kind for kind, _ in faults] == ["gap"] and "start anew before frame 30" in faults[0][1]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_film_of_a_phone_held_on_its_side_is_turned_upright(degrees, tmp_path):
    plain = [np.asarray(frame.picture, float) for frame in footage.of(write(tmp_path / "plain.mp4", code="mp4v"))]
    frames = look(turned(tmp_path / "a.mp4", degrees, tmp_path))[0]
    rows, columns = SIZE if degrees == 180 else SIZE[::-1]
    assert frames[0].picture.size == (columns, rows) and len(frames) == 30
    for before, frame in zip(plain, frames, strict=True):
        wanted = np.rot90(before, -degrees // 90)
        assert np.abs(np.asarray(frame.picture) - wanted).mean() < 2


def test_cut_off_films_are_used_as_far_as_they_go_and_named(tmp_path, caplog):
    made = {
        "a.avi": write(tmp_path / "a.avi"),
        "a.mkv": write(tmp_path / "a.mkv"),
        "a.mp4": index_first(tmp_path / "a.mp4", tmp_path),
        "uneven.mkv": uneven(tmp_path / "uneven.mkv", tmp_path, STEPS),
    }
    for name, path in made.items():
        whole = look(path)
        frames, seconds, _, faults = look(cut(path))
        assert 10 <= len(frames) <= 21, name
        np.testing.assert_allclose(seconds, whole[1][: len(frames)], atol=1e-6)
        assert faults[0][0] == "header" and f"ends after {len(frames)} of " in faults[0][1], name
        assert f"{path} ends after {len(frames)} of" in caplog.text
        assert ("header", faults[0][1]) not in whole[3]


def test_an_mp4_that_is_cut_off_before_its_index_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"a\.mp4: no frame of it can be read"):
        look(cut(write(tmp_path / "a.mp4", code="mp4v")))


@pytest.mark.parametrize(
    "said, text",
    [
        (31, "ends after 30 of 31 frames: is it cut off?"),
        (300, "ends after 30 of 300 frames: is it cut off?"),
        (10, "holds 30 frames, and its header says 10"),
        (0, None),
    ],
)
def test_a_header_with_a_wrong_number_of_frames_is_named_and_all_frames_are_used(said, text, tmp_path):
    frames, _, begins, faults = look(counted(write(tmp_path / "a.avi"), said))
    assert len(frames) == 30 and begins == [0]
    assert faults == ([("header", text)] if text else [])


def seen(said, rate=10):
    """Seconds and starts of `ticks`."""
    found = list(ticks(iter(said), rate))
    assert len(found) == len(said)
    seconds = [None if tick.seconds is None else round(tick.seconds, 6) for tick in found]
    return seconds, [number for number, tick in enumerate(found) if tick.begins]


@pytest.mark.parametrize(
    "said, rate, seconds, begins",
    [
        ([], 10, [], []),
        ([5.0], 0, [0.0], [0]),
        ([5.0, 5.1, 5.2], 0, [0.0, 0.1, 0.2], [0]),
        ([0.0, 0.0, 0.0, 0.0], 10, [0.0, 0.1, 0.2, 0.3], [0]),
        ([0.0, 0.0, 0.0], 0, [0.0, None, None], [0]),
        ([0.0, 0.0, 0.0], 90000, [0.0, None, None], [0]),
        ([0.0, 0.1, 0.2, 0.0, 0.4, 0.5], 10, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [0]),  # one is not said
        ([0.0, 0.1, 0.2, 0.15, 0.4], 0, [0.0, 0.1, 0.2, 0.3, 0.4], [0]),  # one goes back
        ([0.0, 0.1, 0.2, 99.0, 0.4, 0.5], 10, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [0]),  # one is far ahead
        (
            [0.0, 1.0, 2.0, 0.0, 1.0, 2.0],
            1,
            [0.0, 1.0, 2.0, 2.0 + 1.0, 4.0, 5.0],
            [0],
        ),  # too few to be told from glitches
        ([0.0, 0.5, 1.0, 1.5, 2.0, 0.0, 0.5], 2, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], [0, 5]),
        ([0.0, 0.1, 0.2, 0.9, 1.0], 10, [0.0, 0.1, 0.2, 0.9, 1.0], [0, 3]),
        ([0.0, 0.1, 0.2, 0.5, 0.6], 10, [0.0, 0.1, 0.2, 0.5, 0.6], [0]),
    ],
)
def test_times_that_do_not_grow_are_replaced_and_jumps_begin_anew(said, rate, seconds, begins):
    assert seen(said, rate) == (seconds, begins)


def pages(count):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_pages_have_the_times_that_their_durations_say(suffix, tmp_path):
    first, *others = pages(4)
    path = tmp_path / f"a.{suffix}"
    first.save(path, save_all=True, append_images=others, duration=[100, 300, 2000, 50])
    _, seconds, begins, faults = look(path)
    assert seconds == pytest.approx([0.0, 0.1, 0.4, 2.4])
    assert (begins, faults) == ([0], [])
    assert all(
        np.array_equal(frame.picture, picture)
        for frame, picture in zip(footage.of(path), incoming.frames(path), strict=True)
    )


def test_pages_without_durations_have_no_times_and_other_sizes_begin_anew(tmp_path):
    first, *others = pages(3)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=0)
    assert look(tmp_path / "a.gif")[1:] == ([None] * 3, [0], [])
    others[1] = others[1].resize((30, 20))
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    _, seconds, begins, faults = look(tmp_path / "a.tif")
    assert (seconds, begins) == ([None] * 3, [0, 2])
    assert faults == [("size", "has frames of several sizes: 64x48 (2), 30x20 (1)")]


def save(folder, numbers, size=SIZE):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.fromarray(np.full((*size, 3), 2 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_missing_numbers_and_other_sizes_begin_anew_in_folders_and_lists(tmp_path, caplog):
    folder = save(tmp_path / "walk", [*range(8, 14), *range(17, 25)])
    wanted = [0, 6]
    files = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    for source in (folder, str(folder), files, [str(file) for file in files], tuple(files)):
        frames, seconds, begins, faults = look(source)
        assert begins == wanted and seconds == [None] * 14
        assert [np.asarray(frame.picture)[0, 0, 0] // 2 for frame in frames] == [*range(8, 14), *range(17, 25)]
        assert faults == [("gap", "misses frames, by their numbers, before 17.png")]
        assert f"{folder} misses frames" in caplog.text
    save(folder, [20, 21], (20, 30))
    assert look(folder)[2] == [0, 6, 9, 11]
    assert look(folder)[3][1] == ("size", "has frames of several sizes: 64x48 (12), 30x20 (2)")


def test_pictures_without_names_begin_at_the_first_and_where_their_size_changes():
    pictures = [np.zeros((*SIZE, 3), np.uint8)] * 3 + [np.zeros((20, 20, 3), np.uint8)] * 2
    for source in (pictures, iter(pictures), tuple(pictures)):
        assert look(source)[1:3] == ([None] * 5, [0, 3])
    assert look(np.zeros((4, *SIZE, 3), np.uint8))[1:] == ([None] * 4, [0], [])
    assert look([])[0] == []


def test_what_is_no_video_is_refused_by_name(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no images"):
        look(tmp_path / "empty")
    with pytest.raises(UserError, match=r"absent\.mp4 does not exist"):
        look(tmp_path / "absent.mp4")
