"""Command: does tuning the pretrained encoder by the paper's one-class stage help? Made-up defects say.

python -m experiments.tuned [--data=mvtec/bottle] [--variants=soft/0/0,soft/1/1e-5,hard/1/1e-5]

A variant is boundary/epochs/rate: pooled features of the folder's default are pulled towards their centroids for so
many epochs, then the statistics are fitted as ever. It prints the AUC on made-up defects, by which one would choose,
then that on the test set.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from mocca_jax import data, weights
from mocca_jax.configs import folder, mvtec
from mocca_jax.method import metrics
from mocca_jax.pipeline.stages import Training
from mocca_jax.scoring import evaluate, fitting, placed
from mocca_jax.training import interrupts, memory, parallel, stages
from mocca_jax.training import step as train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mvtec/bottle", help="folders below MOCCA_DATA_DIR, joined by commas")
    parser.add_argument("--variants", default="soft/0/0,soft/1/1e-5,hard/1/1e-5")
    options = parser.parse_args()
    parallel.configure(0, os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    for place in options.data.split(","):
        config = folder.get_config()
        config.data_dir = str(Path(os.environ["MOCCA_DATA_DIR"]) / place)
        dataset = data.load(config)
        for variant in options.variants.split(","):
            print(f"{place} {variant}: {measured(config, dataset, variant)}", flush=True)


def measured(config, dataset: data.Dataset, variant: str) -> str:
    """What a variant does, as a line."""
    began, mesh = time.monotonic(), parallel.make_mesh()
    state = train.untrained_state(tuned(config, dataset, variant), jax.random.key(0))
    seconds = time.monotonic() - began
    model = placed.network(config, dataset.inputs.shape)
    fitted = fitting.fit(model, state, dataset, config, mesh, {})
    scorer = evaluate.make_scorer(model, stages.last(config), dataset.inputs.preprocess, config)
    found = evaluate.score_split(scorer, fitted.state, dataset.test, "identity", config, mesh)
    test = metrics.evaluate(np.asarray(dataset.test.labels), found.combined)["auc"]
    made = fitted.made
    return f"tuned in {seconds:.0f} s, made-up defects {made.auc[made.chosen]:.4f} ({made.chosen}), test {test:.4f}"


def tuned(config, dataset: data.Dataset, variant: str) -> dict:
    """The encoder's variables."""
    boundary, epochs, rate = variant.split("/")
    if not int(epochs):
        return weights.load(config.encoder, None, max(placed.layers(config))).variables
    config = config.copy_and_resolve_references()
    config.update(head="mean", score="distance", stages=("one_class",), boundary=boundary, radius_warmup_epochs=0)
    config.one_class = mvtec._stage(int(epochs), float(rate))
    with tempfile.TemporaryDirectory() as workdir:
        training = Training(
            config, Path(workdir), dataset, interrupts.StopRequest(), lambda: None, memory.Budget(config)
        )
        state = training.all([stages.STAGES["one_class"]]).state
    return {"params": state.params, "batch_stats": state.batch_stats}


if __name__ == "__main__":
    main()
