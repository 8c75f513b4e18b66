"""The table of what pretext, layers, distance, views and pulling bring, from the rows of `experiments.pretexts`."""

from typing import Any

import numpy as np

from experiments import rows, sweep, table1
from experiments.markdown import circumstances, header, line
from experiments.pretexts import PRETRAINED, TRAININGS, best, preset_name
from mocca_jax.data.sets import cifar10 as images_of


def table(found: list[dict[str, Any]]) -> list[str]:
    """Table I with encoders that other pretexts trained, then what each choice brings."""
    mocca = table1.aucs_of(rows.read(sweep.RESULTS / "table1.jsonl"))["mocca", "soft"]
    whole = [name for name in (*TRAININGS, PRETRAINED) if len(classes_of(found, name)) == len(images_of.CLASSES)]
    lines = header(["normal class", "paper, soft", "MOCCA soft, `quick`", *(f"`{name}`" for name in whole)])
    for index, normal in enumerate(images_of.CLASSES):
        figures = [f"{of:.3f}" for name in whole for of in [mean_of(found, name, normal)]]
        ours = table1.average(table1.of(mocca, normal))
        lines.append(line([normal, f"{images_of.PAPER_SOFT[index]:.3f}", f"{ours:.3f}" if ours else "", *figures]))
    by_class = {name: [mean_of(found, name, normal) for normal in images_of.CLASSES] for name in whole}
    ours = [table1.average(table1.of(mocca, normal)) for normal in images_of.CLASSES]
    means = [np.mean(of) for of in (images_of.PAPER_SOFT, [of for of in ours if of], *by_class.values())]
    lines.append(line(["mean", *(f"{mean:.3f}" for mean in means)]))
    hours = [sum(row["cpu_minutes"] for row in found if row["training"] == name and row["seed"] == 0) for name in whole]
    lines.append(line(["hours of one core, a seed", "", "", *(f"{minutes / 60:.2f}" for minutes in hours)]))
    lines.append("")
    for name in whole:
        apart = [by_class[name][i] - of for i, of in enumerate(ours) if of]
        low, high = table1.bootstrap(apart)
        lines.append(
            f"- `{name}` less MOCCA, soft, `quick`: {np.mean(apart):+.3f}, 95 % interval {low:+.3f} to {high:+.3f} "
            f"(paired bootstrap over {len(apart)} classes)"
        )
    return [*lines, "", *spread(found), "", *choices(found), *circumstances(found)]


def spread(found: list[dict[str, Any]]) -> list[str]:
    """Classes with several seeds."""
    lines = []
    for training in (*TRAININGS, PRETRAINED):
        for normal in images_of.CLASSES:
            values = [best(row) for row in found if (row["training"], row["class"]) == (training, normal)]
            if len(values) > 1:
                told = ", ".join(f"{value:.3f}" for value in values)
                lines.append(f"- `{training}`, {normal}: {told}, standard deviation {np.std(values, ddof=1):.3f}")
    return lines


def choices(found: list[dict[str, Any]]) -> list[str]:
    """What each training and each way to score brings, beside the preset on the same classes, with the first seed."""
    found = [row for row in found if row["seed"] == 0]  # others there are of some classes alone
    lines = header(["training", "score", "classes", "watched against other training images", "test", "less the preset"])
    preset = {row["class"]: best(row) for row in found if row["training"] == "rotation"}
    for training in (*TRAININGS, PRETRAINED):
        of = [row for row in found if row["training"] == training and row["class"] in preset]
        names = sorted({name for row in of for name in row["aucs"]}) if training in ("rotation", PRETRAINED) else []
        for name in names or sorted({preset_name(row) for row in of}):
            pairs = [(row["aucs"][name], preset[row["class"]]) for row in of]
            validation, test = (np.mean([pair[0][what] for pair in pairs]) for what in ("validation", "test"))
            apart = np.mean([auc["test"] - reference for auc, reference in pairs])
            counted = str(len({row["class"] for row in of}))
            lines.append(line([f"`{training}`", name, counted, f"{validation:.3f}", f"{test:.3f}", f"{apart:+.3f}"]))
    return lines


def classes_of(found: list[dict[str, Any]], training: str) -> set[str]:
    """The classes that a training has a row of."""
    return {row["class"] for row in found if row["training"] == training}


def mean_of(found: list[dict[str, Any]], training: str, normal: str) -> float:
    """The preset's AUC on the test set, the mean over seeds."""
    return float(np.mean([best(row) for row in found if (row["training"], row["class"]) == (training, normal)]))
