"""The pictures of a report: the best and the worst of the test set, by what decides, each with a caption."""

import base64
import html
from pathlib import Path

import numpy as np

from mocca_jax.method import threshold
from mocca_jax.outputs import examples, verdict
from mocca_jax.report import figures, overlays
from mocca_jax.report.figures import Table

MADE_UP = 8  # shown where there is no test set


def figure(path: Path, caption: str, alt: str = "") -> str:
    """A PNG or JPEG within the page, and what it shows."""
    data = base64.b64encode(path.read_bytes()).decode()
    said = html.escape(caption)
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    image = f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alt) or said}">'
    return f"<figure>{image}<figcaption>{said}</figcaption></figure>"


def section(run: Path, tables: dict[str, Table], result: dict) -> list[str]:
    """The samples that are worth a look; without a test set, made-up defects. Nothing where no picture was kept."""
    test = tables.get("test")
    body = _of_test(run, test, tables.get("heldout"), result) if test and test["sample"] else _made_up(run)
    return ["<h2>Samples worth a look</h2>", *body] if body else []


def _of_test(run: Path, test: Table, heldout: Table | None, result: dict) -> list[str]:
    names, column = examples.file_names(test["sample"]), figures.deciding(result)
    heldout = heldout if heldout and column in heldout else None
    reference = heldout or test
    body, shown = [], []
    for kind, indices in examples.choose(test[column], test["label"]).items():
        if indices.tolist() in shown:
            continue
        shown.append(indices.tolist())
        cards, folders = [], set()
        for index in indices.tolist():
            for folder in (overlays.OVERLAYS, examples.FOLDER):
                if (path := run / folder / f"{names[index]}.png").is_file():
                    cards.append(figure(path, _says(test, index, reference, result), test["sample"][index]))
                    folders.add(folder)
                    break
        body += _cards(kind.capitalize(), cards, overlays.OVERLAYS in folders)
    if not body:
        return []
    said = f"Under each picture: its {figures.name_of(column, result)}"
    said += ", and its p-value, the share of good ones that look at least as anomalous" if heldout else ""
    if figures.deciding_parts(result, test):
        of = f"{verdict.unseen(result)} normal" if heldout else "all test"
        part = "part" if result.get("statistics") else "layer"
        said += f"; then the {part} that spoke loudest, in interquartile ranges above the median of {of} samples"
    return [f"<p>{html.escape(said)}.</p>", *body]


def _made_up(run: Path) -> list[str]:
    """Where there is no test set: good pictures with made-up defects."""
    paths = sorted((run / overlays.OVERLAYS / "made_up_defects").glob("*.png"))[:MADE_UP]
    cards = [figure(path, path.stem) for path in paths]
    return _cards("Made-up defects, each on a good picture", cards, True)


def _cards(heading: str, cards: list[str], wide: bool) -> list[str]:
    if not cards:
        return []
    return [f"<h3>{heading}</h3>", f'<div class="cards{" maps" if wide else ""}">', *cards, "</div>"]


def _says(test: Table, index: int, reference: Table, result: dict) -> str:
    """The sample, what decides of it, and the part of that which is furthest above what is usual."""
    column = figures.deciding(result)
    value = test[column][index]
    parts = [test["sample"][index], f"{'map' if column == figures.MAP_LARGEST else 'score'} {value:.4g}"]
    if reference is not test:
        rounding = result["decision"].get("rounding", 0.0)
        parts.append(f"p-value {threshold.p_values(np.array([value]), reference[column], rounding)[0]:.3g}")
    loudness = {}
    for name in figures.deciding_parts(result, test):
        low, middle, high = np.quantile(reference[name], [0.25, 0.5, 0.75])
        loudness[name] = (test[name][index] - middle) / max(high - low, 1e-12)
    if loudness:
        loudest = max(loudness, key=loudness.get)
        parts.append(f"{loudest}: {loudness[loudest]:+.1f}")
    return ", ".join(parts)
