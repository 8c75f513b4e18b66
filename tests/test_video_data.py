"""Videos: layouts, films, frame store, clips, made-up and planted anomalies, background removal."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mocca_jax import data
from mocca_jax.commands import background
from mocca_jax.configs import video as video_config
from mocca_jax.data import batching, clips, films, listing, planted, video_layout
from mocca_jax.data.inputs import Inputs
from mocca_jax.data.sets import moving
from mocca_jax.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCCA_CACHE_DIR", str(tmp_path / "cache"))


def save_frames(folder, count, size=(40, 60), first=0, suffix="jpg", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = np.full((*size, 3), 2 * i, np.uint8) + rng.integers(0, 5, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{first + i}.{suffix}")


def small(folder, **changes):
    config = video_config.get_config("mocca")
    config.update(data_dir=str(folder), frame_size=(32, 32), clip_length=8, clips_per_epoch=6, code_size=8, lstm_size=4)
    config.update(**changes)
    return config


@pytest.fixture
def shanghaitech(tmp_path):
    folder = tmp_path / "campus"
    save_frames(folder / "training/frames/01_001", 12)
    save_frames(folder / "training/frames/01_002", 9, seed=1)
    save_frames(folder / "testing/frames/02_001", 11, seed=2)
    masks = folder / "testing/test_frame_mask"
    masks.mkdir()
    np.save(masks / "02_001.npy", np.array([0] * 5 + [1] * 6, np.uint8))
    return folder


def test_shanghaitechs_layout_is_read_with_its_labels(shanghaitech):
    dataset = data.load(small(shanghaitech))
    assert dataset.inputs.shape == (8, 32, 32, 3)
    assert dataset.test.labels.tolist() == [0] * 5 + [1] * 6
    assert dataset.test.timeline.videos == ["02_001"] and len(dataset.test.images) == 4
    assert len(dataset.heldout.timeline.videos) == 1
    assert dataset.train.per_epoch == 6
    clip = dataset.test.images[np.array([3])][0]
    brightness = clip.mean((1, 2, 3))
    assert clip.shape == (8, 32, 32, 3) and (np.diff(brightness) > 1).all()  # in the numbers' order: 10 after 9
    assert brightness[0] == pytest.approx(2 * 3 + 2, abs=1)


def test_ucsds_layout_is_read_with_its_masks(tmp_path):
    save_frames(tmp_path / "Train/Train001", 12, suffix="tif")
    save_frames(tmp_path / "Train/Train002", 12, suffix="tif")
    save_frames(tmp_path / "Test/Test001", 10, suffix="tif")
    masks = tmp_path / "Test/Test001_gt"
    masks.mkdir()
    for i in range(10):
        mask = np.zeros((40, 60), np.uint8)
        mask[5, 5] = 255 * (i in (3, 4))
        Image.fromarray(mask).save(masks / f"{i}.bmp")
    dataset = data.load(small(tmp_path, gray=True))
    assert dataset.inputs.shape == (8, 32, 32, 1)
    assert np.flatnonzero(dataset.test.labels).tolist() == [3, 4]


def test_films_in_a_plain_folder_are_all_normal_and_read_like_pictures(tmp_path):
    pictures = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(10)]
    for name in ("a.avi", "b.avi"):
        assert films.write(tmp_path / name, pictures, 10) == 10
    dataset = data.load(small(tmp_path))
    assert dataset.test is None
    brightness = dataset.heldout.images[np.array([0])][0].mean((1, 2, 3))
    np.testing.assert_allclose(brightness, 20 * np.arange(8), atol=6)


def test_a_cut_off_film_is_read_as_far_as_it_goes_and_told(tmp_path, caplog):
    rng = np.random.default_rng(0)
    films.write(tmp_path / "a.avi", [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(30)], 10)
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    count = len(list(films.frames(tmp_path / "a.avi")))
    assert 0 < count < 30
    (tmp_path / "b.avi").write_bytes(b"no film")
    with pytest.raises(UserError, match=r"b\.avi: no frame"):
        list(films.frames(tmp_path / "b.avi"))


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros(10), r"02_001\.npy: labels of shape \(10,\); the video has 11 frames"),
        (np.full(11, 3), "labels must be 0"),
        (np.array([{}] * 11, object), "pickled objects are refused"),
        (None, r"02_001\.npy: missing"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(shanghaitech, labels, message):
    path = shanghaitech / "testing/test_frame_mask/02_001.npy"
    path.unlink()
    if labels is not None:
        np.save(path, labels, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        data.load(small(shanghaitech))


def test_bad_videos_are_told_by_name(shanghaitech, caplog, tmp_path):
    with pytest.raises(UserError, match=r"shorter than a clip(.*\n)*\s+01_002: 9 frames"):
        data.load(small(shanghaitech, clip_length=12))
    (shanghaitech / "training/frames/01_001/5.jpg").unlink()
    save_frames(shanghaitech / "training/frames/01_001", 1, size=(20, 20), first=12)
    data.load(small(shanghaitech))
    assert "not contiguous before 6.jpg" in caplog.text and "several sizes (20x20, 40x60)" in caplog.text
    (shanghaitech / "training/frames/01_002/3.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"3\.jpg cannot be read"):
        data.load(small(shanghaitech))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no videos"):
        data.load(small(tmp_path / "empty"))
    with pytest.raises(UserError, match="no such folder"):
        data.load(small(tmp_path / "absent"))


def test_the_end_of_a_lone_video_is_held_out(tmp_path):
    save_frames(tmp_path / "only", 40)
    dataset = data.load(small(tmp_path))
    assert dataset.train.images.starts.max() + 8 <= 32
    assert dataset.heldout.timeline.frames == 8 and dataset.heldout.samples[0] == "only, end/0"


def test_names_are_sorted_as_numbers():
    from pathlib import Path

    names = ["10.jpg", "2.jpg", "a1.jpg", "1.jpg"]
    assert [p.name for p in sorted(map(Path, names), key=listing.natural)] == [
        "1.jpg",
        "2.jpg",
        "10.jpg",
        "a1.jpg",
    ]


def test_a_huge_store_is_addressed_without_loading_it(tmp_path):
    """A sparse file of 270,000 frames of 256x512: 106 GB that are not there."""
    shape = (270_000, 256, 512, 3)
    try:
        store = np.lib.format.open_memmap(tmp_path / "frames.npy", "w+", np.uint8, shape)
    except OSError:
        pytest.fail("this file system has no sparse files")
    split = clips.training_clips(store, [clips.Video("v", 0, len(store))], 16, 1000, 0)
    assert split.images[np.array([0, 200])].shape == (2, 16, 256, 512, 3)


def test_draws_come_with_replacement_and_from_the_seed_alone():
    order = batching.epoch_order(5, 0, 0, 0, draws=400)
    assert len(order) == 400 and set(order) == set(range(5))
    np.testing.assert_array_equal(order, batching.epoch_order(5, 0, 0, 0, draws=400))
    assert not np.array_equal(order, batching.epoch_order(5, 0, 0, 1, draws=400))


def test_differences_are_between_neighbouring_frames(rng):
    raw = rng.integers(0, 256, (2, 5, 4, 4, 1), np.uint8)
    plain = np.asarray(Inputs((5, 4, 4, 1)).preprocess(jnp.asarray(raw)))
    change = np.asarray(Inputs((5, 4, 4, 1), "signed_differences").preprocess(jnp.asarray(raw)))
    np.testing.assert_allclose(plain, raw / 255.0, rtol=1e-6)
    np.testing.assert_allclose(change[:, 3], plain[:, 3] - plain[:, 2], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(change[:, 0], change[:, 1])
    blind = Inputs((5, 4, 4, 1), "absolute_differences").preprocess(jnp.asarray(raw))
    np.testing.assert_array_equal(blind, np.abs(change))


def test_made_up_anomalies_are_labelled_where_they_are_seen():
    for kind in (None, *moving.KINDS):
        pictures, labels = moving.video(np.random.default_rng(3), (32, 48), kind)
        assert pictures.shape == (moving.FRAMES, 32, 48, 1) and pictures.dtype == np.uint8
        assert labels.any() == (kind is not None)
    again, _ = moving.video(np.random.default_rng(3), (32, 48), moving.KINDS[-1])
    np.testing.assert_array_equal(pictures, again)


@pytest.mark.parametrize("method", ["mog2", "median"])
def test_background_removal_keeps_what_moves_and_can_be_repeated(tmp_path, method):
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (32, 48, 3), np.uint8)
    for half, name in (("training", "01"), ("testing", "02")):
        folder = tmp_path / half / "frames" / name
        folder.mkdir(parents=True)
        for i in range(30):
            frame = ground.copy()
            frame[10:16, i : i + 6] = 255
            Image.fromarray(frame).save(folder / f"{i}.png")
    assert background.remove(tmp_path, method, (32, 48)) == (2, 0)
    made = tmp_path / "training" / video_layout.FOREGROUND / "01"
    assert len(list(made.iterdir())) == 30
    with Image.open(made / "20.png") as image:
        kept = np.asarray(image)
    assert (kept[10:16, 20:26] == 255).all() and not kept[:, 40:].any() and not kept[26:].any()
    before = (made / "20.png").stat().st_mtime_ns
    assert background.remove(tmp_path, method, (32, 48)) == (0, 2)
    assert (made / "20.png").stat().st_mtime_ns == before
    config = small(tmp_path, foreground=True, heldout_fraction=0.0)
    assert data.load(config).test.images[np.array([0])].mean() < 40


def test_a_failed_removal_leaves_no_video_half_written(tmp_path):
    save_frames(tmp_path / "training/frames/01", 10)
    (tmp_path / "training/frames/01/7.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"7\.jpg cannot be read"):
        background.remove(tmp_path, "median", (32, 48))
    assert list((tmp_path / "training" / video_layout.FOREGROUND).iterdir()) == []
    with pytest.raises(UserError, match="foreground = True, but"):
        data.load(small(tmp_path, foreground=True))
    with pytest.raises(SystemExit, match="holds no videos"):
        background.main([str(tmp_path / "absent")])


def test_planted_anomalies_are_what_they_say_and_leave_the_video_alone(rng):
    normal = np.repeat(np.arange(60, dtype=np.uint8)[:, None, None, None], 30, 1).repeat(40, 2) + np.zeros(1, np.uint8)
    before = normal.copy()
    assert planted.plant(normal, "speed3", rng)[:4, 0, 0, 0].tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(planted.plant(normal, "backwards", rng), normal[::-1])
    even = np.full_like(normal, 128)
    changed = (planted.plant(even, "object", rng) != even).any(-1)
    assert changed.any((1, 2)).all() and changed.mean() < 0.1
    middle = [np.flatnonzero(picture.any(0)).mean() for picture in changed[:20]]
    assert (np.diff(middle) > 0).all()
    np.testing.assert_array_equal(normal, before)
    made = planted.videos([normal] * 10, ("speed3", "object"), 30, 0)
    assert sorted(made) == sorted(f"object {i}" for i in range(planted.MOST))  # 20 frames are too few
