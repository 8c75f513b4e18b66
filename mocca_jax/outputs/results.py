"""What a run leaves in its folder besides checkpoints: config, logs, scores, result."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import mocca_jax
from mocca_jax.data import Split
from mocca_jax.errors import UserError
from mocca_jax.method import threshold as thresholds
from mocca_jax.scoring import evaluate
from mocca_jax.training import memory, parallel

CONFIG, RESULT, METRICS = "config.json", "result.json", "metrics.jsonl"
SCORES = {"test": "scores.csv", "heldout": "scores_heldout.csv"}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn", "tensorflow-datasets")


def write_json(path: Path, value: Any) -> None:
    """Writes the file whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Raises `UserError` when the file cannot be read or is no JSON object."""
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} where an object was written")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}). Restore it, or take another workdir.") from error
    return found


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes the file whole or not at all.

    Raises:
        UserError: it cannot be written; what was there before is untouched.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error}. What was there before is untouched.") from error


class MetricsLog:
    """One line per epoch in `metrics.jsonl`, and the same numbers as TensorBoard events."""

    def __init__(self, workdir: Path):
        self.path = workdir / METRICS
        self._workdir = workdir
        self._writers: dict[str, Any] = {}

    def forget(self, stage: str, epoch: int) -> None:
        """Drops the lines of a stage from `epoch` on, and a torn last line: they are about to come again."""
        if not self.path.exists():
            return
        lines = self.path.read_text(errors="replace").splitlines(keepends=True)
        write_whole(self.path, "".join(line for line in lines if _is_kept(line, stage, epoch)))

    def write(self, row: dict[str, Any]) -> None:
        """Adds one epoch.

        Raises:
            UserError: it cannot be written.
        """
        try:
            with open(self.path, "a") as file:
                file.write(json.dumps(row) + "\n")
            writer = self._writer(row["stage"], row["epoch"])
            for name, value in flatten(row):
                writer.add_scalar(name, value, row["epoch"])
            writer.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error}. Earlier results are untouched.") from error

    def _writer(self, stage: str, epoch: int):
        if stage not in self._writers:
            from tensorboardX import SummaryWriter

            folder = self._workdir / "tensorboard" / stage
            self._writers[stage] = SummaryWriter(str(folder), purge_step=epoch if folder.exists() else None)
        return self._writers[stage]

    def close(self) -> None:
        """Closes the TensorBoard files."""
        for writer in self._writers.values():
            writer.close()


def _is_kept(line: str, stage: str, epoch: int) -> bool:
    try:
        row = json.loads(line)
        return row["stage"] != stage or row["epoch"] < epoch
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def flatten(row: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a nested row under names such as `layers/layer0/distance`."""
    pairs = []
    for name, value in row.items():
        if isinstance(value, dict):
            pairs += flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            pairs.append((prefix + name, value))
    return pairs


def nest(flat: dict[str, float]) -> dict[str, Any]:
    """`{"layers/layer0/radius": 1}` -> `{"layers": {"layer0": {"radius": 1}}}`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def write_scores(
    path: Path,
    split: Split,
    found: evaluate.Scores,
    heldout: np.ndarray | None,
    map_largest: np.ndarray | None = None,
) -> None:
    """One line per sample: name, label, score, each layer's part, largest map value, p-value of the score."""
    out = io.StringIO()
    writer = csv.writer(out)
    columns = {"score": found.combined, **found.layers}
    if map_largest is not None:
        columns["map_largest"] = map_largest
    if heldout is not None and found.combined is not heldout:
        columns["p_value"] = thresholds.p_values(found.combined, heldout)
    writer.writerow(["sample", "label", *columns])
    for i, sample in enumerate(split.samples):
        writer.writerow([sample, int(split.labels[i]), *(repr(float(values[i])) for values in columns.values())])
    write_whole(path, out.getvalue())


def threshold(heldout: np.ndarray | None, test: evaluate.Scores | None, labels: np.ndarray, config) -> dict | None:
    """The threshold from held-out normals, and what it did on the test set; None where none were held out."""
    if heldout is None:
        return None
    value, promised = thresholds.conformal_threshold(heldout, config.alpha)
    row = {"score": value, "alpha": config.alpha, "promised_share": promised, "heldout": len(heldout)}
    for name, label in (("normal", 0), ("anomalous", 1)):
        if test is not None and (labels == label).any():
            row[f"{name}_flagged"] = float((test.combined[labels == label] > value).mean())
    return row


def circumstances() -> dict[str, Any]:
    """Versions, device and commit."""
    return {
        "version": mocca_jax.__version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": parallel.describe(),
    }


