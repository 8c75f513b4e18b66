"""The report of a finished run as one page that opens offline, and its plots as PNG.

Every run writes it when it ends: report.html and plots/*.png in its workdir. Everything in it comes from files of the
run; nothing is computed anew.
"""

import html
import json
from functools import partial
from pathlib import Path

from mocca_jax.errors import UserError
from mocca_jax.files import whole
from mocca_jax.method import metrics, motion
from mocca_jax.outputs import results, verdict
from mocca_jax.report import figures, moments, reasons, samples
from mocca_jax.report.figures import Table
from mocca_jax.scoring import moving
from mocca_jax.training import log
from mocca_jax.training.parts import STRICT, Parts

FILE, PLOTS = "report.html", "plots"
LOOKS = {  # the kinds of made-up defects, `data/defects.py`
    "scratch": "a thin line, lighter or darker",
    "stain": "a spot of another shade",
    "spots": "a few small dots",
    "patch": "a piece that belongs elsewhere",
    "missing": "a piece gone, filled with what is around it",
    "blur": "a smeared spot",
    "fray": "a spot pushed out of shape",
    "turned": "a disc of the picture, turned",
    # of made-up anomalies in videos, `data/planted.py`
    "speed2": "everything twice as fast",
    "speed3": "everything three times as fast",
    "slow": "everything half as fast",
    "still": "everything stands still",
    "backwards": "everything moves backwards",
    "object": "a spot of a fifth of the picture's height crosses it",
    "run": "something of the video, much faster than all else",
    "large": "something of the video, twice as large",
}

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
.stills { grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)) }
.maps { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)) }
.cards img { width: 100% } pre { overflow-x: auto; font-size: .8rem; background: #f5f5f5; padding: .7rem }
"""


def write(run: Path, parts: Parts = STRICT) -> Path:
    """Writes plots and page; returns the page's path.

    Args:
        run: the run's folder.
        parts: makes the parts of the page, of which each may fail; by default none may.

    Raises:
        UserError: the run is not finished, or nothing can be written there.
    """
    if not (run / results.RESULT).is_file():
        raise UserError(f"{run} holds no finished run; the report is made of what a finished run leaves")
    try:
        return _write(run, parts)
    except OSError as error:
        raise UserError(f"cannot write the report to {run}: {error}") from error
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"the files of {run} are damaged or do not belong together ({type(error).__name__}: {error}). Remove "
            f"{results.RESULT} and give the training command again: it evaluates anew."
        ) from error


def _write(run: Path, parts: Parts) -> Path:
    result = whole.read_json(run / results.RESULT)
    tables = {name: figures.read_scores(run / file) for name, file in results.SCORES.items() if (run / file).is_file()}
    (run / PLOTS).mkdir(exist_ok=True)
    drawn = figures.draw(run / PLOTS, result, tables, figures.read_epochs(run / log.METRICS), parts)
    whole.write_whole(run / FILE, _page(run, result, tables, drawn, parts))
    return run / FILE


def _page(run: Path, result: dict, tables: dict[str, Table], drawn: list[tuple[Path, str]], parts: Parts) -> str:
    title = html.escape(result["description"])
    pictures = parts.make("report: samples", partial(samples.section, run, tables, result), [])
    scores = parts.make("report: all scores", partial(_all_scores, result, tables.get("test")), [])
    body = [f"<h1>{title}</h1>", *_lead(result), *_failed(result, parts)]
    by_name = {path.stem: samples.figure(path, caption) for path, caption in drawn}
    units = "frames" if "frame_size" in result["config"] else "samples"
    both = result["samples"]["normal"] and result["samples"]["anomalous"]
    told = f"How well good and anomalous {units} are told apart" if both else f"Scores of the {units}"
    body += _plots(told, by_name, "scores", "roc")
    body += parts.make("report: moments", partial(moments.section, run, result), [])
    body += _plots("Over time", by_name, "videos")
    body += _kinds(result)
    body += pictures
    body += parts.make("report: explanations", partial(reasons.section, run), [])
    body += [*scores, *_frames(result)]
    heading = "Which parts tell them apart" if result.get("statistics") else "Which layers tell them apart"
    body += _plots(heading, by_name, "layers")
    body += _plots("Training", by_name, "training")
    kept = {name: result[name] for name in ("version", "commit", "python", "packages", "device", "seconds", "sha256")}
    kept |= {"data": result["data"]} if "data" in result else {}
    kept |= {"weights": result["statistics"]["weights"]} if result.get("statistics") else {}
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
    """What decides, how good it is, what to do next; then what the threshold promises, and the maps' figures."""
    first = " ".join(said for said in (verdict.decides(result), verdict.advice(result)) if said)
    lines = [" ".join(verdict.threshold(result)), *verdict.training(result)]
    maps = result["maps"]
    if maps and maps["test"]:
        lines.append(
            f"Anomaly maps ({maps['method']}): pixel AUROC {maps['test']['pixel_auroc']:.3f}, AUPRO "
            f"{maps['test']['aupro']:.3f} on the test images whose defects are marked."
        )
    count, how = result["samples"]["train"], "Made from" if result.get("statistics") else "Trained on"
    videos = "frame_size" in result["config"]
    of = "frames" if moving.is_used(result["config"]) else "clips" if videos else "samples"
    lines.append(
        f"{how} {count} normal {of}. Larger means more anomalous; scores of two models cannot be compared. AUC: in so "
        f"many pairs of an anomalous and a good {'frame' if videos else 'sample'} the anomalous one scores higher; 1 "
        "is perfect, 0.5 a coin."
    )
    said = [f'<p class="lead">{html.escape(first)}</p>', *(f"<p>{html.escape(line)}</p>" for line in lines)]
    if unused := result.get("data", {}).get("unused"):
        said.append(f"<p>Files that lie in the folder and were not used:</p><pre>{html.escape(unused)}</pre>")
    if remarks := result.get("data", {}).get("remarks"):
        said.append(f"<p>These were used, and are odd:</p><pre>{html.escape(remarks)}</pre>")
    return said


def _failed(result: dict, parts: Parts) -> list[str]:
    """What could not be made; of the page itself, now."""
    before = {part: why for part, why in result.get("failed", {}).items() if not part.startswith("report")}
    lines = [f"<li>{html.escape(line)}</li>" for line in verdict.failed(before | parts.failed)]
    return ["<h2>What could not be made</h2>", "<ul>", *lines, "</ul>"] if lines else []


def _plots(heading: str, by_name: dict[str, str], *names: str) -> list[str]:
    shown = [by_name[name] for name in names if name in by_name]
    return [f"<h2>{heading}</h2>", '<div class="pair">', *shown, "</div>"] if shown else []


def _kinds(result: dict) -> list[str]:
    """Which kinds of made-up defects or anomalies the statistics see."""
    found = (result.get("statistics") or {}).get("kinds")
    if not found:
        return []
    rows = [
        (f"{name}: {LOOKS[name]}" if name in LOOKS else name, f"{found[name]:.2f}", verdict.sight(found[name]))
        for name in sorted(found, key=found.get, reverse=True)
    ]
    said = (
        "Each kind was made up on good pictures, and is told from good pictures as on a next day. There are few of "
        "each, so these figures are good to about 0.05. What changes the color or brightness of the whole picture "
        "evenly is taken for another lamp, and not seen."
    )
    if moving.is_used(result["config"]):
        said = (
            "Each kind was made up in the beginnings of a few normal videos, and is told from normal videos frame by "
            "frame, by a detector that had not seen any of them. Something that is seen for a part of the time has an "
            "AUC below 1. Only movement is looked at: what is odd by its looks alone is not seen."
        )
    anomalies = verdict.words(result)[1]
    heading = f"<h2>Which kinds of {anomalies} it sees</h2>"
    singular = "defect" if anomalies == "defects" else "anomaly"
    return [heading, *_table((f"made-up {singular}", "AUC", ""), rows), f"<p>{said}</p>"]


def _all_scores(result: dict, test: Table | None) -> list[str]:
    """AUC, AP and maxBA of all scores, that which decides first."""
    rows = []
    for name, row in (figures.measured(result, test) if test else {}).items():
        said = f"<b>{figures.name_of(name, result)}, decides</b>" if not rows else figures.name_of(name, result)
        worse = verdict.WORSE if row["auc"] < verdict.CHANCE and name != motion.SLOW else ""
        rows.append((said, *(f"{row[figure]:.4f}" for figure in metrics.METRICS), worse))
    if not rows:
        return []
    paper = f" The paper's AUC: {result['paper_auc']}." if result.get("paper_auc") else ""
    return [
        "<h2>All scores, on the test set</h2>",
        *_table(("", "AUC", "AP", "maxBA", ""), rows),
        f"<p>maxBA takes the best threshold in hindsight, with the test labels: an oracle's figure.{paper}</p>",
    ]


def _frames(result: dict) -> list[str]:
    if not result.get("frames"):
        return []
    names = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")
    rows = [
        (figures.name_of(of, result), *(f"{row[name]:.4f}" if name in row else "" for name in names))
        for of, row in result["frames"].items()
    ]
    return [
        *_table(("frame AUC", *(name.replace("_", ", ", 1).replace("_", " ") for name in names)), rows),
        "<p>Scaled per video: by extremes of the whole test video, known only afterwards.</p>",
    ]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Cells are HTML."""
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return ['<div class="wide"><table>', *lines, "</table></div>"]
