"""Command: what pretext, layers, distance, views and pulling bring on CIFAR-10; run it again to go on.

python -m experiments.pretexts --trainings=rotation --classes=0,1,2,3,4,5,6,7,8,9 --seeds=0

Each training of `TRAININGS` is done once for a class and a seed, and its encoder scored in all ways of `scorings`. A
row of experiments/results/pretexts.jsonl is one of them, whole or absent. Beside the AUC on the test set a row has that
on the watched training images against training images of the other classes: settings are chosen by that, on a few
classes, and never by the test set. Started twice at once, on a core each, it shares the work.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from experiments import rows, sweep
from mocca_jax import config as configs
from mocca_jax import data, pipeline
from mocca_jax.configs import cifar10
from mocca_jax.console import pages
from mocca_jax.data import cache
from mocca_jax.data.sets import cifar10 as images_of
from mocca_jax.method import metrics, pooled
from mocca_jax.outputs import folders, results
from mocca_jax.pipeline.stages import CHECKPOINTS, Training
from mocca_jax.report import plots
from mocca_jax.scoring import pooling
from mocca_jax.training import interrupts, memory, parallel
from mocca_jax.training.stages import STAGES

FIGURE = Path(__file__).parent / "figures" / "pretexts.png"
RESULTS = sweep.RESULTS / "pretexts.jsonl"
LAYERS = (1, 2, 3)
PRETRAINED = "pretrained"
MIRRORED = "turned_and_mirrored"
OTHERS = 200  # training images of each other class, for the choice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trainings", default="rotation", help="with | between: " + ", ".join([*TRAININGS, PRETRAINED])
    )
    parser.add_argument("--classes", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--runs", type=Path, default=Path("runs/pretexts"))
    parser.add_argument("--rows", type=Path, default=RESULTS)
    parser.add_argument(
        "--figure", type=int, default=-1, help="a class whose distances by layer are drawn, as Figure 5"
    )
    options = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    parallel.configure(0, str(cache.root() / "xla"))
    for training in options.trainings.split("|"):
        for seed in map(int, options.seeds.split(",")):
            for normal in map(int, options.classes.split(",")):
                config = config_of(training, normal, seed)
                known = {row["config_hash"] for row in rows.read(options.rows)}
                with sweep.claimed(options.runs / f"{configs.digest(config)}.lock") as free:
                    if free and configs.digest(config) not in known:
                        path = FIGURE if normal == options.figure else None
                        row = run(config, options.runs / configs.digest(config), path)
                        labels = {"training": training, "class": images_of.CLASSES[normal], "seed": seed}
                        rows.append(options.rows, labels | row)
                        print(labels, round(row["cpu_minutes"], 1), "CPU minutes,", best(labels | row), flush=True)


def config_of(training: str, normal: int, seed: int) -> ConfigDict:
    """The preset's, changed as the training says."""
    config = cifar10.get_config("rotation")
    config.layers, config.head = LAYERS, "mean"  # of all layers; the last one's whole map comes later
    config.score, config.score_views = "combined", "plain"  # the pretext's loss too, in the pretext's views
    if training == PRETRAINED:
        config = cifar10.get_config("pretrained")
        config.watched, config.layers = 500, (13, 14, 15)
    else:
        TRAININGS[training](config)
    config.normal_class, config.seed = normal, seed
    return config