def _commit() -> str | None:
    """The commit of the checkout this package lies in, with `+` when it was changed; None outside one."""
    folder = Path(mocca_jax.__file__).resolve().parent
    git = ["git", "-C", str(folder)]
    try:
        run = {"capture_output": True, "text": True, "timeout": 5, "check": True}
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--", str(folder)], **run).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def table(result: dict[str, Any]) -> str:
    """The result as text for a terminal."""
    lines = [result["description"]]
    rows = result["metrics"]
    if rows:
        lines.append(f"{'':<16}{'AUC':>8}{'AP':>8}{'maxBA':>8}")
    for name in [*(n for n in rows if n != "combined"), *(["combined"] if len(rows) != 2 and rows else [])]:
        row = rows[name]
        lines.append(f"{name:<16}{row['auc']:>8.4f}{row['ap']:>8.4f}{row['max_ba']:>8.4f}")
    samples = result["samples"]
    lines.append(f"test set: {samples['normal']} normal, {samples['anomalous']} anomalous")
    if result.get("paper_auc"):
        lines.append(f"paper, {result['boundary']} boundary: AUC {result['paper_auc']}")
    if rows:
        lines.append("maxBA's threshold is chosen with the test labels: an oracle's figure")
    else:
        lines.append("AUC, AP and maxBA need normal and anomalous test samples")
    if result["made_up_defects"]:
        auc = result["made_up_defects"]["combined"]["auc"]
        lines.append(f"held-out normal samples against the same with made-up anomalies: AUC {auc:.4f}")
    for kind, rows in result.get("planted", {}).items():
        lines.append(f"  {kind}: " + ", ".join(f"{name} {row['auc']:.3f}" for name, row in rows.items()))
    lines += _frame_lines(result.get("frames", {}))
    lines += _threshold_lines(result["threshold"])
    lines += _maps_lines(result["maps"])
    lines += [said] if (said := advice(result)) else []
    lines += _memory_lines(result.get("memory"))
    lines.append(f"SHA-256 of all arrays and scores: {result['sha256']}")
    return "\n".join(lines)


def _memory_lines(found: dict[str, int | None] | None) -> list[str]:
    if not found:
        return []
    estimate = found["estimate_bytes"]
    said = f", estimated {memory.gigabytes(estimate)}" if estimate is not None else ""
    return [f"memory: peak {memory.gigabytes(found['peak_bytes'])}{said}"]


def _frame_lines(rows: dict[str, dict[str, float]]) -> list[str]:
    if not rows:
        return []
    names = ("micro_unscaled", "micro_per_video", "micro_causal", "macro")
    lines = [f"{'frame AUC':<16}" + "".join(f"{name:>17}" for name in names)]
    for name, row in rows.items():
        lines.append(f"{name:<16}" + "".join(f"{row[n]:>17.4f}" if n in row else f"{'-':>17}" for n in names))
    return lines


def _threshold_lines(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = [
        f"threshold {found['score']:.4g} from {found['heldout']} held-out normal images: at most "
        f"{found['promised_share']:.1%} of good images are flagged"
    ]
    if found["promised_share"] > found["alpha"] + 1e-9:
        lines.append(f"  ({found['alpha']:.1%} was asked for: that takes {math.ceil(1 / found['alpha']) - 1} held out)")
    flagged = [f"{found[f'{k}_flagged']:.1%} of {k}" for k in ("normal", "anomalous") if f"{k}_flagged" in found]
    return [*lines, *([f"on the test set it flags {' and '.join(flagged)} images"] if flagged else [])]


def advice(result: dict[str, Any]) -> str | None:
    """Which of score and map found made-up defects better; None where only one was tried."""
    found, score = result["maps"], result["made_up_defects"].get("combined")
    if not found or not score:
        return None
    auc = found["candidates"][found["method"]].get("image_auc")
    if auc is None:
        return None
    better, other = ("map", "score") if auc > score["auc"] else ("score", "map")
    figures = {"map": auc, "score": score["auc"]}
    return (
        f"made-up defects are found better by the {better} (AUC {figures[better]:.3f}) than by the {other} "
        f"({figures[other]:.3f}): decide with --by={better}"
    )


def _maps_lines(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = []
    for name, row in found["candidates"].items():
        lines.append(f"anomaly maps, {name}, made-up defects: {_pixel_figures(row)}")
    if len(found["candidates"]) > 1:
        lines.append(f"  chosen on these: {found['method']}")
    if found["test"]:
        count = found["test"]["images"]
        lines.append(f"anomaly maps, test set, {count} images with known masks: {_pixel_figures(found['test'])}")
        flagged = [
            f"{found['test'][f'{k}_flagged']:.1%} of {k}"
            for k in ("normal", "anomalous")
            if f"{k}_flagged" in found["test"]
        ]
        lines.append(f"  the map's threshold {found['threshold']:.4g} flags {' and '.join(flagged)} test images")
    return [*lines, "see overlays/ (pictures) and maps/ (numbers)"]


def _pixel_figures(row: dict[str, float]) -> str:
    image = f", image AUC of the largest value {row['image_auc']:.4f}" if "image_auc" in row else ""
    return f"pixel AUROC {row['pixel_auroc']:.4f}, AUPRO {row['aupro']:.4f}{image}"
