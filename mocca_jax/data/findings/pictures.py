"""Findings about the pictures of a folder: whether they can be read, their number, depth, colors and sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mocca_jax.data import decoder, twins
from mocca_jax.data.decoder import Facts
from mocca_jax.data.findings import Finding
from mocca_jax.data.inputs import LONGEST, fitted_size
from mocca_jax.data.layout import Layout
from mocca_jax.method import threshold

CAMERAS = (8, 10, 12, 14)  # bits that cameras give, and that files of 16 bits may hold
FULL = 16  # bits of such a file
DARKER = 4  # bits fewer than others use
ASPECT, FAR_ASPECT = 1.05, 1.25  # by which the ratio of the sides differs from the usual one: somewhat, too much
FACTOR = 1.8  # between a picture's sides and the usual ones
LARGE = 4  # times the side that the network sees: defects of less than as many pixels vanish between its pixels
COLORS = {(0, 0, 0): "black", (255, 255, 255): "white"}


@dataclass(frozen=True)
class Look:
    """A file that was looked at, decoded once.

    Args:
        facts: see `decoder.Facts`.
        small: its small copy, see `twins.small`; None where it cannot be read.
        color: the only one that it has, "" where it has several.
        grey: red, green and blue are the same everywhere.
    """

    facts: Facts
    small: np.ndarray | None = None
    color: str = ""
    grey: bool = False


def look(path: Path, depth: int = 0) -> Look:
    """Decodes a picture; `depth`: see `decoder.picture`."""
    facts, picture = decoder.looked_at(path, depth)
    if picture is None:
        return Look(facts)
    pixels = np.asarray(picture)
    first = tuple(pixels[0, 0].tolist())
    is_plain = (pixels == pixels[0, 0]).all() and not (facts.bits and not depth and facts.bits <= 8)  # nothing is left
    color = COLORS.get(first, f"red, green, blue = {first}") if is_plain else ""
    return Look(facts, twins.small(picture), color, bool((pixels == pixels[..., :1]).all()))


class Pictures:
    """The pictures of a folder that can be read, and how each looks."""

    def __init__(self, found: Layout, looks: Mapping[Path, Look]):
        self.found, self.looks = found, looks
        self.train, self.test = ([p for p in of if not looks[p].facts.fault] for of in (found.train, found.test))
        self.all = [*self.train, *self.test]

    def used_bits(self, paths: Sequence[Path]) -> int:
        """How many the largest value takes of all that have more than 8; 0 where none has."""
        return max((self.looks[path].facts.bits for path in paths), default=0)

    def is_dark(self, paths: Sequence[Path]) -> bool:
        """Whether those of more than 8 bits use so few that a camera may have no more."""
        return 0 < self.used_bits(paths) <= CAMERAS[-1]

    def names(self, paths: Sequence[Path]) -> list[str]:
        """As they can be printed."""
        return [self.found.name(path) for path in paths]

    def of_class(self, path: Path) -> str:
        """The folder of a test picture's class."""
        return self.found.name(self.found.folder.joinpath(*path.relative_to(self.found.folder).parts[:2]))


def find(of: Pictures, alpha: float, size: int, depth: int, tile: int = 0) -> list[Finding]:
    """All but what masks and copies are about.

    Args:
        of: the pictures.
        alpha: the share of good pictures that may be flagged.
        size: the side of the network's view, pixels.
        depth: of the config.
        tile: side of the tiles that pictures are looked at in, 0: each as a whole.
    """
    broken = [(path, look.facts.fault) for path, look in of.looks.items() if look.facts.fault]
    return [
        Finding(
            "file(s) cannot be read as images",
            "Restore or remove them, or train with --config.unreadable=skip.",
            [f"{of.found.name(path)}: {fault}" for path, fault in broken],
        ),
        *_split(of),
        *_number(of, alpha),
        *_look(of, depth),
        *(_in_tiles(of, tile) if tile else [*_sizes(of, size), _large(of, size)]),
    ]


