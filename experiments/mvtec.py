"""Command: rows for the MVTec AD tables, one run after another; run it again to go on.

python -m experiments.mvtec --categories=grid,bottle,screw --boundaries=soft,hard --seeds=0,1,2 --runs=runs/mvtec

One line of JSON per finished run goes to experiments/results/mvtec.jsonl. Runs of one category and seed train the
same auto-encoder: it is trained once and its checkpoint copied. Baselines (`--baselines`): the encoder as
initialised, and the reconstruction error.
"""

import argparse
import itertools
import json
import shutil
from pathlib import Path

from absl import logging

from configs import mvtec
from mocca_jax import config as configs
from mocca_jax import parallel, pipeline, results
from mocca_jax.data import cache

ROWS = Path(__file__).parent / "results" / "mvtec.jsonl"
KEPT = ("boundary", "layers", "seed", "metrics", "made_up_defects", "threshold", "maps", "seconds", "commit", "sha256")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", default="grid,bottle,screw")
    parser.add_argument("--boundaries", default="soft,hard")
    parser.add_argument("--layers", default="456,4567", help="digits")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/mvtec"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--baselines", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    parallel.configure(0, str(cache.root() / "xla"))
    texts = (options.seeds, options.boundaries, options.layers, options.categories)
    for seed, boundary, layers, category in itertools.product(*(text.split(",") for text in texts)):
        presets = ["untrained", "reconstruct"] if options.baselines else ["laptop"]
        for preset in presets:
            config = mvtec.get_config(f"{category},{preset}")
            config.update(boundary=boundary, layers=tuple(int(j) for j in layers), seed=int(seed))
            name = f"{category}-{preset}-{boundary}-{layers}-{seed}"
            row = one(config, options.runs / name, options.runs / f"stage-one-{category}-{seed}")
            row |= {"category": category, "preset": preset}
            append(options.rows, row)


def one(config, workdir: Path, shared: Path) -> dict:
    """Runs a config in `workdir` on the auto-encoder in `shared`, or puts it there."""
    first = Path("checkpoints/reconstruction")
    if (shared / first).exists() and not workdir.exists() and "reconstruction" in config.stages:
        shutil.copytree(shared / first, workdir / first)
        results.write_json(workdir / results.CONFIG, configs.as_dict(config))
    result = pipeline.run(config, workdir)
    if not (shared / first).exists() and (workdir / first).exists():
        shutil.copytree(workdir / first, shared / first)
    return {name: result[name] for name in KEPT if name in result}


def append(path: Path, row: dict) -> None:
    """Adds a row unless it is there."""
    line = json.dumps(row, sort_keys=True) + "\n"
    if not path.exists() or line not in path.read_text().splitlines(keepends=True):
        with open(path, "a") as file:
            file.write(line)
        print(line, end="", flush=True)


if __name__ == "__main__":
    main()
