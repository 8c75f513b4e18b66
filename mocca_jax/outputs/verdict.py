"""What a run found out, in sentences: what decides, how good it is, what its threshold promises, what to do next.

The terminal and the report say the same. Everything follows from `result.json`.
"""

import math
from typing import Any

from mocca_jax.method import blocks, metrics
from mocca_jax.method import threshold as threshold_
from mocca_jax.outputs import decision
from mocca_jax.scoring import moving
from mocca_jax.training.parts import AGAIN

CHANCE, POOR = 0.5, 0.8  # AUC: guessing; too little to rely on
SEEN, PARTLY = 0.9, 0.7  # AUC on a kind of made-up defect
BY_STATISTICS = "statistics"
WORSE = "worse than guessing"
USE_IT = "Next: judge new pictures with mocca predict."
USE_ON_VIDEOS = "Next: look at the moments in the report, then judge new videos with mocca predict."


def by(result: dict[str, Any]) -> str:
    """What decides: `statistics`, `score` or `map`."""
    return BY_STATISTICS if result.get("statistics") else result["decision"]["by"]


def unseen(result: dict[str, Any]) -> str:
    """How the normal samples are called that no statistics and no training have seen."""
    return "left-out" if result.get("statistics") else "held-out"


def auc(value: float) -> str:
    """An AUC and, where it is under a half, what that means."""
    return f"AUC {value:.3f}" + (f" ({WORSE})" if value < CHANCE else "")


def decides(result: dict[str, Any]) -> str:
    """What decides, and how well it tells good samples from real and from made-up anomalies."""
    who, chosen, samples = by(result), result["decision"]["by"], result["samples"]
    found = decision.aucs(result["made_up_defects"], result["maps"])
    things, defects = words(result)
    said = f"The {_statistics(result)} decide" if who == BY_STATISTICS else f"The {who} decides"
    if who != BY_STATISTICS and len(found) == 2:
        other = decision.SCORE if who == decision.MAP else decision.MAP
        better = "better than" if found[who] > found[other] + metrics.ALIKE else "as well as"
        said += f", which finds made-up {defects} {better} the {other} ({found[other]:.3f})"
    figures = []
    if "auc" in result["decision"]:
        counts = f"{samples['anomalous']} anomalous and {samples['normal']} good {things}"
        figures.append(f"{auc(result['decision']['auc'])} on {counts} of the test set")
    if chosen in found:
        figures.append(f"{auc(found[chosen])} on made-up {defects}")
    if "auc" not in result["decision"]:
        figures.append("AUC, AP and maxBA need normal and anomalous test samples")
    return f"{said}: {'; '.join(figures)}."


def threshold(result: dict[str, Any]) -> list[str]:
    """What the threshold promises, and what it flags."""
    found, (of, _) = result["decision"], words(result)
    if found["threshold"] is None:
        return ["Nothing was held out, so there is no threshold: scores order samples and decide nothing."]
    count, promised = found["heldout"], found["promised_share"]
    if videos := result["samples"].get("heldout_videos"):
        return [*_of_blocks(found, videos, unseen(result)), *_flagged_on_test(found, of)]
    if result.get("statistics"):
        said = (
            f"Threshold {found['threshold']:.4g}, from {count} good {of}, each left out of the statistics once: on "
            f"average over runs about {promised:.1%} of good {of} are flagged; for the CV+ of Barber et al. (2021), "
            f"which it follows, at most {min(2 * promised, 1):.1%} is guaranteed."
        )
    else:
        said = (
            f"Threshold {found['threshold']:.4g}, from {count} held-out normal samples alone: at most {promised:.1%} "
            f"of good {of} are flagged."
        )
    lines = [said]
    if promised > found["alpha"] + 1e-9:
        lines.append(
            f"{found['alpha']:.1%} was asked for, but {count} {of} allow no less than {promised:.1%}: that takes "
            f"{math.ceil(1 / found['alpha']) - 1} {'in all' if result.get('statistics') else 'held out'}."
        )
    lines += _flagged_on_test(found, of)
    next_day = _next_day_flagged(result)
    if next_day is not None:
        lines.append(
            f"Of good {of} as on a next day (made up: moved, another lamp and focus) it flags {next_day:.1%}; the "
            "promise is for those taken as in training."
        )
    return lines


def _of_blocks(found: dict[str, Any], videos: int, unseen: str) -> list[str]:
    """Of the frames of videos."""
    count, promised = found["heldout"], found["promised_share"]
    lines = [
        f"Threshold {found['threshold']:.4g}, from the largest scores of {count} blocks of {blocks.FRAMES} frames, in "
        f"{videos} {unseen} normal video(s)."
    ]
    if videos < blocks.FILMS:
        return [
            *lines,
            f"That is no promise: {videos} video(s) do not say how others differ; it takes {blocks.FILMS}. In these, "
            f"{promised:.1%} of the blocks reach it.",
        ]
    lines.append(
        f"Of such blocks of good video about {promised:.1%} are flagged somewhere, on average over runs (conformal "
        "prediction over blocks, Chernozhukov et al. 2018); a camera's bad day is not in it."
    )
    if promised > found["alpha"] + 1e-9:
        lines.append(
            f"{found['alpha']:.1%} was asked for, but {count} blocks allow no less than {promised:.1%}: that takes "
            f"{threshold_.needed(found['alpha'])} blocks."
        )
    return lines


