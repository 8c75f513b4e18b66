"""Small finished runs that several test files use."""

import csv
import fcntl
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from mocca_jax import pipeline
from mocca_jax.commands import example
from mocca_jax.configs import folder as folder_config
from mocca_jax.configs import smoke as smoke_config
from mocca_jax.configs import video as video_config


def save(path, shape=(40, 40, 3), seed=0, mode=None):
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    (image.convert(mode) if mode else image).save(path)


def small(folder, kind="mocca", **changes):
    """The config of a folder, at 32 pixels; patches of 16."""
    config = folder_config.get_config(kind)
    config.data_dir = str(folder)
    config.resize = 32
    config.patch = 16 if kind == "texture" else 0
    config.update(changes)
    return config


def good_and_flat(folder):
    """Forty good images of mixed sizes, and a test set of three more and three flat ones."""
    for i in range(40):
        save(folder / f"train/good/{i:02d}.png", (40 + i % 5, 60, 3), seed=i)
    (folder / "test/flat").mkdir(parents=True)
    for i in range(3):
        save(folder / f"test/good/{i}.png", (40, 60, 3), seed=100 + i)
        Image.fromarray(np.full((40, 60, 3), 60 * i, np.uint8)).save(folder / f"test/flat/{i}.png")


def mixed(folder):
    """Twelve good images of mixed sizes, modes and formats; a small test set with a mask."""
    for i in range(10):
        save(folder / f"train/good/Teil {i}ä.png", (40 + i, 50, 3), seed=i)
    save(folder / "train/good/grey.jpg", (64, 64), seed=20)
    save(folder / "train/good/alpha.png", (48, 48, 3), seed=21, mode="RGBA")
    save(folder / "test/good/a.png", seed=30)
    save(folder / "test/scratch/b.png", seed=31)
    save(folder / "ground_truth/scratch/b_mask.png", (40, 40), seed=32)
    return folder


def quick(folder, kind, **changes):
    """LeNet, one epoch a stage, half of the normal images held out."""
    config = small(folder, kind, code_size=16, batch_size=8, heldout_fraction=0.5, map_stride=8, alpha=0.1, overlays=2)
    config.update(encoder="lenet", head="mean", layers=(1, 2), **changes)
    config.reconstruction.epochs = config.one_class.epochs = 1
    return config


def washers(folder, normal=24, test=8):
    """Washers, see `mocca example`: good ones, and a test set of good ones and of some with a square stuck on."""
    rng = np.random.default_rng(0)
    for kind, count in (("train/good", normal), ("test/good", test), ("test/square", test)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            picture = np.array(example.part(rng)[0])
            if kind == "test/square":
                mask = np.zeros(picture.shape[:2], np.uint8)
                top, left = rng.integers(30, 100, 2)
                mask[top : top + 30, left : left + 30] = 255
                picture[mask > 0] = (200, 40, 40)
                (folder / "ground_truth/square").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / f"ground_truth/square/{number}_mask.png")
            Image.fromarray(picture).save(folder / f"{kind}/{number}.png")


def untrained(folder, **changes):
    """A run that trains nothing, at 64 pixels."""
    config = folder_config.get_config("pretrained")
    config.data_dir = str(folder)
    config.update(resize=64, overlays=2, **changes)
    return config


def shallow(folder="", **changes):
    """As `untrained` with the first blocks alone, which compile in a moment."""
    return untrained(folder, **{"layers": (2, 4), "fine_layers": (2,), "maps": ()} | changes)


def drawn(count, seed, kind="good", side=64):
    """New washers `[N, side, side, 3]`."""
    rng = np.random.default_rng(seed)
    return np.stack([np.asarray(example.part(rng, kind)[0].resize((side, side))) for _ in range(count)])


def pictures(folder, kind):
    """The files of `washers`, by their numbers."""
    return sorted(folder.glob(f"{kind}/*.png"), key=lambda path: int(path.stem))


def crossing(fast=False, seed=0, count=60):
    """Frames `[count, 96, 128, 3]`: textured squares walk over a textured ground; or one of them at thrice the pace."""
    rng = np.random.default_rng(seed)
    ground = np.random.default_rng(99).integers(60, 190, (24, 32), np.uint8).repeat(4, 0).repeat(4, 1)
    frames = np.repeat(ground[None], count, 0)
    for lane in range(3):
        texture = rng.integers(0, 256, (5, 5), np.uint8).repeat(4, 0).repeat(4, 1)
        speed = (3 if fast and lane == 1 else 1) * rng.uniform(1.2, 1.6)
        start = rng.uniform(0, 128)
        for number, frame in enumerate(frames):
            left = round((start + speed * number) % 148) - 20
            first, last = max(0, -left), min(20, 128 - left)
            frame[8 + 30 * lane : 28 + 30 * lane, left + first : left + last] = texture[:, first:last]
    noisy = frames + rng.normal(0, 2, frames.shape)
    return noisy.clip(0, 255).astype(np.uint8)[..., None].repeat(3, -1)


def crossings(folder):
    """Four films of `crossing` to train on; one more and a fast one to test, in UCSD's layout: the labels are known."""
    for seed in range(4):
        save_frames(folder / f"Train/Train{seed:03d}", crossing(seed=seed))
    for name, fast in (("Test001", False), ("Test002", True)):
        save_frames(folder / f"Test/{name}", crossing(fast, seed=10 + fast))
        marked = np.full((60, 8, 8), 255 * fast, np.uint8)
        save_frames(folder / f"Test/{name}_gt", marked)


def save_frames(folder, frames):
    """As image files."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.png", compress_level=1)


def rows_of(path):
    """A table's rows."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def movement(folder, **changes):
    """A run of statistics of movement, on `crossings`."""
    config = video_config.get_config()
    config.data_dir = str(folder)
    config.update(changes)
    return config


def clip():
    """The smoke config of videos, with one kind of planted anomalies."""
    config = smoke_config.get_config("clip")
    config.planted = ("object",)
    return config


def make_all(parts, folder):
    """Finished runs `object`, `texture` and `clip` in `folder`; processes that want them at once share the work."""
    configs = {"object": quick(parts, "mocca"), "texture": quick(parts, "texture"), "clip": clip()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCCA_CACHE_DIR", str(folder / "cache"))
        for others in (fcntl.LOCK_NB, 0):  # first what no other process is making, then all
            for kind, config in configs.items():
                with suppress(BlockingIOError):
                    once(folder / kind, lambda draft, config=config: pipeline.run(config, draft), others)
    return folder


def once(folder, make, others=0):
    """`folder`, made by the first process that asks for it; the others wait, or get an error with `fcntl.LOCK_NB`."""
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | others)
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            draft.mkdir()
            make(draft)
            draft.rename(folder)
    return folder
