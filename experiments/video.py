"""Command: rows for the video tables, one run after another; run it again to go on. `--table` prints them instead.

python -m experiments.video --variants=ped2,ped2_untrained --runs=runs/video
python -m experiments.video --table

One line of JSON per finished run goes to experiments/results/video.jsonl.
"""

import argparse
import json
from pathlib import Path

from absl import logging

from configs import video, video_synthetic
from experiments.mvtec import append
from mocca_jax import parallel, pipeline, results
from mocca_jax.data import cache

ROWS = Path(__file__).parent / "results" / "video.jsonl"
KEPT = ("seed", "frames", "planted", "threshold", "seconds", "commit", "sha256", "config_hash")
SIGNED = {"frame_differences": "signed"}
VARIANTS = {  # name: config, preset, changed fields; the first word of a name is the data set
    "ped2 published": (video, "ped2,published", {}),
    "ped2 published, untrained": (video, "ped2,published,untrained", {}),
    "ped2 preset": (video, "ped2", {}),
    "ped2 preset, untrained": (video, "ped2,untrained", {}),
    "ped2 preset, signed differences, untrained": (video, "ped2,untrained", SIGNED),
    "ped2 preset, LSTM heads": (video, "ped2", {"head": "lstm"}),
    "ped2 preset, mean heads": (video, "ped2", {"head": "mean"}),
    "ped2 preset, frames as input": (video, "ped2", {"frame_differences": "none"}),
    "synthetic preset": (video_synthetic, "", {}),
    "synthetic preset, untrained": (video_synthetic, "untrained", {}),
}
SCALINGS = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/video"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table([json.loads(line) for line in options.rows.read_text().splitlines()])))
        return
    logging.set_verbosity(logging.WARNING)
    parallel.configure(0, str(cache.root() / "xla"))
    for name in options.variants:
        config_file, preset, changes = VARIANTS[name]
        config = config_file.get_config(preset)
        config.update(seed=options.seed, **changes)
        workdir = options.runs / f"{name}-{options.seed}".replace(", ", "-").replace(" ", "-")
        result = pipeline.run(config, workdir)
        kept = {field: result[field] for field in KEPT}
        append(options.rows, {"variant": name, "distances": distances(workdir), **kept})


def distances(workdir: Path) -> dict[str, list[float]]:
    """Mean squared distance of each layer in each epoch of training."""
    path = workdir / results.METRICS
    epochs = [json.loads(line)["layers"] for line in path.read_text().splitlines()] if path.exists() else []
    return {layer: [epoch[layer]["distance"] for epoch in epochs] for layer in (epochs[0] if epochs else ())}


def table(rows: list[dict]) -> list[str]:
    """Markdown: frame AUC of each run's scores and layers; the layers' mean distance in the first and last epoch."""
    head = ("run", "seed", "score", *(name.replace("_", ", ") for name in SCALINGS), "distance")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        epochs = row["distances"]
        for score in sorted(row["frames"], key=lambda name: (name.startswith("layer"), name)):
            figures = [f"{row['frames'][score][scaling]:.3f}" for scaling in SCALINGS]
            figures.append(f"{epochs[score][0]:.3g} -> {epochs[score][-1]:.3g}" if score in epochs else "")
            lines.append("| " + " | ".join((row["variant"], str(row["seed"]), score, *figures)) + " |")
    return lines


if __name__ == "__main__":
    main()
