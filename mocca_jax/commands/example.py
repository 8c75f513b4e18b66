"""Command: a folder of made-up parts, with defects and their masks, to try things on without data of one's own.

    mocca example my_parts --normal=200 --test=12

Washers with six holes, each a little differently placed and lit, in MVTec AD's layout (docs/train-on-your-images.md):
`--normal` training images, and `--test` test images of each kind: good, scratch, stain, missing_hole. The pictures of
docs/read-a-report.md come from a run on them. Nothing that is measured on them says anything about real data.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mocca_jax.commands.arguments import parser, plain_errors
from mocca_jax.errors import UserError

SIDE, FINE = 160, 4  # pixels; drawn this many times larger, then reduced
HOLES, HOLE = 6, 0.05  # how many, and their radius in sides of the picture


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    takes.add_argument("folder", type=Path, help="a new folder")
    takes.add_argument("--normal", type=int, default=200, help="training images")
    takes.add_argument("--test", type=int, default=12, help="test images of each kind")
    takes.add_argument("--seed", type=int, default=0, help="same seed, same pictures")
    options = takes.parse_intermixed_args(arguments)
    with plain_errors():
        if options.folder.exists():
            raise UserError(f"{options.folder} exists already; name a new folder")
    rng = np.random.default_rng(options.seed)
    for number in range(options.normal):
        _save(options.folder / f"train/good/{number:03d}.png", part(rng)[0])
    for kind in ("good", *DEFECTS):
        for number in range(options.test):
            picture, mask = part(rng, kind)
            _save(options.folder / f"test/{kind}/{number:03d}.png", picture)
            if kind != "good":
                _save(options.folder / f"ground_truth/{kind}/{number:03d}_mask.png", mask)
    print(f"{options.normal} normal images and {options.test} test images of each kind in {options.folder}")


def part(rng: np.random.Generator, kind: str = "good") -> tuple[Image.Image, Image.Image]:
    """A washer and the mask of its defect, which is black for good ones."""
    side = SIDE * FINE
    turn, centre = rng.uniform(-0.05, 0.05), tuple(side * rng.uniform(0.48, 0.52, 2))
    holes = [_at(centre, 0.27 * side, turn + 2 * math.pi * n / HOLES) for n in range(HOLES)]
    mark, brighter = Image.new("L", (side, side)), 0.0
    if kind != "good":
        draw_defect, brighter = DEFECTS[kind]
        draw_defect(rng, ImageDraw.Draw(mark), centre, side, holes)
    metal = Image.new("L", (side, side))
    draw = ImageDraw.Draw(metal)
    _disc(draw, centre, 0.4 * side, 255)
    for place, radius in [(centre, 0.14 * side), *((hole, HOLE * side) for hole in holes)]:
        _disc(draw, place, radius, 0)
    mark = ImageChops.darker(mark, metal)
    mask = mark.resize((SIDE, SIDE), Image.Resampling.BOX).point(lambda value: 255 * (value > 127))
    return _lit(rng, metal, mark, brighter), mask


def _lit(rng: np.random.Generator, metal: Image.Image, mark: Image.Image, brighter: float) -> Image.Image:
    """Grey metal on a dark table, brighter towards one side, with noise; the mark is `brighter` than the metal."""
    small = (SIDE, SIDE)
    blurred = metal.filter(ImageFilter.GaussianBlur(FINE * 3))
    shape, edge, defect = (
        np.asarray(image.resize(small, Image.Resampling.BOX), np.float32) / 255 for image in (metal, blurred, mark)
    )
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    down, right = rng.normal(0, 0.12, 2)
    value = shape * (0.45 + 0.3 * edge) + (1 - shape) * 0.16 + brighter * defect
    value *= 1 + down * rows + right * columns + rng.normal(0, 0.03)
    value += rng.normal(0, 0.012, value.shape)
    colours = value[..., None] * np.array([0.96, 1.0, 1.05])
    return Image.fromarray((255 * colours).clip(0, 255).astype(np.uint8))


def _scratch(rng, draw, centre, side, holes) -> None:
    start = rng.uniform(0, 2 * math.pi)
    points = [_at(centre, side * (0.2 + 0.05 * t), start + 0.25 * t) for t in range(4)]
    draw.line(points, fill=255, width=FINE * 3)


def _stain(rng, draw, centre, side, holes) -> None:
    angle = rng.uniform(0, 2 * math.pi)
    for away, aside in zip(rng.normal(0, 0.012, 5), rng.normal(0, 0.06, 5), strict=True):
        _disc(draw, _at(centre, side * (0.33 + away), angle + aside), 0.025 * side, 255)


def _missing_hole(rng, draw, centre, side, holes) -> None:
    _disc(draw, holes.pop(rng.integers(HOLES)), HOLE * side, 255)


DEFECTS = {"scratch": (_scratch, 0.3), "stain": (_stain, -0.22), "missing_hole": (_missing_hole, 0.0)}


def _at(centre: tuple[float, float], radius: float, angle: float) -> tuple[float, float]:
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, value: int) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)


def _save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
