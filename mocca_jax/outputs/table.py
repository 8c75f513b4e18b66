"""A result as text for a terminal."""

from collections.abc import Mapping
from typing import Any

from mocca_jax.data import listing
from mocca_jax.outputs import decision, verdict
from mocca_jax.training import memory


def text(result: dict[str, Any]) -> str:
    """The result as text for a terminal: what decides, then each part of the score, then the maps."""
    lines = [result["description"], verdict.decides(result), *verdict.threshold(result)]
    if unused := result.get("data", {}).get("unused"):
        lines.append(f"These files lie in the folder and were not used:\n{unused}")
    if remarks := result.get("data", {}).get("remarks"):
        lines.append(f"These were used, and are odd:\n{remarks}")
    if result.get("statistics"):
        lines += [said] if (said := verdict.kinds(result)) else []
    else:
        lines += _parts_lines(result)
    lines += _maps_lines(result)
    lines += _memory_lines(result.get("memory"))
    lines.append(f"SHA-256 of all arrays and scores: {result['sha256']}")
    lines += verdict.training(result)
    lines += verdict.failed(result.get("failed", {}))
    said = verdict.advice(result)
    known = ("", verdict.USE_IT, verdict.USE_ON_VIDEOS)  # the command says how to use it
    return "\n".join([*lines, *([said] if said not in known else [])])


def products(found: Mapping[str, dict[str, Any] | str]) -> str:
    """Several products, a row each, and what is missing; `found`: each one's result, or why there is none."""
    rows = [("product", "pictures", "threshold", "promised", "AUC", "made-up AUC", "missing")]
    rows += [(listing.printable(name), *_product_cells(result)) for name, result in found.items()]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others, last in rows:
        numbers = [f"{cell:>{width}}" for cell, width in zip(others, wide[1:-1], strict=True)]
        lines.append("  ".join([f"{first:<{wide[0]}}", *numbers, last]).rstrip())
    whole = sum(isinstance(result, dict) and not result.get("failed") for result in found.values())
    end = "" if whole == len(found) else "; the same command makes what is missing"
    return "\n".join([*lines, f"{whole} of {len(found)} products are complete{end}"])


def _product_cells(result: dict[str, Any] | str) -> tuple[str, ...]:
    """`-` where there is no such figure."""
    if isinstance(result, str):
        return *["-"] * 5, result.splitlines()[0].split(". ")[0]
    decided, counts = result["decision"], result["samples"]
    made_up = decision.aucs(result["made_up_defects"], result["maps"]).get(decided["by"])
    figures = (
        (decided["threshold"], ".4g"),
        (decided.get("promised_share"), ".1%"),
        (decided.get("auc"), ".3f"),
        (made_up, ".3f"),
    )
    pictures = counts["train"] + (0 if result.get("statistics") else counts["heldout"])
    cells = ["-" if value is None else format(value, how) for value, how in figures]
    return str(pictures), *cells, ", ".join(result.get("failed", {}))


def _parts_lines(result: dict[str, Any]) -> list[str]:
    """Each layer alone, all together; frames; anomalies planted in videos."""
    rows, lines = result["metrics"], []
    if rows:
        lines.append(f"{'':<16}{'AUC':>8}{'AP':>8}{'maxBA':>8}")
    for name in [*(n for n in rows if n != "combined"), *(["combined"] if len(rows) != 2 and rows else [])]:
        row = rows[name]
        worse = f"  {verdict.WORSE}" if row["auc"] < verdict.CHANCE else ""
        lines.append(f"{name:<16}{row['auc']:>8.4f}{row['ap']:>8.4f}{row['max_ba']:>8.4f}{worse}")
    if result.get("paper_auc"):
        lines.append(f"paper, {result['boundary']} boundary: AUC {result['paper_auc']}")
    if rows:
        lines.append("maxBA's threshold is chosen with the test labels: an oracle's figure")
    for kind, found in result.get("planted", {}).items():
        lines.append(f"  {kind}: " + ", ".join(f"{name} {row['auc']:.3f}" for name, row in found.items()))
    return lines + _frame_lines(result.get("frames", {}))


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


def _maps_lines(result: dict[str, Any]) -> list[str]:
    found, lines = result["maps"], []
    if found is None:
        return []
    alone = not result.get("statistics")  # otherwise the largest value of the map is the score, and told already
    for name, row in found["candidates"].items() if alone else ():
        lines.append(f"anomaly maps, {name}, made-up defects: {_pixel_figures(row)}")
    if len(found["candidates"]) > 1:
        lines.append(f"  chosen on these: {found['method']}")
    if found["test"]:
        row = (
            found["test"]
            if alone
            else {name: found["test"][name] for name in ("pixel_auroc", "aupro", "region_recall")}
        )
        count = found["test"]["images"]
        lines.append(f"anomaly maps, test set, {count} images with known masks: {_pixel_figures(row)}")
    return [*lines, "see overlays/ (pictures) and maps/ (numbers)"]


def _pixel_figures(row: dict[str, float]) -> str:
    image = f", image AUC of the largest value {row['image_auc']:.4f}" if "image_auc" in row else ""
    next_day = f", flags {row['changed_flagged']:.1%} of next-day good images" if "changed_flagged" in row else ""
    recall = row.get("region_recall")
    regions = "" if recall is None else f", {recall:.1%} of the regions found at one false region per image"
    return f"pixel AUROC {row['pixel_auroc']:.4f}, AUPRO {row['aupro']:.4f}{image}{regions}{next_day}"
