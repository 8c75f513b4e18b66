"""What `mocca check` says of videos that are odd as a whole: several cameras, mixed order, mixed colors, odd films."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from mocca_jax.commands import check
from mocca_jax.data import cameras
from mocca_jax.errors import UserError
from tests import test_footage
from tests.test_check import expect

SIZE = 48, 64  # rows and columns


def ground(seed, size=SIZE):
    """A still scene, grey levels 40 to 200."""
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(size), 2.5)
    return 40 + 160 * (smooth - smooth.min()) / np.ptp(smooth)


def walk(seed, of=0, count=24, size=SIZE, noise=3.0):
    """Frames `[rows, columns]` uint8 of a scene through which a bright square goes; its way is by `seed`."""
    rng = np.random.default_rng(1000 + seed)
    frames, scene = [], ground(of, size)
    row = int(rng.integers(0, size[0] - 12))
    for place in np.linspace(0, size[1] - 12, count).astype(int):
        picture = scene + noise * rng.standard_normal(size)
        picture[row : row + 12, place : place + 12] = 240
        frames.append(picture.clip(0, 255).astype(np.uint8))
    return frames


def lit(frames, gain, add=0):
    return [(gain * frame.astype(float) + add).clip(0, 255).astype(np.uint8) for frame in frames]


def shaken(frames, by):
    rng = np.random.default_rng(0)
    return [np.roll(frame, rng.integers(-by, by + 1, 2), (0, 1)) for frame in frames]


def test_one_camera_is_one_group_whatever_the_light_the_noise_and_a_little_shake():
    videos = {
        "plain": walk(0),
        "again": walk(1),
        "dark": lit(walk(2), 0.3),
        "bright": lit(walk(3), 1.2, 40),
        "negative": lit(walk(4), -1, 255),
        "noisy": walk(5, noise=12),
        "shaken": shaken(walk(6), 2),
        "shifted": [np.roll(frame, (2, 2), (0, 1)) for frame in walk(7)],
        "two pictures": walk(8)[::12],
    }
    assert cameras.groups(videos) == [list(videos)]


def test_another_scene_is_another_group_and_the_largest_comes_first():
    videos = {
        "b": walk(0, of=1),
        "a1": walk(1),
        "c": lit(walk(2, of=2), 0.5),
        "a2": shaken(walk(3), 1),
        "b2": walk(4, of=1),
    }
    assert cameras.groups(videos) == [["b", "b2"], ["a1", "a2"], ["c"]]
    assert cameras.groups(videos | {"a3": walk(5)}) == [["a1", "a2", "a3"], ["b", "b2"], ["c"]]


def test_another_shape_is_another_camera_and_a_larger_picture_of_the_scene_is_not():
    large = [np.asarray(Image.fromarray(frame).resize((128, 96))) for frame in walk(2)]
    wide = [frame[:36] for frame in walk(3)]
    assert cameras.groups({"a": walk(0), "large": large, "wide": wide, "b": walk(1)}) == [["a", "large", "b"], ["wide"]]


def test_videos_that_show_no_still_scene_are_never_apart_from_others_of_their_size(rng):
    noise = [rng.integers(0, 256, SIZE, np.uint8) for _ in range(16)]
    flat = [np.full(SIZE, 5 * number, np.uint8) for number in range(16)]
    scenes = ground(9, (48, 640)).astype(np.uint8)
    moving = [scenes[:, 36 * number : 36 * number + 64] for number in range(16)]
    videos = {"a": walk(0), "noise": noise, "flat": flat, "moving": moving, "one": walk(1, of=3)[:1], "b": walk(2)}
    assert cameras.groups(videos) == [list(videos)]
    assert cameras.groups({"noise": noise, "small": [frame[:24, :32] for frame in noise]}) == [["noise"], ["small"]]
    assert cameras.groups({}) == []


def store(folder, frames, names=None, **how):
    """The frames as files, written in their order, so that their times are too."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        path = folder / (names[number] if names else f"{number:03d}.png")
        Image.fromarray(frame).save(path, **how)
        os.utime(path, ns=(10**18 + 10**9 * number,) * 2)
    return folder


@pytest.fixture
def yard(tmp_path):
    """Three videos of one camera, in which there is nothing to find."""
    for number in range(3):
        store(tmp_path / f"yard/training/frames/{number}", walk(number))
    return tmp_path / "yard"


def test_check_names_videos_of_another_camera(yard):
    expect(yard, "train: 3 videos, 72 frames", notes=0)
    store(yard / "training/frames/3", walk(3, of=1))
    store(yard / "testing/frames/4", walk(4, size=(48, 48)))
    lines = (
        "2 video(s) are not from the same camera as most. Make a folder, and a detector, for each camera.",
        "  training/frames/3: another scene",
        "  testing/frames/4: 48x48, others 64x48",
    )
    expect(yard, *lines, problems=1, notes=1)


@pytest.mark.parametrize(
    "names, by",
    [
        ([f"{number:04x}.png" for number in range(60)], "the times of the files"),
        ([f"{number * 7919 % 1000:03d}.png" for number in range(60)], "the times of the files"),
        ([f"{'ba'[number % 2]}_{number:03d}.png" for number in range(60)], "the times of the files"),
    ],
)
def test_frames_whose_names_do_not_sort_into_time_are_named(names, by, yard):
    store(yard / "training/frames/3", walk(3, count=60), names)
    lines = (
        "1 video(s) whose frames are not in the order of time",
        f"training/frames/3: by {by}, neighbours differ by",
    )
    expect(yard, *lines, problems=1)