def unlike(of: Pictures, size: int, depth: int, tile: int = 0) -> list[Finding]:
    """Pictures that are not as the others: of one color, another depth, color where others are grey, another size,
    which in tiles pictures may have."""
    return [*_look(of, depth), *(_in_tiles(of, tile) if tile else _sizes(of, size))]


def _look(of: Pictures, depth: int) -> list[Finding]:
    return [*_plain(of), *_depth(of, depth), _colors(of)]


def _split(of: Pictures) -> list[Finding]:
    labels, folders = of.found.labels, sorted({of.of_class(path) for path in of.found.test})
    return [
        Finding(
            "kind(s) of test pictures, and none of them good",
            "Add test/good, with pictures that are not trained on: without it there is no AUC, and nobody sees how "
            "many good ones are flagged.",
            folders if 0 not in labels else [],
        ),
        Finding(
            "kind(s) of test pictures, and none of them with defects",
            "With some in test/<defect> there would be an AUC.",
            folders if 1 not in labels else [],
            note=True,
        ),
    ]


def _number(of: Pictures, alpha: float) -> list[Finding]:
    count, needed = len(of.train), threshold.needed(alpha)
    none = f"{count} of {len(of.found.train)} files can be read; it takes two"
    few = f"alpha = {alpha:g} takes {needed}; {count} allow {1 / (count + 1):.3g} at the least"
    return [
        Finding("training set is too small", "Add good pictures: 30 or more make sense.", [none] if count < 2 else []),
        Finding(
            "value of alpha takes more training pictures than there are",
            f"Add {needed - count} good ones, or pass a larger alpha.",
            [few] if 2 <= count < needed else [],
            note=True,
        ),
    ]


def _plain(of: Pictures) -> list[Finding]:
    bad = {path for path, label in zip(of.found.test, of.found.labels, strict=True) if label}
    names = {path: f"{of.found.name(path)}: {of.looks[path].color}" for path in of.all if of.looks[path].color}
    return [
        Finding(
            "good picture(s) of a single color",
            "Was the lamp off, or the lens covered? Remove them.",
            [name for path, name in names.items() if path not in bad],
        ),
        Finding(
            "picture(s) with defects are of a single color",
            "Nothing is easier to find than that.",
            [name for path, name in names.items() if path in bad],
            note=True,
        ),
    ]


def _depth(of: Pictures, depth: int) -> list[Finding]:
    bits = {path: of.looks[path].facts.bits for path in of.all if not of.looks[path].color}
    train, test = ([path for path in paths if path in bits] for paths in (of.train, of.test))
    deep, shallow = [path for path in train if bits[path]], [path for path in train if not bits[path]]
    used = of.used_bits(of.train)
    camera = _camera(used)
    dark = f"at most {2 ** max(used - 8, 0)} of 256 levels of grey are left otherwise"
    others: list[Path] = []
    if not (deep and shallow):
        others = [path for path in test if bool(bits[path]) != bool(deep) or bits[path] > max(camera, depth, 8)]
        if camera == FULL and _camera(max((bits[path] for path in test), default=0)) <= 12:
            others = test
    kinds = [(deep, "16 bits", "8"), (shallow, "8 bits", "16")]
    fewer, own, other = min(kinds, key=lambda kind: len(kind[0]))
    return [
        Finding(
            f"training picture(s) of 16 bits, whose largest value takes {used}",
            f"If the camera has {camera}, train with depth={camera} (--config.depth={camera}): {dark}. Then check "
            f"again with --depth={camera}.",
            of.names(deep) if not depth and of.is_dark(of.train) else [],
        ),
        Finding(
            f"training picture(s) of {own}, beside others of {other}",
            "Save all in the same depth: the same light has other values in each.",
            of.names(fewer) if deep and shallow else [],
        ),
        Finding(
            f"training picture(s) of 16 bits, whose values take {DARKER} or more bits fewer than the {used} of others",
            "Are they of another camera, or the lamp off?",
            [f"{of.found.name(path)}: {bits[path]}" for path in deep if bits[path] <= used - DARKER],
            note=True,
        ),
        Finding(
            "test picture(s) of another depth than those to train on",
            "Save all in the same depth: the same light has other values in each.",
            [f"{of.found.name(path)}: {f'16 bits, {bits[path]} used' if bits[path] else '8 bits'}" for path in others],
        ),
    ]