def run(config: ConfigDict, workdir: Path, figure: Path | None = None) -> dict[str, Any]:
    """Trains, or goes on; then the AUC of every way to score, `{name: {"validation": ..., "test": ...}}`.

    `figure`: where the distances of the test images are drawn by layer, as in the paper's Figure 5.
    """
    began, worked = time.monotonic(), time.process_time()
    dataset = data.load(config)
    stages = [STAGES[name] for name in config.stages]
    with folders.claim(config, workdir, dataset.files), interrupts.stop_request() as stop:
        if stages:
            _take_over_first_stage(config, workdir)
            training = Training(config, workdir, dataset, stop, lambda: None, memory.Budget(config))
            trained = training.all(stages)
            state, seconds, advice = trained.state, sum(trained.seconds.values()), trained.advice
        else:
            state, seconds, advice = pipeline.pretrained(config)[0], 0.0, {}
        spent = {"minutes": seconds / 60, "cpu_minutes": (time.process_time() - worked) / 60, "advice": advice}
        look = pooling.looking(state, dataset, config, parallel.make_mesh(), stop)
        sets = {"train": dataset.train.images, "watched": dataset.watched.images}
        sets |= {"others": others(config), "test": dataset.test.images}
        seen = {name: look(images, np.arange(len(images)), name) for name, images in sets.items()}
        if not stages:  # looking at the images is all that it takes
            spent["cpu_minutes"] = (time.process_time() - worked) / 60
        aucs = scorings(seen, dataset.test.labels)
        if figure:
            draw(seen, dataset.test.labels, figure)
        for head, of in (("mean", tuple(pooled.DISTANCES)), ("whole", ("cosine",))) if stages else ():
            twice = config.copy_and_resolve_references()
            twice.update({"score": "distance", "score_views": MIRRORED, "layers": config.layers[-1:], "head": head})
            look = pooling.looking(state, dataset, twice, parallel.make_mesh(), stop)
            seen = {name: look(images, np.arange(len(images)), name) for name, images in sets.items()}
            found = scorings(seen, dataset.test.labels, of)
            how = "mirrored too" if head == "mean" else f"{head}, mirrored too"
            aucs |= {f"{name}, {how}": auc for name, auc in found.items() if "one view" not in name}
    return {
        "aucs": aucs,
        **spent,
        "wall_seconds": time.monotonic() - began,
        "epochs": {name: config[name].epochs for name in config.stages},
        "config_hash": configs.digest(config),
        "config": configs.as_dict(config),
        **results.circumstances(),
    }


def _take_over_first_stage(config: ConfigDict, workdir: Path) -> None:
    """Copies the preset's encoder, where it was trained already and is what a training begins with."""
    preset = config_of("rotation", config.normal_class, config.seed)
    source = workdir.parent / configs.digest(preset) / CHECKPOINTS / "rotation"
    target = workdir / CHECKPOINTS / "rotation"
    alike = all(config[name] == preset[name] for name in ("encoder", "code_size", "rotation"))
    if len(config.stages) > 1 and alike and source.is_dir() and not target.exists():
        with sweep.draft_of(target) as draft:
            shutil.copytree(source, draft, dirs_exist_ok=True)


def others(config: ConfigDict) -> np.ndarray:
    """Training images of the classes that are not normal, evenly spread."""
    arrays = images_of.arrays(config)
    of_class = [np.flatnonzero(arrays["train_label"] == label) for label in range(10) if label != config.normal_class]
    chosen = [rows[np.linspace(0, len(rows) - 1, OTHERS).round().astype(int)] for rows in of_class]
    return arrays["train_image"][np.sort(np.concatenate(chosen))]


def scorings(
    seen: dict[str, pooling.Seen], labels: np.ndarray, by: tuple[str, ...] = tuple(pooled.DISTANCES)
) -> dict[str, dict[str, float]]:
    """The AUC of every way to score, by name, of what the network made of each set of images, with some distances."""
    losses = {name: loss for name, (_, loss) in seen.items()}
    asks = losses["test"] is not None
    found = {"pretext": measured({name: {} for name in seen}, losses, (pooling.PRETEXT,), labels)} if asks else {}
    for distance in by:
        for views in (None, 1):
            parts = distances(seen, distance, views)
            for layers in layer_sets(parts["test"]) if views is None else [last_of(parts["test"])]:
                chosen = {name: {f"layer{n}": of[f"layer{n}"] for n in layers} for name, of in parts.items()}
                name = f"{distance} {'+'.join(map(str, layers))}{', one view' if views else ''}"
                found[name] = measured(chosen, losses, (pooling.DISTANCE,), labels)
                if asks and views is None:
                    both = (pooling.DISTANCE, pooling.PRETEXT)
                    found[f"{name}, pretext"] = measured(chosen, losses, both, labels)
    return found


def draw(seen: dict[str, pooling.Seen], labels: np.ndarray, path: Path) -> None:
    """Distances by direction of normal and anomalous test images, cumulative, a panel for each layer."""
    found = distances(seen, "cosine", None)["test"]
    panels = {name: (values[labels == 0], values[labels == 1]) for name, values in sorted(found.items())}
    plots.save(path, lambda axes: plots.cdfs(axes, panels), rows=1, columns=len(panels), height=2.4)


