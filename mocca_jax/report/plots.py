"""Plots of a run as PNG: scores, ROC, per-layer CDFs (paper, Fig. 5), training curves, scores over a video.

Blue and orange are told apart by all common kinds of color-blindness; lines also differ in their dashes.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NORMAL, ANOMALOUS, OTHER = "#0072B2", "#D55E00", "#555555"
DASHES = ("-", "--", "-.", ":")
WIDTH, HEIGHT, DOTS = 6.4, 3.9, 110  # inches, dots per inch
LARGE, SMALL = 11, 10  # points: a page 500 pixels wide shows the plots at two thirds of their size
MOST_VIDEOS = 12


def save(path: Path, draw: Callable[[Any], None], rows: int = 1, columns: int = 1, height: float = HEIGHT) -> None:
    """Writes a PNG; `draw` gets the axes, one or an array `[rows, columns]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DOTS, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=rows * columns == 1)
    for one in np.ravel(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=SMALL)
    draw(axes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names may be in any script
        FigureCanvasAgg(figure).print_png(str(path))


def histogram(axes, groups: dict[str, np.ndarray], threshold: float | None, of: str) -> None:
    """Scores of each group `{name: [S]}`, the threshold dashed. Values far outside are gathered at the ends."""
    values = np.concatenate(list(groups.values()))
    low, high = np.quantile(values, [0, 0.995])
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    edges = np.linspace(low, high if high > low else low + 1, 41)
    colors = {"normal": NORMAL, "anomalous": ANOMALOUS}
    for name, scores in groups.items():
        share = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / len(scores)
        filled = name in colors
        axes.stairs(
            share,
            edges,
            fill=filled,
            alpha=0.55 if filled else 1,
            color=colors.get(name, OTHER),
            lw=1.5,
            label=f"{name} (n={len(scores)})",
        )
    if threshold is not None:
        axes.axvline(threshold, color="black", ls="--", lw=1.2, label=f"threshold {threshold:.3g}")
    axes.set_xlabel(of, fontsize=LARGE)
    axes.set_ylabel("share of the group", fontsize=LARGE)
    axes.legend(fontsize=SMALL, frameon=False)


def roc(axes, curves: dict[str, tuple[np.ndarray, np.ndarray, float]]) -> None:
    """False against true positive rates, `{name: (false, true, AUC)}`; the first curve is drawn boldly."""
    for index, (name, (false, true, auc)) in enumerate(curves.items()):
        style = {"lw": 2.2, "color": ANOMALOUS} if not index else {"lw": 1, "ls": DASHES[index % len(DASHES)]}
        axes.plot(false, true, label=f"{name}  AUC {auc:.3f}", **style)
    axes.plot([0, 1], [0, 1], color="#BBBBBB", lw=0.8)
    axes.set_xlabel("share of normal samples flagged", fontsize=LARGE)
    axes.set_ylabel("share of anomalies found", fontsize=LARGE)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower right")


def cdfs(axes, layers: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Figure 5: of each layer's score, the share of normal and of anomalous samples below it; one panel a layer."""
    for panel, (name, (normal, anomalous)) in zip(np.ravel(axes), layers.items(), strict=False):
        for values, color, dash, label in ((normal, NORMAL, "-", "normal"), (anomalous, ANOMALOUS, "--", "anomalous")):
            panel.plot(np.sort(values), np.linspace(0, 1, len(values)), color=color, ls=dash, lw=1.5, label=label)
        both = np.concatenate([normal, anomalous])
        low, high = np.quantile(both, [0.0, 0.98])
        panel.set_xlim(low, high if high > low else low + 1)
        panel.set_title(name, fontsize=LARGE)
    for panel in np.ravel(axes)[len(layers) :]:
        panel.set_axis_off()
    for panel in np.atleast_2d(axes)[-1]:
        panel.set_xlabel("its score", fontsize=SMALL)
    first = np.ravel(axes)[0]
    first.set_ylabel("share below", fontsize=LARGE)
    first.legend(fontsize=SMALL, frameon=False, loc="lower right")


def curves(axes, title: str, series: dict[str, tuple[list[int], list[float]]]) -> None:
    """`{name: (epochs, values)}` on a logarithmic scale where all are positive."""
    for index, (name, (epochs, values)) in enumerate(series.items()):
        axes.plot(
            epochs, values, ls=DASHES[index % len(DASHES)], marker="o" if len(epochs) < 3 else None, lw=1.4, label=name
        )
    shown = [value for _, values in series.values() for value in values]
    if all(value > 0 for value in shown):
        axes.set_yscale("log", subs=[])
        axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5) if max(shown) < 100 * min(shown) else (1,))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(title, fontsize=LARGE)
    axes.set_xlabel("epoch", fontsize=SMALL)
    axes.legend(fontsize=SMALL, frameon=False)


def over_time(axes, videos: list[tuple[str, np.ndarray, np.ndarray]], threshold: float | None) -> None:
    """Frame scores of each video `(name, scores [T], labels [T])`, one panel each; anomalous frames shaded."""
    for panel, (name, scores, labels) in zip(np.ravel(axes), videos, strict=False):
        panel.fill_between(
            np.arange(len(labels)),
            0,
            1,
            where=labels == 1,
            transform=panel.get_xaxis_transform(),
            color=ANOMALOUS,
            alpha=0.2,
            lw=0,
        )
        panel.plot(scores, color=NORMAL, lw=1.2)
        if threshold is not None:
            panel.axhline(threshold, color="black", ls="--", lw=0.9)
        panel.set_title(name, fontsize=SMALL, loc="left", pad=2, parse_math=False)
    for panel in np.ravel(axes)[len(videos) :]:
        panel.set_axis_off()
