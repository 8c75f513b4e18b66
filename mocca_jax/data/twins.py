"""Finding pictures that are one picture: turned or mirrored, saved anew in another format or quality.

Parts before a fixed camera look alike, so likeness proves nothing. What two photographs never share is noise. A copy
has every pixel of the other picture; or it is what compression, as the copy's file has it, makes of that picture and
does not make of others in the set. Where the compression is not known (a JPEG file saved as PNG, say), a copy lies no
farther from the other picture than compression takes it, and in most places nearer than neighbours lie to each other.
Where pictures differ by less than compression loses, copies of that last kind are not told.

Small grey copies say whom to compare. Pictures whose sides differ are not compared.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from mocca_jax import console
from mocca_jax.data import decoder, threads

SIDE = 128  # of the small grey copies, pixels
COARSE = 4  # times smaller they are searched
NEAREST = 5  # pictures that each is compared with
FAR = 0.3  # times the usual distance of neighbours: what is farther is compared only where compression may be why
BLOCK = 8  # pixels: side of the places whose differences are taken together
ROUNDED, ROUNDED_MOST = 0.1, 1  # grey levels by which turning may round: root of the mean square, and most
ALIKE, ALIKE_MOST = 0.2, 8  # grey levels by which small copies differ that are nearly one: the same two
RECODED = 0.15  # of what others differ by: what may be left when a picture is compressed as its copy is
WEBP, WEBP_PIXELS = (75, 80, 90, 95), 2**18  # qualities to try, files do not tell theirs; in larger ones it takes long
WORST, LOST = 60, 1.25  # quality of JPEG, and times what it loses that a copy may differ by
SMALL_LOSS, NEARER = (
    0.6,
    0.5,
)  # of what neighbours differ by: the most that compression loses, and that copies differ by
SAMPLE = 32  # pictures, by which it is told what compression loses
LARGE = 2**23  # pixels: larger pictures are compared one pair at a time, for the memory that they take
ORIENTATION = 0x0112  # EXIF's tag, and what brings pictures of each of its values upright, see `turned`
UPRIGHT = {1: 0, 2: 4, 3: 2, 4: 6, 5: 5, 6: 3, 7: 7, 8: 1}

_Pair = tuple[int, int, int]


@dataclass(frozen=True)
class _Other:
    """Another picture: its place, how it has to be turned (`turned`), and how far it is then, in grey levels."""

    place: int
    turn: int
    distance: float


@dataclass(frozen=True)
class _Picture:
    """A decoded file, upright, `[rows, columns, 3]`, and the ways it may have been compressed, see `_ways`."""

    pixels: np.ndarray
    ways: list[dict[str, Any]]

    def grey(self, turn: int = 0) -> np.ndarray:
        return turned(_grey(Image.fromarray(self.pixels)), turn)


def small(picture: Image.Image) -> np.ndarray:
    """The grey copy `[SIDE, SIDE]`, float16 from 0 to 255, by which a picture is searched: means of equal areas.

    That of a turned picture is the turned one.
    """
    return _shrunk(_grey(picture)).astype(np.float16)


def nearly_one(copies: np.ndarray) -> np.ndarray:
    """Which of the small copies `[N, SIDE, SIDE]` differ from their median by next to nothing, `[N]` of bool."""
    middle = np.median(copies[:: -(-len(copies) // SAMPLE)], 0).astype(np.float32)
    differences = (np.abs(copy - middle) for copy in copies)
    return np.array([difference.max() <= ALIKE_MOST and _rms(difference) <= ALIKE for difference in differences])


def pairs(
    files: Sequence[Path], copies: np.ndarray, sides: Sequence[tuple[int, int]], depth: int = 0
) -> list[tuple[int, int]]:
    """Places in `files` of two that are one picture, the lower first.

    Of many copies of one picture each is told together with some of the others, not with all.

    Args:
        files: readable pictures, no two of them equal in every pixel.
        copies: their small copies, `[N, SIDE, SIDE]`.
        sides: their rows and columns.
        depth: see `decoder.picture`.
    """
    found = _Set(files, copies, sides, depth)
    close = found.close()
    largest = max((rows * columns for rows, columns in sides), default=1)
    compared = threads.each(found.is_sure, close, None if largest <= LARGE else 1)
    proofs = console.steps(compared, "looking for copies", len(close), "pairs")
    sure = {pair for pair, proof in zip(close, proofs, strict=True) if proof}
    likely = found.likely([pair for pair in close if pair not in sure])
    return sorted(pair[:2] for pair in [*sure, *likely])


class _Set:
    """The pictures that are searched; a pair is two places and the turn that brings the second to the first."""

    def __init__(self, files: Sequence[Path], copies: np.ndarray, sides: Sequence[tuple[int, int]], depth: int):
        self.files, self.copies, self.sides, self.depth = files, copies, sides, depth
        self.nearest, self.middle = _others(copies, np.array(sides).reshape(-1, 2))
        self.ways = [_ways(path) for path in files]

    def close(self) -> list[_Pair]:
        """The pairs that are near enough to be compared."""
        bound = FAR * np.median([others[0].distance for others in self.nearest if others] or [0])
        found: dict[tuple[int, int], int] = {}
        for place, others in enumerate(self.nearest):
            shrunk = np.sqrt(np.prod(self.sides[place])) * COARSE / SIDE  # pixels of the file along one of the search
            for other in others:
                if other.distance <= max(1 + 4 / shrunk, bound):
                    low, high = sorted((place, other.place))
                    found[low, high] = other.turn if low == place else _back(other.turn)
        return [(first, second, turn) for (first, second), turn in found.items()]

    def is_sure(self, pair: _Pair) -> bool:
        """Whether their pixels prove that they are one picture."""
        first, second, turn = pair
        if not self.ways[first] and not self.ways[second] and _rms(self._difference(pair)) > 3 * ROUNDED:
            return False  # not decoded anew
        one, other = self._read(first), self._read(second)
        return (
            _is_same(one, other, turn)
            or self._is_recoded(one, other, turn, self.middle[first])
            or self._is_recoded(other, one, _back(turn), self.middle[second])
        )

    def likely(self, pairs: Sequence[_Pair]) -> list[_Pair]:
        """Those that differ by no more than compression loses, where pictures of the set differ by far more."""
        last = [(place, others[-1].place, others[-1].turn) for place, others in enumerate(self.nearest) if others]
        usual = float(np.median([_middle(self._difference(pair)) for pair in last] or [0]))  # the last is hardly a copy
        near = [pair for pair in pairs if _middle(self._difference(pair)) < NEARER * usual]
        if not near or self._loss() > SMALL_LOSS * usual:
            return []
        return [pair for pair in near if _is_likely(self._read(pair[0]), self._read(pair[1]), pair[2])]

    def _read(self, place: int) -> _Picture:
        return _Picture(np.asarray(decoder.picture(self.files[place], self.depth)), self.ways[place])

    def _difference(self, pair: _Pair) -> np.ndarray:
        """Of the small copies."""
        first, second, turn = pair
        return self.copies[first].astype(np.float32) - turned(self.copies[second], turn)

    def _is_recoded(self, copy: _Picture, source: _Picture, turn: int, control: _Other | None) -> bool:
        """Whether one is what its compression makes of the other, and does not make of a third picture, the control."""
        grey = copy.grey()
        allowed = RECODED * _rms(grey - source.grey(turn))
        for way in copy.ways:
            left = _rms(_saved(turned(source.pixels, turn), **way) - grey)
            if left <= allowed:
                if control is None:
                    return True
                third = turned(self._read(control.place).pixels, control.turn)
                return left < RECODED * _rms(_saved(third, **way) - grey)
        return False

    def _loss(self) -> float:
        """What compression usually takes away from such pictures, as `_middle`."""
        count = len(self.files)
        some = (self._read(place).grey() for place in range(0, count, -(-count // SAMPLE)))
        return float(np.median([_middle(_shrunk(grey - _worst(grey))) for grey in some]))


def _others(copies: np.ndarray, sides: np.ndarray) -> tuple[list[list[_Other]], list[_Other | None]]:
    """Of each picture the nearest of those with its sides, and the one that is as near as half of them, if any."""
    count, side = len(copies), SIDE // COARSE
    cells = (copy.astype(np.float32).reshape(side, COARSE, side, COARSE) for copy in copies)
    coarse = np.array([of_one.mean((1, 3)) for of_one in cells]).reshape(count, side, side)
    coarse -= coarse.mean() if count else 0
    flat = coarse.reshape(count, side * side)
    squares = (flat**2).sum(1)
    best, turns = np.full((count, count), np.inf, np.float32), np.zeros((count, count), np.int8)
    for turn in range(8):
        laid = np.array([turned(copy, turn) for copy in coarse]).reshape(flat.shape)
        distance = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * flat @ laid.T, 0)) / side
        fits = (sides[:, None] == (sides[:, ::-1] if turn % 2 else sides)[None]).all(-1)
        nearer = fits & (distance < best)
        best[nearer], turns[nearer] = distance[nearer], turn
    np.fill_diagonal(best, np.inf)
    order, comparable = np.argsort(best, 1), np.isfinite(best).sum(1).tolist()

    def other(place: int, rank: int) -> _Other:
        found = int(order[place, rank])
        return _Other(found, int(turns[place, found]), float(best[place, found]))

    nearest = [[other(place, rank) for rank in range(min(NEAREST, many))] for place, many in enumerate(comparable)]
    return nearest, [other(place, many // 2) if many > 1 else None for place, many in enumerate(comparable)]


def _is_same(first: _Picture, second: _Picture, turn: int) -> bool:
    """Whether they have the same pixels."""
    difference = first.grey() - second.grey(turn)
    return np.abs(difference).max() <= ROUNDED_MOST and _rms(difference) <= ROUNDED


def _is_likely(first: _Picture, second: _Picture, turn: int) -> bool:
    """Whether they differ by no more than compression loses."""
    one, other = first.grey(), second.grey(turn)
    lost = max(_rms(_halved(grey - _worst(grey))) for grey in (one, other))
    return _rms(_halved(one - other)) <= LOST * lost


def _ways(path: Path) -> list[dict[str, Any]]:
    """How the file may have been compressed, as `_saved` takes it; none where nothing is known."""
    with decoder.opened(path) as image:
        if image.mode not in ("L", "RGB") or image.format not in ("JPEG", "WEBP"):
            return []
        stored = {"mode": image.mode, "turn": _back(UPRIGHT.get(image.getexif().get(ORIENTATION), 0))}
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            how = {"qtables": image.quantization, "subsampling": JpegImagePlugin.get_sampling(image)}
            is_plain = sorted(image.quantization) == list(range(len(image.quantization)))  # Pillow saves no others
            return [{**stored, "format": "JPEG", **how}] if is_plain else []
        if image.format == "WEBP" and image.width * image.height <= WEBP_PIXELS:
            return [{**stored, "format": "WEBP", "quality": quality} for quality in WEBP]
        return []


def _saved(pixels: np.ndarray, mode: str, turn: int = 0, **how: Any) -> np.ndarray:
    """What saving makes of a picture, grey; it lies as it did. `turn`: how it is laid for that."""
    file = io.BytesIO()
    Image.fromarray(turned(pixels, turn).astype(np.uint8)).convert(mode).save(file, **how)
    with Image.open(file) as image:
        return turned(_grey(image), _back(turn))


def _worst(grey: np.ndarray) -> np.ndarray:
    return _saved(grey, "L", format="JPEG", quality=WORST)


def _middle(difference: np.ndarray) -> float:
    """The root of the mean square of a difference of small copies, in the middle one of their blocks."""
    blocks = difference.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK)
    return float(np.median(np.sqrt((blocks**2).mean((1, 3)))))


def _grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"), np.float32)


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight ways to lay a picture: `turn` quarters, from 4 on mirrored before."""
    return np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4)


def _back(turn: int) -> int:
    """The way that undoes `turn`."""
    return turn if turn >= 4 else -turn % 4


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    rows, columns = (_areas(length) for length in pixels.shape)
    return rows @ pixels @ columns.T


def _areas(length: int) -> np.ndarray:
    """`[SIDE, length]`: how much each of `length` pixels counts in the mean of each of `SIDE` equal parts."""
    ends, pixels = np.linspace(0, length, SIDE + 1), np.arange(length)
    covered = np.minimum(ends[1:, None], pixels + 1) - np.maximum(ends[:-1, None], pixels)
    return (np.maximum(covered, 0) * SIDE / length).astype(np.float32)


def _halved(pixels: np.ndarray) -> np.ndarray:
    """Means of two by two pixels."""
    rows, columns = (max(side // 2, 1) for side in pixels.shape)
    return pixels[: 2 * rows, : 2 * columns].reshape(rows, -1, columns, min(2, pixels.shape[1])).mean((1, 3))


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))