def test_the_names_themselves_or_exif_may_tell_the_order(yard):
    frames = walk(3, count=40)
    folder = store(yard / "training/frames/3", frames, [f"{'ba'[n % 2]}_{n:03d}.png" for n in range(40)])
    for path in folder.iterdir():
        os.utime(path, ns=(10**18, 10**18))
    expect(yard, "training/frames/3: by the last number in the name, neighbours differ by", problems=1)
    shutil.rmtree(folder)
    folder.mkdir()
    for number, frame in enumerate(frames):
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0x9291: f"{number:03d}"})
        Image.fromarray(frame).save(folder / f"{'ba'[number % 2]}{number % 7}{number:03d}.jpg", exif=exif, quality=95)
    expect(yard, "training/frames/3: by the times in the pictures (Exif), neighbours differ by", problems=1)


@pytest.mark.parametrize("order", ["shuffled", "interleaved"])
def test_frames_that_jump_back_and_forth_are_named_though_nothing_tells_their_order(order, yard):
    frames = walk(3, count=60, size=(48, 64))
    places = (
        np.arange(60).reshape(2, -1).T.ravel() if order == "interleaved" else np.random.default_rng(0).permutation(60)
    )
    store(yard / "training/frames/3", [frames[place] for place in places])
    expect(yard, "training/frames/3: neighbours differ as much as any two frames, and others are alike", problems=1)


def test_cuts_still_scenes_machines_and_files_without_true_times_are_no_disorder(yard, rng):
    still = [(ground(0) + 3 * rng.standard_normal(SIZE)).astype(np.uint8) for _ in range(30)]
    blinking = [frame if number % 2 else lit([frame], 0.5)[0] for number, frame in enumerate(still)]
    cuts = [frame for seed in range(3) for frame in walk(10 + seed, of=0, count=12)]
    there = walk(5, count=40)
    machine = [there[int(20 + 19 * np.sin(2 * np.pi * number / 12))] for number in range(60)]
    empty_or_not = [(walk(6, count=40)[20] if rng.random() < 0.4 else still[number % 30]) for number in range(60)]
    for number, frames in enumerate((still, blinking, cuts, machine, empty_or_not), 3):
        folder = store(yard / f"training/frames/{number}", frames)
        for path, time in zip(sorted(folder.iterdir()), rng.permutation(len(frames)), strict=True):
            os.utime(path, ns=(10**18 + 10**9 * int(time),) * 2)
    expect(yard)


def test_grey_and_colored_frames_in_one_video_are_a_note(yard):
    frames = [np.stack([frame, frame, frame // 2], -1) if n < 10 else frame for n, frame in enumerate(walk(3))]
    frames[12] = np.zeros((*SIZE, 3), np.uint8)  # black is neither
    store(yard / "training/frames/3", frames)
    expect(yard, "training/frames/3: 13 grey, 10 in color", notes=1)


def test_films_that_jump_or_start_anew_or_lie_about_their_length_are_named(tmp_path):
    whole = test_footage.write(tmp_path / "films/deep/er/whole.avi", seed=1)
    assert whole.exists()
    test_footage.uneven(tmp_path / "films/jump.mkv", tmp_path, test_footage.STEPS)
    joined = test_footage.write(tmp_path / "films/joined.mkv", seed=2)
    joined.write_bytes(2 * joined.read_bytes())
    test_footage.counted(test_footage.write(tmp_path / "films/long.avi", seed=3), 300)
    test_footage.counted(test_footage.write(tmp_path / "films/short.avi", seed=4), 10)
    test_footage.cut(test_footage.index_first(tmp_path / "films/cut.mp4", tmp_path))
    test_footage.cut(test_footage.write(tmp_path / "films/lost.mp4", code="mp4v", seed=5))
    test_footage.turned(tmp_path / "films/turned.mp4", 90, tmp_path)
    lines = (
        "1 video(s) or frame(s) cannot be read",
        "  lost.mp4: no frame of it can be read",
        "3 film(s) are not as long as their header says",
        "  long.avi ends after 30 of 300 frames",
        "  short.avi holds 30 frames, and its header says 10",
        "  cut.mp4 ends after",
        "2 place(s) where frames are missing, by their numbers or times",
        "  jump.mkv jumps in time before frame 20 (at 11.8 s)",
        "  joined.mkv holds several recordings: its times start anew before frame 30 (at 3.0 s)",
        "  turned.mp4: 48x64, others 64x48",
        "  cut.mp4: 13 frames",
    )
    expect(tmp_path / "films", "train: 8 videos", *lines, problems=5)


def test_films_of_one_name_are_refused_by_name_and_in_folders_of_their_own_are_used(tmp_path):
    for place in ("a/walk.avi", "b/walk.avi"):
        test_footage.write(tmp_path / place, seed=ord(place[0]))
    expect(tmp_path, "train: 2 videos, 60 frames")
    test_footage.write(tmp_path / "a/walk.mkv", seed=3)
    with pytest.raises(UserError, match="several videos are called a/walk"):
        check.report(tmp_path)
