"""The report of a finished run as one page that opens offline, and its plots as PNG.

Every run writes it when it ends: report.html and plots/*.png in its workdir. Everything in it comes from files of the
run; nothing is computed anew.
"""

import base64
import html
import json
from pathlib import Path

import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.outputs import examples, results, table
from mocca_jax.report import figures
from mocca_jax.report.figures import Table
from mocca_jax.training import log

FILE, PLOTS = "report.html", "plots"

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; color: #1a1a1a }
h1 { font-size: 1.5rem; line-height: 1.25 } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p, li { max-width: 46rem } .lead { font-size: 1.1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; height: auto } .pair { display: flex; flex-wrap: wrap; gap: 1rem }
.pair > figure { flex: 1 1 20rem } figure { margin: 0 0 1rem } figcaption { font-size: .85rem; color: #444 }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem }
.maps { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)) }
.cards img { width: 100% } pre { overflow-x: auto; font-size: .8rem; background: #f5f5f5; padding: .7rem }
"""


def write(run: Path) -> Path:
    """Writes plots and page; returns the page's path.

    Raises:
        UserError: the run is not finished, or nothing can be written there.
    """
    if not (run / results.RESULT).is_file():
        raise UserError(f"{run} holds no finished run; the report is made of what a finished run leaves")
    try:
        return _write(run)
    except OSError as error:
        raise UserError(f"cannot write the report to {run}: {error}") from error
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"the files of {run} are damaged or do not belong together ({type(error).__name__}: {error}). Remove "
            f"{results.RESULT} and give the training command again: it evaluates anew."
        ) from error


def _write(run: Path) -> Path:
    result = whole.read_json(run / results.RESULT)
    tables = {name: figures.read_scores(run / file) for name, file in results.SCORES.items() if (run / file).is_file()}
    (run / PLOTS).mkdir(exist_ok=True)
    drawn = figures.draw(run / PLOTS, result, tables, figures.read_epochs(run / log.METRICS))
    whole.write_whole(run / FILE, _page(run, result, tables, drawn))
    return run / FILE


def _page(run: Path, result: dict, tables: dict[str, Table], drawn: list[tuple[Path, str]]) -> str:
    title = html.escape(result["description"])
    body = [f"<h1>{title}</h1>", *_lead(result), *_metrics(result)]
    by_name = {path.stem: (path, caption) for path, caption in drawn}
    for heading, names in (
        ("How well good and anomalous samples are told apart", ("scores", "roc")),
        ("Which layers tell them apart", ("layers",)),
        ("Over time", ("videos",)),
    ):
        shown = [_figure(*by_name[name]) for name in names if name in by_name]
        body += [f"<h2>{heading}</h2>", '<div class="pair">', *shown, "</div>"] if shown else []
    body += _examples(run, tables, result)
    if "training" in by_name:
        body += ["<h2>Training</h2>", _figure(*by_name["training"])]
    kept = {name: result[name] for name in ("version", "commit", "python", "packages", "device", "seconds", "sha256")}
    for heading, value in (("Configuration", result["config"]), ("Circumstances", kept)):
        text = html.escape(json.dumps(value, indent=2, sort_keys=True))
        body.append(f"<details><summary>{heading}</summary><pre>{text}</pre></details>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _lead(result: dict) -> list[str]:
    samples, found = result["samples"], result["threshold"]
    lines = [
        f"Trained on {samples['train']} normal samples; tested on {samples['normal']} normal and "
        f"{samples['anomalous']} anomalous ones. A larger score means more anomalous; scores of two models cannot be "
        "compared."
    ]
    if result["metrics"]:
        auc = result["metrics"]["combined"]["auc"]
        said = f"An anomalous sample scores higher than a normal one in {auc:.1%} of all pairs (AUC {auc:.3f}"
        said += f"; the paper: {result['paper_auc']})." if result.get("paper_auc") else ")."
        lines.insert(0, said)
    if found:
        said = (
            f"The threshold {found['score']:.4g} comes from {found['heldout']} held-out normal samples alone: at most "
            f"{found['promised_share']:.1%} of good samples exceed it."
        )
        flagged = [
            f"{found[f'{k}_flagged']:.1%} of the {k}" for k in ("normal", "anomalous") if f"{k}_flagged" in found
        ]
        lines.append(said + (f" On the test set it flags {' and '.join(flagged)} samples." if flagged else ""))
    else:
        lines.append("Nothing was held out, so there is no threshold: scores order samples and decide nothing.")
    maps = result["maps"]
    if maps and maps["test"]:
        lines.append(
            f"Anomaly maps ({maps['method']}): pixel AUROC {maps['test']['pixel_auroc']:.3f}, AUPRO "
            f"{maps['test']['aupro']:.3f} on the test images whose defects are marked."
            + (
                f" The largest value of the map, as an image's score: AUC {maps['test']['image_auc']:.3f}."
                if "image_auc" in maps["test"]
                else ""
            )
        )
    if said := table.decided(result):
        lines.append(f"{said[0].upper()}{said[1:]}.")
    return [f'<p class="lead">{html.escape(lines[0])}</p>', *(f"<p>{html.escape(line)}</p>" for line in lines[1:])]


def _metrics(result: dict) -> list[str]:
    if not result["metrics"]:
        return []
    rows = ["<tr><th></th><th>AUC</th><th>AP</th><th>maxBA</th></tr>"]
    for name in sorted(result["metrics"], key=lambda n: n != "combined"):
        row = result["metrics"][name]
        rows.append(
            f"<tr><td>{name}</td><td>{row['auc']:.4f}</td><td>{row['ap']:.4f}</td><td>{row['max_ba']:.4f}</td></tr>"
        )
    lines = ['<div class="wide"><table>', *rows, "</table></div>"]
    lines.append("<p>maxBA takes the best threshold in hindsight, with the test labels: an oracle's figure.</p>")
    if result.get("frames"):
        names = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")
        head = "".join(f"<th>{name.replace('_', ', ')}</th>" for name in names)
        lines += ['<div class="wide"><table>', f"<tr><th>frame AUC</th>{head}</tr>"]
        for name, row in result["frames"].items():
            cells = "".join(f"<td>{row[n]:.4f}</td>" if n in row else "<td></td>" for n in names)
            lines.append(f"<tr><td>{name}</td>{cells}</tr>")
        lines += [
            "</table></div>",
            "<p>Scaled per video: by extremes of the whole test video, known only afterwards.</p>",
        ]
    return lines


def _figure(path: Path, caption: str, alt: str = "") -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    said = html.escape(caption)
    image = f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt) or said}">'
    return f"<figure>{image}<figcaption>{said}</figcaption></figure>"


def _examples(run: Path, tables: dict[str, Table], result: dict) -> list[str]:
    test = tables.get("test")
    if not test or not test["sample"]:
        return []
    names = examples.file_names(test["sample"])
    reference = tables.get("heldout", test)
    body, shown = [], []
    for kind, indices in examples.choose(test["score"], test["label"]).items():
        if indices.tolist() in shown:
            continue
        shown.append(indices.tolist())
        cards, kinds = [], set()
        for index in indices.tolist():
            found = [p for f in ("overlays", examples.FOLDER) if (p := run / f / f"{names[index]}.png").is_file()]
            if found:
                kinds.add(found[0].is_relative_to(run / "overlays"))
                cards.append(_figure(found[0], _says(test, index, reference), test["sample"][index]))
        if cards:
            body += [
                f"<h3>{kind.capitalize()}</h3>",
                f'<div class="cards{" maps" if True in kinds else ""}">',
                *cards,
                "</div>",
            ]
    if not body:
        return []
    said = (
        "Under each picture: its score and the layer that spoke loudest, in interquartile ranges above the median of "
        f"{'held-out normal' if 'heldout' in tables else 'all test'} samples."
    )
    return ["<h2>Samples worth a look</h2>", f"<p>{said}</p>", *body]


def _says(test: Table, index: int, reference: Table) -> str:
    """The sample, its score, and the layer whose own score is furthest above what is usual."""
    loudness = {}
    for name in figures.layers_of(test):
        low, middle, high = np.quantile(reference[name], [0.25, 0.5, 0.75])
        loudness[name] = (test[name][index] - middle) / max(high - low, 1e-12)
    parts = [test["sample"][index], f"score {test['score'][index]:.4g}"]
    if "p_value" in test:
        parts.append(f"p-value {test['p_value'][index]:.3g}")
    if loudness:
        loudest = max(loudness, key=loudness.get)
        parts.append(f"{loudest}: {loudness[loudest]:+.1f}")
    return ", ".join(parts)