def _camera(bits: int) -> int:
    """The fewest bits that a camera has and that hold such values."""
    return next((camera for camera in CAMERAS if bits <= camera), FULL) if bits else FULL


def _colors(of: Pictures) -> Finding:
    grey = [path for path in of.all if of.looks[path].grey and not of.looks[path].color]
    colored = [path for path in of.all if not of.looks[path].grey]
    fewer, own, other = min((grey, "grey", "in color"), (colored, "in color", "grey"), key=lambda kind: len(kind[0]))
    return Finding(
        f"picture(s) {own}, beside others {other}",
        "The network sees color: take all in the same way.",
        of.names(fewer) if grey and colored else [],
        note=True,
    )


def _sizes(of: Pictures, size: int) -> list[Finding]:
    sides = {path: of.looks[path].facts.size for path in of.all}
    extreme = [path for path, (rows, columns) in sides.items() if not _is_possible(rows, columns, size)]
    usual = [sides[path] for path in of.train or of.all if path not in extreme]
    rows, columns = np.median(usual, 0) if usual else (1, 1)
    stretched = {path: _factor(tall / wide, rows / columns) for path, (tall, wide) in sides.items()}
    scaled = {path: _factor(tall * wide, rows * columns) ** 0.5 for path, (tall, wide) in sides.items()}
    rest = [path for path in of.all if path not in extreme]

    shapes = f"picture(s) of another shape than the usual {columns:.0f}x{rows:.0f}"
    return [
        Finding(
            f"picture(s) with one side more than {LONGEST} times the other",
            "Cut them: nothing of them is left in a square view.",
            _with_sizes(of, extreme),
        ),
        Finding(
            f"{shapes}, which are stretched by more than {FAR_ASPECT - 1:.0%}",
            "Cut all to the same shape, or train with --config.fit=crop.",
            _with_sizes(of, [path for path in rest if stretched[path] > FAR_ASPECT]),
        ),
        Finding(
            f"{shapes}, which are stretched a little",
            "Where things have to lie alike, cut all to the same shape.",
            _with_sizes(of, [path for path in rest if ASPECT < stretched[path] <= FAR_ASPECT]),
            note=True,
        ),
        Finding(
            f"picture(s) far larger or smaller than the usual {columns:.0f}x{rows:.0f}",
            "Take all with the same resolution: the same thing is sharper in the larger ones.",
            _with_sizes(of, [path for path in rest if scaled[path] >= FACTOR]),
        ),
    ]


def _in_tiles(of: Pictures, tile: int) -> list[Finding]:
    return [
        Finding(
            f"picture(s) smaller than a tile of {tile}x{tile}",
            "Leave them out, or train with a smaller tile, a multiple of cell.",
            _with_sizes(of, [path for path in of.all if min(of.looks[path].facts.size) < tile]),
        )
    ]


def _large(of: Pictures, size: int) -> Finding:
    large = [path for path in of.all if min(of.looks[path].facts.size) >= LARGE * size]
    return Finding(
        f"picture(s) at least {LARGE} times as wide and high as the {size}x{size} that the network sees",
        "Small defects may vanish. For surfaces, whose places all look alike, --config=folder:tiled looks at every "
        f"pixel; for objects that lie alike train with a larger resize, such as resize={2 * size}.",
        _with_sizes(of, large),
        note=True,
    )


def _with_sizes(of: Pictures, paths: Sequence[Path]) -> list[str]:
    """Names, each with width x height."""
    sizes = ((path, *of.looks[path].facts.size) for path in paths)
    return [f"{of.found.name(path)}: {columns}x{rows}" for path, rows, columns in sizes]


def _is_possible(rows: int, columns: int, size: int) -> bool:
    try:
        fitted_size((rows, columns), (size, size), "canvas")
    except ValueError:
        return False
    return True


def _factor(one: float, other: float) -> float:
    """How many times the larger is the smaller."""
    return max(one / other, other / one)
