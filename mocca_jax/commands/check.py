"""Command: look through a folder of images before training on it.

    mocca check my_parts

Prints what is there, then every problem with a line on how to mend it. Exit code 1 when there are problems.
"""

import collections
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mocca_jax import console
from mocca_jax.commands.arguments import begin, parser, plain_errors
from mocca_jax.data import decoder, layout
from mocca_jax.data.decoder import Facts

SHOWN = 10


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    takes.add_argument("folder", type=Path, help="laid out as for training")
    options = begin(takes, arguments)
    with plain_errors():
        text, problems = report(options.folder)
    print(text)
    sys.exit(1 if problems else 0)


def report(folder: Path) -> tuple[str, int]:
    """The text for a terminal and the number of problems.

    Raises:
        UserError: no such folder, or nothing to train on.
    """
    found = layout.scan(folder)
    masks = [m for m in found.masks if m]
    files = [*found.train, *found.test, *masks]
    with ThreadPoolExecutor() as pool:
        seen = console.steps(pool.map(decoder.facts, files), "looking at images", len(files), "files")
        looked = dict(zip(files, seen, strict=True))
    test = {"normal": 0, "anomalous": 1}
    rows = {"train/good": found.train}
    for name, label in test.items():
        rows[f"test, {name}"] = [f for f, of in zip(found.test, found.labels, strict=True) if of == label]
    lines = [_row(name, [looked[f] for f in of]) for name, of in rows.items()] + [f"masks: {len(masks)}"]
    problems = _problems(found, looked)
    for what, mend, names in problems:
        more = [f"... and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
        lines += [f"\n{len(names)} {what}. {mend}", *(f"  {n}" for n in [*names[:SHOWN], *more])]
    lines.append("\nno problems" if not problems else f"\n{len(problems)} kind(s) of problem")
    return "\n".join(lines), len(problems)


def _sides(of: Facts) -> str:
    rows, columns = of.size
    return f"{columns}x{rows}"


def _row(name: str, looked: list[Facts]) -> str:
    good = [of for of in looked if not of.fault]
    if not good:
        return f"{name}: {len(looked)}"
    sizes = collections.Counter(of.size for of in good)
    text = ", ".join(f"{w}x{h} ({n})" for (h, w), n in sizes.most_common(3)) + (", ..." if len(sizes) > 3 else "")
    modes = ", ".join(f"{mode} ({n})" for mode, n in collections.Counter(of.mode for of in good).most_common())
    return f"{name}: {len(looked)} images; width x height {text}; channels {modes}"


def _problems(found: layout.Layout, looked: dict[Path, Facts]) -> list[tuple[str, str, list[str]]]:
    """Kind of problem, how to mend it, the files."""
    digests = {looked[f].digest: f for f in found.train if looked[f].digest}
    unequal = []
    for image, mask in zip(found.test, found.masks, strict=True):
        if mask and not (looked[image].fault or looked[mask].fault) and looked[image].size != looked[mask].size:
            unequal.append(f"{found.name(mask)}: {_sides(looked[mask])}, its image {_sides(looked[image])}")
    has_masks = any(found.masks)
    anomalous = zip(found.test, found.labels, found.masks, strict=True)
    table = [
        (
            "file(s) cannot be read as images",
            "Restore or remove them, or train with --config.unreadable=skip.",
            [f"{found.name(f)}: {of.fault}" for f, of in looked.items() if of.fault],
        ),
        (
            "test image(s) are also in train/good",
            "Remove one of each pair: the test would flatter.",
            [
                f"{found.name(f)} = {found.name(digests[looked[f].digest])}"
                for f in found.test
                if looked[f].digest in digests
            ],
        ),
        (
            "anomalous test image(s) have no mask",
            "Add ground_truth/<defect>/<name>_mask.png; without it the image counts for no pixel figure.",
            [found.name(f) for f, label, mask in anomalous if has_masks and label == 1 and mask is None],
        ),
        (
            "mask(s) belong to no image",
            "Rename each to <image>_mask.png in the folder of its defect, or remove it.",
            [found.name(f) for f in found.stray_masks],
        ),
        ("mask(s) have another size than their image", "Save the mask in the image's size.", unequal),
        (
            "file(s) are not used",
            "Move, convert or remove them.",
            [f"{found.name(of.path)}: {of.reason}" for of in found.unused if of.said],
        ),
    ]
    return [row for row in table if row[2]]
