"""Command: parts without foreign weights, beside the default that has some; run it again to go on.

MOCCA_DATA_DIR=... python -m experiments.scratch [--data=mvtec/bottle,mvtec/grid,mvtec/screw] [--ways=pasted,untrained]

The same network and the same statistics by place each time; ways differ in what the encoder learned before. A row of
experiments/results/scratch.jsonl is a finished run. `python -m experiments.tables` makes the table.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from experiments import pretrained, rows, sweep
from experiments.markdown import circumstances, header, line
from mocca_jax import config as configs
from mocca_jax import pipeline
from mocca_jax.configs import folder
from mocca_jax.console import pages
from mocca_jax.data import cache
from mocca_jax.outputs import results
from mocca_jax.training import parallel

ROWS = sweep.RESULTS / "scratch.jsonl"
WAYS = ("untrained", "reconstruction", "pasted", "pretrained")
DEFAULT = "mvtec/bottle,mvtec/grid,mvtec/screw,piped"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=DEFAULT)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--runs", type=Path, default=Path("runs/scratch"))
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    parallel.configure(0, str(cache.root() / "xla"))
    for place in options.data.split(","):
        for found in pretrained.categories(Path(os.environ["MOCCA_DATA_DIR"]) / place):
            for way in options.ways.split(","):
                for seed in map(int, options.seeds.split(",")):
                    measure(found, way, seed, options.runs)


def config_of(way: str, seed: int) -> ConfigDict:
    """That of `folder.py:scratch`, with another pretext; or the default."""
    config = folder.get_config("pretrained" if way == "pretrained" else "scratch")
    config.seed = seed
    if way == "untrained":
        config.pasted.epochs = 0
    if way == "reconstruction":
        config.stages, config.reconstruction = (way,), ConfigDict(config.pasted.to_dict())
        config.reconstruction.update({"optimizer": "adam", "learning_rate": 1e-3, "schedule": "steps", "epochs": 5})
    return config


def measure(place: Path, way: str, seed: int, runs: Path) -> None:
    """Adds a row, unless it is there."""
    config = config_of(way, seed)
    digest = f"{configs.digest(config)}-{place.name}"
    if digest in {row["config_hash"] for row in rows.read(ROWS)}:
        return
    config.data_dir = str(place)
    result = pipeline.run(config, runs / digest)
    maps, defects = result["maps"]["test"] or {}, result["made_up_defects"]["combined"]["auc"]
    row = {"data": place.name, "way": way, "seed": seed, "config_hash": digest, "made_up": defects}
    row |= {"auc": result["metrics"]["combined"]["auc"], "normal_flagged": result["decision"].get("normal_flagged")}
    row |= {name: maps.get(name) for name in ("pixel_auroc", "aupro")}
    row |= {"seconds": result["seconds"], "wall_seconds": sum(result["seconds"].values())}
    row |= {name: result[name] for name in results.circumstances()}
    rows.append(ROWS, row)
    print(place.name, way, seed, round(row["auc"], 3), f"{row['wall_seconds'] / 60:.1f} min", flush=True)


def table(found: list[dict[str, Any]]) -> list[str]:
    """Image AUC, in parentheses that on made-up defects, of each way on each kind of part."""
    lines = header(["data", *(f"{way}: AUC (made-up), pixel AUROC" for way in WAYS), "minutes of `pasted`"])
    for data in sorted({row["data"] for row in found}):
        by_way = {row["way"]: row for row in found if row["data"] == data and row["seed"] == 0}
        cells = []
        for way in WAYS:
            row = by_way.get(way)
            pixels = f", {row['pixel_auroc']:.3f}" if row and row["pixel_auroc"] else ""
            cells.append(f"{row['auc']:.3f} ({row['made_up']:.3f}){pixels}" if row else "")
        minutes = f"{by_way['pasted']['wall_seconds'] / 60:.1f}" if "pasted" in by_way else ""
        lines.append(line([data, *cells, minutes]))
    return [*lines, *circumstances(found)]


if __name__ == "__main__":
    pages.restart()
    main()
