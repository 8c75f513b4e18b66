"""Markdown of recorded rows: tables, cells, and pages whose tables stand between markers."""

import statistics
from collections import Counter
from typing import Any


def between_markers(text: str, name: str, lines: list[str]) -> str:
    """The page with the table `name` replaced.

    Raises:
        ValueError: the page has no markers for it.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"the page has no {begin} ... {end}")
    head, rest = text.split(begin, 1)
    return head + "\n".join([begin, *lines]) + "\n" + end + rest.split(end, 1)[1]


def header(names: list[str]) -> list[str]:
    return [line(names), "|---" * len(names) + "|"]


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def at(row: dict[str, Any], *path: str) -> float | None:
    """What lies at `path`; None where there is nothing."""
    value: Any = row
    for name in path:
        value = (value or {}).get(name)
    return value


def cell(members: list[dict[str, Any]], *path: str) -> str:
    values = [at(row, *path) for row in members]
    return mean_and_deviation(values) if None not in values else ""


def mean_and_deviation(values: list[float]) -> str:
    """`0.721 +- 0.017`, without deviation for one value, empty for none.

    Example:
        >>> mean_and_deviation([0.7, 0.8]), mean_and_deviation([0.7])
        ('0.750 +- 0.071', '0.700')
    """
    if not values:
        return ""
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def circumstances(found: list[dict[str, Any]]) -> list[str]:
    """Hours, device, commits and command."""
    if not found:
        return []
    hours = sum(row["wall_seconds"] for row in found) / 3600
    devices = Counter(kind_of_device(row) for row in found)
    commits = sorted({str(row["commit"]) for row in found})
    where = [f"{count} on {device}" for device, count in sorted(devices.items())]
    circumstance = [f"{len(found)} runs, {hours:.1f} hours in all", *where]
    return ["", f"{', '.join(circumstance)}; commits {', '.join(commits)}."]


def kind_of_device(row: dict[str, Any]) -> str:
    device = row.get("device")
    return f"{device['devices']} {device['kind']} device(s)" if device else "a device not recorded"
