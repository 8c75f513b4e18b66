"""A result as text for a terminal."""

import math
from typing import Any

from mocca_jax.outputs import decision
from mocca_jax.training import memory


def text(result: dict[str, Any]) -> str:
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
        next_day = ", as on a next day," if "changed_flagged" in (result["threshold"] or {}) else ""
        lines.append(f"held-out normal samples{next_day} against the same with made-up anomalies: AUC {auc:.4f}")
    for kind, rows in result.get("planted", {}).items():
        lines.append(f"  {kind}: " + ", ".join(f"{name} {row['auc']:.3f}" for name, row in rows.items()))
    lines += _frame_lines(result.get("frames", {}))
    lines += _threshold_lines(result["threshold"])
    lines += _maps_lines(result["maps"])
    lines += [said] if (said := decided(result)) else []
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
    if "changed_flagged" in found:
        lines.append(f"as on a next day, {found['changed_flagged']:.1%} of held-out good images are flagged")
    flagged = [f"{found[f'{k}_flagged']:.1%} of {k}" for k in ("normal", "anomalous") if f"{k}_flagged" in found]
    return [*lines, *([f"on the test set it flags {' and '.join(flagged)} images"] if flagged else [])]


def decided(result: dict[str, Any]) -> str | None:
    """Which of score and map found made-up defects better and therefore decides; None where only one was tried."""
    found = decision.aucs(result["made_up_defects"], result["maps"])
    if len(found) < 2 or result.get("statistics"):
        return None
    better = result["decision"]["by"]
    other = decision.SCORE if better == decision.MAP else decision.MAP
    return (
        f"made-up defects are found better by the {better} (AUC {found[better]:.3f}) than by the {other} "
        f"({found[other]:.3f}): the {better} decides"
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
    next_day = f", flags {row['changed_flagged']:.1%} of next-day good images" if "changed_flagged" in row else ""
    return f"pixel AUROC {row['pixel_auroc']:.4f}, AUPRO {row['aupro']:.4f}{image}{next_day}"
