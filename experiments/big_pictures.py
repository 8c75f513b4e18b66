"""Command: small defects on pictures of 12 megapixels, by the default at 256x256 and in tiles.

python -m experiments.big_pictures [--source=mvtec/grid] [--train=16] [--test=12] [--modes=pretrained,tiled]

`--source` is a folder below MOCCA_DATA_DIR with train/good and test/good. Each mosaic of 4000x3000 is made of one good
picture, laid beside its mirror images, so that all seams are alike; training mosaics of pictures of train/good, test
mosaics of test/good, and as many with one made-up defect (`data/defects.py`) of 0.01 to 0.03 % of the area. Pixel AUROC
is measured on maps brought to a quarter of the sides, for both. Each mode runs in a process of its own: `peak` is the
most memory that it held. Rows go to experiments/results/big_pictures.jsonl; what is there is not computed again.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments import rows
from mocca_jax import Detector, pipeline
from mocca_jax import config as configs
from mocca_jax.configs import folder
from mocca_jax.data import defects, masks
from mocca_jax.method import metrics
from mocca_jax.outputs import results
from mocca_jax.training import parallel

ROWS = Path(__file__).parent / "results/big_pictures.jsonl"
SIDES = (3000, 4000)
SHARES = (0.0001, 0.0003)  # of the picture's area, that a defect has
WINDOW, TRIED = 512, 240  # pixels of the part that a defect is made on; defects to choose from
QUARTER = tuple(side // 4 for side in SIDES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="mvtec/grid")
    parser.add_argument("--train", type=int, default=16)
    parser.add_argument("--test", type=int, default=12)
    parser.add_argument("--modes", default="pretrained,tiled")
    parser.add_argument("--here", help=argparse.SUPPRESS)  # a folder of mosaics: measure one mode in this process
    options = parser.parse_args()
    source = Path(os.environ["MOCCA_DATA_DIR"]) / options.source
    if options.here:
        measure(Path(options.here), options.modes, options.source)
        return
    with tempfile.TemporaryDirectory(prefix="mocca-big-") as temporary:
        make(source, Path(temporary) / "mosaics", options.train, options.test)
        for mode in options.modes.split(","):
            command = [sys.executable, "-m", "experiments.big_pictures", f"--source={options.source}"]
            environment = os.environ | {"MOCCA_CACHE_DIR": str(Path(temporary) / "cache")}
            subprocess.run([*command, f"--modes={mode}", f"--here={temporary}"], check=True, env=environment)


def make(source: Path, to: Path, train: int, test: int) -> None:
    """The folder of mosaics, laid out as for training."""
    for kind, count in (("train/good", train), ("test/good", test)):
        for number, path in enumerate(sorted((source / kind).iterdir())[:count]):
            save(mosaic(path), to / f"{kind}/{number:02d}.png")
    good = [mosaic(path) for path in sorted((source / "test/good").iterdir())[-test:]]
    for number, (picture, mask, kind) in enumerate(damaged(good)):
        save(picture, to / f"test/{kind}/{number:02d}.png")
        save(mask.astype(np.uint8) * 255, to / f"ground_truth/{kind}/{number:02d}_mask.png")


def mosaic(path: Path) -> np.ndarray:
    """`[3000, 4000, 3]` of one picture and its mirror images."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    both = np.concatenate([picture, picture[::-1]])
    both = np.concatenate([both, both[:, ::-1]], 1)
    times = [-(-side // length) for side, length in zip(SIDES, both.shape, strict=False)]
    return np.tile(both, (*times, 1))[: SIDES[0], : SIDES[1]]


def damaged(good: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Each picture with one defect, its mask and the kind; kinds in turn, sizes within `SHARES`."""
    rng = np.random.default_rng(0)
    of = np.arange(TRIED) % len(good)
    corners = np.stack([rng.integers(0, side - WINDOW, TRIED) for side in SIDES], -1)
    cut = np.stack([good[n][y : y + WINDOW, x : x + WINDOW] for n, (y, x) in zip(of, corners, strict=True)])
    made, marked, kinds = defects.paste(cut, np.full((TRIED, 2), WINDOW), 0)
    shares = marked.sum((1, 2)) / np.prod(SIDES)
    fits = (shares >= SHARES[0]) & (shares <= SHARES[1])
    found, used = [], dict.fromkeys(kinds, 0)
    for number, picture in enumerate(good):
        index = min(np.flatnonzero(fits & (of == number)), key=lambda n: used[kinds[n]])
        used[kinds[index]] += 1
        y, x = corners[index]
        out, mask = picture.copy(), np.zeros(SIDES, bool)
        out[y : y + WINDOW, x : x + WINDOW], mask[y : y + WINDOW, x : x + WINDOW] = made[index], marked[index]
        found.append((out, mask, kinds[index]))
    return found


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def measure(here: Path, mode: str, source: str) -> None:
    """Adds the row of one mode, unless it is there."""
    config = folder.get_config(mode)
    config.data_dir = str(here / "mosaics")
    files = {kind: sorted((here / "mosaics").glob(f"{kind}/*.png")) for kind in ("train/good", "test/*")}
    counts = [len(files["train/good"]), len(files["test/*"])]
    named = json.dumps([source, counts, {**configs.as_dict(config), "data_dir": ""}], sort_keys=True)
    digest = hashlib.sha256(named.encode()).hexdigest()[:12]
    if digest in {row["config_hash"] for row in rows.read(ROWS)}:
        return
    parallel.configure(0, os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    began = time.monotonic()
    result = pipeline.run(config, here / mode)
    seconds = time.monotonic() - began
    row: dict[str, Any] = {"source": source, "mode": mode, "train": counts[0], "test": counts[1]}
    row |= {"sides": SIDES, "run_seconds": round(seconds, 1), "config_hash": digest}
    row |= {name: result["decision"].get(name) for name in ("auc", "normal_flagged", "anomalous_flagged")}
    row |= {"parts": {name: of["auc"] for name, of in result["metrics"].items()}, "chosen": result["statistics"]}
    detector = Detector.load(here / mode)
    detector.score(files["test/*"][0])  # compiles
    began = time.monotonic()
    for path in files["test/*"][:3]:
        detector.score(path)
    row["seconds_per_picture"] = round((time.monotonic() - began) / 3, 2)
    row |= pixels(detector, here / "mosaics", files["test/*"])
    row["detector_megabytes"] = round((here / mode / "detector.npz").stat().st_size / 1e6, 1)
    row["peak_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    row |= results.circumstances()
    rows.append(ROWS, row)
    print(json.dumps({name: value for name, value in row.items() if name not in ("packages", "chosen")}), flush=True)


def pixels(detector: Detector, mosaics: Path, files: list[Path]) -> dict[str, float]:
    """Pixel AUROC and AUPRO at a quarter of the sides."""
    drawn, truth = [], []
    for path in files:
        (found,) = detector.maps_of([detector.view(path)])
        drawn.append(np.asarray(Image.fromarray(found).resize(QUARTER[::-1], Image.Resampling.BILINEAR)))
        mask = mosaics / f"ground_truth/{path.parent.name}/{path.stem}_mask.png"
        marked = (
            masks.reduced(masks.read(mask).marked, QUARTER, "stretch") if mask.exists() else np.zeros(QUARTER, bool)
        )
        truth.append(marked)
    return {"pixel_auroc": metrics.pixel_auroc(drawn, truth), "aupro": metrics.aupro(drawn, truth)}


if __name__ == "__main__":
    main()