def advice(result: dict[str, Any]) -> str:
    """What to do next; empty where nothing can be said."""
    found = result["decision"]
    value = found.get("auc", decision.aucs(result["made_up_defects"], result["maps"]).get(found["by"]))
    if value is None:
        return ""
    if value < CHANCE:
        return (
            "Do not use it: good samples score higher than anomalous ones. Look at the good ones that scored highest: "
            "they differ from those in training by more than a defect does."
        )
    if result["config"]["data"] == "video":
        return _advice_on_videos(value, "auc" in found)
    if result["config"]["data"] not in ("folder", "mvtec"):
        return ""
    if "auc" not in found:
        if value < POOR:
            return (
                f"Do not rely on it: made-up defects are hardly found. More good pictures help most{_closer(result)}."
            )
        return (
            "Next: put real defects, as soon as you have some, into test/<defect>, good ones into test/good, and run "
            "again in another --workdir: made-up defects are a hint, no measure."
        )
    if value < POOR:
        return (
            "Do not rely on it: look at the anomalous pictures that scored lowest. More good pictures help "
            f"most{_closer(result)}."
        )
    if _flags_too_many(result):
        return (
            "Before you use it: more good test pictures are flagged than were meant, so they are made or photographed "
            "differently from those in training; put some like them into train/good."
        )
    if found.get("anomalous_flagged", 1) < CHANCE:
        return (
            "Next: look at the anomalous pictures that scored lowest; a larger alpha finds more of them and flags more "
            "good ones."
        )
    return USE_IT


def _advice_on_videos(value: float, measured: bool) -> str:
    if value < POOR and measured:
        return "Do not rely on it: look at the moments in the report. More hours of normal video help most."
    if value < POOR:
        return "Do not rely on it: made-up anomalies are hardly found. More hours of normal video help most."
    return USE_ON_VIDEOS if measured else f"{USE_ON_VIDEOS} Made-up anomalies are a hint, no measure."


def _closer(result: dict[str, Any]) -> str:
    """How to look closer, where the run did not."""
    return "" if result["config"].get("tile") else "; small defects need folder:tiled or folder:texture"


def training(result: dict[str, Any]) -> list[str]:
    """Of each stage that was watched, what would do better."""
    return [f"Stage {name}: {text}." for name, text in result.get("advice", {}).items()]


def failed(found: dict[str, str]) -> list[str]:
    """What could not be made, and what to do; `found {part: reason}`."""
    if not found:
        return []
    lines = [f"Not made: {part} ({reason})." for part, reason in found.items()]
    return [*lines, f"The detector does not need them; {AGAIN}."]


def sight(value: float) -> str:
    """Whether defects of a kind are seen, from the AUC on them."""
    return "seen" if value >= SEEN else "partly seen" if value >= PARTLY else "hardly seen"


def kinds(result: dict[str, Any]) -> str | None:
    """Which kinds of made-up defects the statistics see, the best first."""
    found = (result.get("statistics") or {}).get("kinds")
    if not found:
        return None
    said: dict[str, list[str]] = {}
    for name in sorted(found, key=found.get, reverse=True):
        said.setdefault(sight(found[name]), []).append(f"{name} {found[name]:.2f}")
    return (
        f"Made-up {words(result)[1]} by kind, AUC: "
        + "; ".join(f"{how} {', '.join(of)}" for how, of in said.items())
        + "."
    )


def _flagged_on_test(found: dict[str, Any], of: str) -> list[str]:
    names = {"normal": "good", "anomalous": "anomalous"}
    flagged = [f"{found[f'{k}_flagged']:.1%} of the {said}" for k, said in names.items() if f"{k}_flagged" in found]
    return [f"On the test set it flags {' and '.join(flagged)} {of}."] if flagged else []


def _statistics(result: dict[str, Any]) -> str:
    return "statistics of movement" if moving.is_used(result["config"]) else "statistics"


def words(result: dict[str, Any]) -> tuple[str, str]:
    """How samples and anomalies are called."""
    videos = result["frames"] or "frame_size" in result["config"]
    return ("frames", "anomalies") if videos else ("images", "defects")


def _next_day_flagged(result: dict[str, Any]) -> float | None:
    if result["decision"]["by"] == decision.MAP:
        return result["maps"]["candidates"][result["maps"]["method"]].get("changed_flagged")
    return (result["threshold"] or {}).get("changed_flagged")


def _flags_too_many(result: dict[str, Any]) -> bool:
    """Whether more good test samples are flagged than chance explains."""
    found, count = result["decision"], result["samples"]["normal"]
    if "normal_flagged" not in found or not count:
        return False
    share = found["promised_share"]
    return found["normal_flagged"] > share + 2 * math.sqrt(share * (1 - share) / count) + 1 / count