def layer_sets(parts: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
    """Each layer by itself, the last two, all."""
    layers = tuple(sorted(int(name.removeprefix("layer")) for name in parts))
    return [*((layer,) for layer in layers), *(layers[-count:] for count in range(2, len(layers) + 1))]


def last_of(parts: dict[str, np.ndarray]) -> tuple[int, ...]:
    """The last layer."""
    return max(layer_sets(parts), key=lambda layers: (layers[0], -len(layers)))


def distances(seen: dict[str, pooling.Seen], distance: str, views: int | None) -> dict[str, dict[str, np.ndarray]]:
    """By set of images and layer, in the first views alone or in all."""
    cut = {name: {layer: x[:, :views] for layer, x in features.items()} for name, (features, _) in seen.items()}
    layers = {name: pooled.fit(x, distance) for name, x in cut["train"].items()}
    return {name: pooling.of_parts(distance, layers, of) for name, of in cut.items() if name != "train"}


def measured(
    parts: dict[str, dict[str, np.ndarray]], losses: dict[str, Any], terms: tuple[str, ...], labels: np.ndarray
) -> dict[str, float]:
    """The AUCs of one way to score: of distances by set and layer, and losses by set."""
    weights = pooled.equal(parts["watched"])
    known = pooled.Pooled({}, pooling.usual(parts["watched"], losses["watched"], weights), weights)

    def scores(name: str) -> np.ndarray:
        loss = {} if losses[name] is None else {pooling.PRETEXT: losses[name]}
        return np.asarray(pooled.unit_scores(known, parts[name] | loss, terms)[pooled.SCORE])

    return {
        "validation": metrics.auc_between(scores("watched"), scores("others")),
        "test": metrics.evaluate(labels, scores("test"))["auc"],
    }


def _with(**fields: Any) -> Callable[[ConfigDict], None]:
    return lambda config: config.update(fields)


def _pretext(name: str, score: str = "combined") -> Callable[[ConfigDict], None]:
    def change(config: ConfigDict) -> None:
        config[name] = ConfigDict(config.rotation.to_dict())
        config.stages, config.score = (name,), score

    return change


def _reconstruction(config: ConfigDict) -> None:
    _pretext("reconstruction", "distance")(config)
    config.reconstruction.update({"optimizer": "adam", "learning_rate": 1e-3})  # momentum diverges on summed errors


def _then_pulled(boundary: str) -> Callable[[ConfigDict], None]:
    def change(config: ConfigDict) -> None:
        config.stages, config.score, config.score_views = ("rotation", "one_class"), "distance", "turned"
        config.boundary = boundary
        config.one_class.update({"epochs": 10, "milestones": ()})
        config.radius_warmup_epochs = 2

    return change


def _epochs(count: int, change: Callable[[ConfigDict], None] = lambda config: None) -> Callable[[ConfigDict], None]:
    """With so many epochs; 12 for comparisons."""

    def lasting(config: ConfigDict) -> None:
        config.rotation.epochs = count
        change(config)

    return lasting


TRAININGS: dict[str, Callable[[ConfigDict], None]] = {
    "rotation": lambda config: None,
    "rotation, 54 epochs": _epochs(54),
    "rotation, then soft": _then_pulled("soft"),
    "rotation, then hard": _then_pulled("hard"),
    "rotation, 12 epochs": _epochs(12),
    "transforms, 12 epochs": _epochs(12, _pretext("transforms")),
    "pasted, 12 epochs": _epochs(12, _pretext("pasted")),
    "reconstruction, 12 epochs": _epochs(12, _reconstruction),
    "rotation, wider, 12 epochs": _epochs(12, _with(code_size=192)),
    "rotation, deeper, 12 epochs": _epochs(12, _with(encoder="resnet14")),
}


def preset_name(row: dict[str, Any]) -> str:
    """How the presets score: by the direction of the last layer's features, in several views."""
    more = "" if row["training"] == PRETRAINED else ", whole, mirrored too"  # there they are mirrored anyway
    return f"cosine {max(row['config']['layers'])}{more}"


def best(row: dict[str, Any]) -> float:
    """The AUC on the test set, scored as the presets do."""
    return row["aucs"][preset_name(row)]["test"]


if __name__ == "__main__":
    pages.restart()
    main()
