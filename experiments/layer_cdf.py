"""Command: Figure 5 of the paper: distances of each layer, trained on all layers (MOCCA) and on the last one only.

python -m experiments.layer_cdf --mocca=runs/ship --holistic=runs/ship_deep_svdd

Both are finished CIFAR-10 runs of the same class and seed. The layers that the holistic run did not train get a
centroid like the others: the mean feature of the training images, not pushed from zero. Writes
experiments/figures/figure5.png and, for each run, a row of experiments/results/figure5.jsonl: the AUC of each layer by
itself and of their mean, and the largest vertical gap between the two curves (Kolmogorov and Smirnov's).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from scipy.stats import ks_2samp

from experiments import rows
from experiments.markdown import header, line
from experiments.sweep import RESULTS
from mocca_jax import Detector, data, models
from mocca_jax.data import batching, cache
from mocca_jax.files import whole
from mocca_jax.method import metrics
from mocca_jax.outputs import results
from mocca_jax.report import plots
from mocca_jax.scoring import evaluate
from mocca_jax.training import parallel
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES

LAYERS = (0, 1, 2, 3)
FIGURE = Path(__file__).parent / "figures" / "figure5.png"
ROWS = RESULTS / "figure5.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocca", type=Path, required=True)
    parser.add_argument("--holistic", type=Path, required=True)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--rows", type=Path, default=ROWS)
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    parallel.configure(0, str(cache.root() / "xla"))
    panels = {}
    for method in ("mocca", "holistic"):
        workdir = getattr(options, method)
        dataset, scores = layer_scores(workdir)
        labels = dataset.test.labels
        split = {name: (values[labels == 0], values[labels == 1]) for name, values in scores.layers.items()}
        panels |= {f"{method}, {name}": pair for name, pair in split.items()}
        run = whole.read_json(workdir / results.RESULT)
        row = {name: run[name] for name in ("description", "boundary", "seed", "commit")}
        row |= {"config_hash": f"{run['config_hash']} figure5", "method": method, "trained_layers": run["layers"]}
        row |= {"layers": {name: told_apart(*pair) for name, pair in split.items()}}
        row |= {"mean": told_apart(scores.combined[labels == 0], scores.combined[labels == 1])}
        rows.append(options.rows, row)
        print(json.dumps(row), flush=True)
    plots.save(options.figure, lambda axes: plots.cdfs(axes, panels), rows=2, columns=len(LAYERS), height=4.2)


def layer_scores(workdir: Path) -> tuple[data.Dataset, evaluate.Scores]:
    """The data of a run, and the squared distances `[S]` of its test images to the mean feature, at every layer."""
    detector = Detector.load(workdir)
    dataset = data.load(detector.config)
    stage, mesh = STAGES["one_class"], parallel.make_mesh()
    config = ConfigDict(detector.config.to_dict())
    config.update(layers=LAYERS, boundary="hard", score="distance")
    model = models.build(config, dataset.inputs.shape, LAYERS)
    state, size = detector.scorer.state, parallel.padded(config.batch_size, mesh)
    batches = batching.in_order(dataset.train, config.batch_size, size)
    pairs = (parallel.shard((batch.image, batch.mask), mesh) for batch in batches)
    centroids = train.compute_centroids(model, state, dataset.training_view, pairs, push=0.0)
    state = state.replace(centroids=centroids, radii={})
    scorer = evaluate.make_scorer(model, stage, dataset.inputs.preprocess, config)
    return dataset, evaluate.score_split(scorer, state, dataset.test, dataset.aggregate, config, mesh)


def told_apart(normal: np.ndarray, anomalous: np.ndarray) -> dict[str, float]:
    """AUC of a layer's distance, and the largest gap between the two distribution functions."""
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])
    auc = metrics.evaluate(labels, np.concatenate([normal, anomalous]))["auc"]
    return {"auc": auc, "gap": float(ks_2samp(normal, anomalous, method="asymp").statistic)}


def table(found: list[dict[str, Any]]) -> list[str]:
    """AUC and gap of each layer, a line per run."""
    names = [models.layer_name(layer) for layer in LAYERS]
    lines = header(["run", "trained on", *(f"{name}, AUC; gap" for name in names), "their mean"])
    for row in found:
        measured = [*(row["layers"][name] for name in names), row["mean"]]
        cells = [f"{found['auc']:.3f}; {found['gap']:.3f}" for found in measured]
        words = f"{row['description']}, {row['boundary']}, seed {row['seed']}"
        trained = "all layers" if len(row["trained_layers"]) == len(LAYERS) else f"layer {row['trained_layers'][0]}"
        lines.append(line([words, trained, *cells]))
    return lines


if __name__ == "__main__":
    main()
