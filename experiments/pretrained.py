"""Command: the detector of pretrained features on real parts: all pictures and few, lamps, what is known beforehand.

python -m experiments.pretrained [--data=mvtec/bottle,piped] [--counts=0,5,20,50] [--seeds=0,1,2]

`--data` are folders below MOCCA_DATA_DIR, or folders of such; a count of 0 takes all good pictures, others are drawn by
the seed. Rows go to experiments/results/pretrained.jsonl, finished ones are not computed again. Nothing is chosen by
test labels: `chosen` was, on made-up defects, before a test picture was seen. `python -m experiments.tables` makes the
table.
"""

import argparse
import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import rows
from experiments.markdown import circumstances, header, line
from mocca_jax import config as configs
from mocca_jax import data, weights
from mocca_jax.configs import folder
from mocca_jax.console import pages
from mocca_jax.data import Dataset, Split
from mocca_jax.method import metrics, threshold
from mocca_jax.outputs import results
from mocca_jax.scoring import evaluate, fitting, localize, maps, placed
from mocca_jax.training import parallel
from mocca_jax.training import step as train

ROWS = Path(__file__).parent / "results/pretrained.jsonl"
LAMPS = {
    "x0.7": (0.7,) * 3,
    "x0.85": (0.85,) * 3,
    "x1.15": (1.15,) * 3,
    "x1.3": (1.3,) * 3,
    "warm": (1.1, 1.0, 0.9),
    "cold": (0.9, 1.0, 1.1),
}
DEFAULT = "mvtec/bottle,mvtec/grid,mvtec/screw,mvtec/magnetic_tile,piped"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=DEFAULT)
    parser.add_argument("--counts", default="0", help="good pictures to fit on; 0 = all")
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args(arguments)
    parallel.configure(0, os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    for place in options.data.split(","):
        for found in categories(Path(os.environ["MOCCA_DATA_DIR"]) / place):
            for count in map(int, options.counts.split(",")):
                for seed in map(int, options.seeds.split(",")) if count else (0,):
                    measure(found, count, seed)


def categories(place: Path) -> list[Path]:
    """The folder itself, or those in it."""
    return [place] if (place / "train").is_dir() else sorted(path for path in place.iterdir() if path.is_dir())


def measure(place: Path, count: int, seed: int) -> None:
    """Adds a row, unless it is there."""
    config = folder.get_config()
    config.data_dir, config.split_seed = str(place), seed
    named = json.dumps([place.name, count, seed, {**configs.as_dict(config), "data_dir": ""}], sort_keys=True)
    digest = hashlib.sha256(named.encode()).hexdigest()[:12]
    if digest in {row["config_hash"] for row in rows.read(ROWS)}:
        return
    dataset = drawn(data.load(config), count, seed)
    began = time.monotonic()
    loaded = weights.load(config.encoder, None, max(placed.layers(config)))
    state, mesh = train.untrained_state(loaded.variables, jax.random.key(0)), parallel.make_mesh()
    model = placed.network(config, dataset.inputs.shape)
    fitted = fitting.fit(model, state, dataset, config, mesh, loaded.record.as_dict())
    row = {"data": place.name, "normal": len(dataset.train), "count": count, "seed": seed, "config_hash": digest}
    row |= {"fit_seconds": round(time.monotonic() - began, 1), "statistics": fitted.as_dict()}
    row |= tested(config, model, fitted, dataset, mesh) | results.circumstances()
    row["wall_seconds"] = round(time.monotonic() - began, 1)
    rows.append(ROWS, row)
    print(json.dumps({name: row[name] for name in ("data", "normal", "seed", "auc", "parts")}), flush=True)


def drawn(dataset: Dataset, count: int, seed: int) -> Dataset:
    """With so many of its good pictures, 0 = all."""
    if not count:
        return dataset
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset.train))[:count])
    pictures = dataset.train.pictures
    pictures = replace(pictures, images=np.asarray(pictures.images[chosen]), sizes=pictures.sizes[chosen])
    names = [dataset.train.samples[n] for n in chosen]
    return replace(dataset, train=Split(pictures.images, np.zeros(count, np.int32), names, pictures=pictures))


def tested(config, model, fitted: fitting.Fitted, dataset: Dataset, mesh) -> dict[str, Any]:
    """What the row says of the test set."""
    test, labels = dataset.test, np.asarray(dataset.test.labels)
    scorer = evaluate.make_scorer(model, evaluate.stages.last(config), dataset.inputs.preprocess, config)

    def scores(split: Split) -> evaluate.Scores:
        return evaluate.score_split(scorer, fitted.state, split, "identity", config, mesh)

    began = time.monotonic()
    found = scores(test)
    seconds = time.monotonic() - began
    value, promised = threshold.conformal_threshold(fitted.left_out.combined, config.alpha)
    good, bad = labels == 0, labels == 1
    images = np.asarray(test.images[np.flatnonzero(good)])
    flagged = {}
    for name, lamp in LAMPS.items():
        lit = np.clip(np.rint(images * np.float32(lamp)), 0, 255).astype(np.uint8)
        split = Split(lit, np.zeros(len(lit), np.int32), [str(n) for n in range(len(lit))])
        flagged[name] = float((scores(split).combined > value).mean())
    context = maps.Context(model, fitted.state, dataset.inputs, config, mesh)
    drawn_maps = list(maps.make("statistics", context, {})(test.pictures))
    pixels = localize.measure(drawn_maps, [test.pictures.mask(n) for n in range(len(drawn_maps))])
    return {
        "auc": metrics.evaluate(labels, found.combined)["auc"],
        "parts": {name: round(metrics.evaluate(labels, of)["auc"], 4) for name, of in found.layers.items()},
        "pixels": pixels,
        "promised_share": promised,
        "normal_flagged": float((found.combined[good] > value).mean()),
        "anomalous_flagged": float((found.combined[bad] > value).mean()),
        "changed_flagged": float((fitted.made.changed.combined > value).mean()),
        "lamps_flagged": flagged,
        "score_seconds": round(seconds, 2),
        "test": {"normal": int(good.sum()), "anomalous": int(bad.sum())},
    }


def table(found: list[dict[str, Any]]) -> list[str]:
    """Markdown: a line for each data set and number of good pictures, means over seeds."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["data"], row["count"]), []).append(row)
    head = ["data", "good pictures", "seeds", "AUC", "least", "pixel AUROC", "AUPRO", "chosen", "good flagged"]
    lines = header([*head, "most under a lamp", "defects found", "AUC, made-up"])
    for (name, count), members in sorted(groups.items(), key=lambda item: (item[0][0], -item[0][1] or -(10**9))):
        mean = {key: np.mean([row[key] for row in members]) for key in ("auc", "normal_flagged", "anomalous_flagged")}
        pixels = [np.mean([row["pixels"][key] for row in members]) for key in ("pixel_auroc", "aupro")]
        chosen = ", ".join(sorted({row["statistics"]["chosen"] for row in members}))
        lamps = np.mean([max(row["lamps_flagged"].values()) for row in members])
        made_up = np.mean([row["statistics"]["candidates"][row["statistics"]["chosen"]] for row in members])
        cells = [name, f"{count or 'all'} ({members[0]['normal']})", str(len(members)), f"{mean['auc']:.3f}"]
        cells += [f"{min(row['auc'] for row in members):.3f}", f"{pixels[0]:.3f}", f"{pixels[1]:.3f}", chosen]
        cells += [f"{mean['normal_flagged']:.0%}", f"{lamps:.0%}", f"{mean['anomalous_flagged']:.0%}", f"{made_up:.3f}"]
        lines.append(line(cells))
    return [*lines, *circumstances(found)]


if __name__ == "__main__":
    pages.restart()
    main()
