"""Pictures of anomaly maps: one color scale for all images of a run, anchored at the threshold.

They are put together with Pillow: a plot by matplotlib takes ten times as long, and a run draws a hundred of them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mocca_jax import console
from mocca_jax.data import Split, masks
from mocca_jax.errors import UserError
from mocca_jax.outputs import examples
from mocca_jax.scoring import regions
from mocca_jax.scoring.regions import Region

# From "as ordinary as the median good pixel" (0) over the threshold (1) to twice as far (2): red, green, blue,
# opacity. Below the threshold the colors are cold, above it warm.
COLORS = (
    (0.0, (0.1, 0.3, 0.9, 0.0)),
    (0.999, (0.1, 0.6, 0.9, 0.45)),
    (1.0, (1.0, 0.85, 0.1, 0.45)),
    (1.5, (0.95, 0.35, 0.1, 0.65)),
    (2.0, (0.75, 0.0, 0.1, 0.8)),
)
STEPS = 2048  # of the table of colors
TICKS = ((0, "ordinary"), (1, "threshold"), (2, "twice as far"))
OUTLINE, AROUND = (0, 255, 255), (0, 40, 60)
SIDE, GAP = 360, 12  # pixels: height of the two pictures, between them and around
FONT, BAR = 20, 20  # pixels: a page shows 470 of 744 across, so letters there are 13 high
ROW = FONT + 10
INK, SMALL, MOST_BOXES = (200, 0, 160), 13, 9  # of the outlines of regions and their numbers
PAIRED, SURROUNDINGS = 240, 2.0  # pixels of each of a pair; its side in those of the region
OVERLAYS, MAPS = "overlays", "maps"


@dataclass(frozen=True)
class Scale:
    """Map values: `ordinary`, the median of good pixels; `threshold`, what few good images reach anywhere."""

    ordinary: float
    threshold: float

    def relative(self, values: np.ndarray) -> np.ndarray:
        """0 at `ordinary`, 1 at `threshold`."""
        return (values - self.ordinary) / max(self.threshold - self.ordinary, 1e-12)


def write(
    run: Path, split: Split, maps: dict[int, np.ndarray], scale: Scale, values: np.ndarray | None, by: str
) -> None:
    """Writes `overlays/<sample>.png` and `maps/<sample>.npy` (float32 `[rows, columns]`) into a run's folder.

    Args:
        run: the folder.
        split: of the samples, which are pictures.
        maps: of some of them, by index.
        scale: of the colors.
        values: `[S]`, of what decides; or None.
        by: its name.

    Raises:
        UserError: some cannot be written; the others are.
    """
    names, faults = examples.file_names(split.samples), []
    for index, found in console.steps(maps.items(), "overlays", len(maps), "images"):
        rows, columns = split.pictures.sizes[index]
        picture = split.pictures.images[np.array([index])][0, :rows, :columns]
        title = split.samples[index] + ("" if values is None else f"   {by} {values[index]:.4g}")
        overlay, numbers = run / OVERLAYS / f"{names[index]}.png", run / MAPS / f"{names[index]}.npy"
        try:
            for path in (overlay, numbers):
                path.parent.mkdir(parents=True, exist_ok=True)
            boxes = regions.on_map(found, scale.threshold)
            draw(overlay, picture, found, split.pictures.mask(index), scale, title, boxes)
            np.save(numbers, found)
        except (OSError, ValueError) as error:  # ValueError: what is no name of a file
            faults.append(error)
    if faults:
        raise UserError(f"{len(faults)} of {len(maps)} cannot be written to {run}: {faults[0]}") from faults[0]


@functools.cache
def colors() -> np.ndarray:
    """From `Scale.relative` 0 to 2: red, green, blue, opacity, `[STEPS, 4]` uint8."""
    at, anchors = np.linspace(0, 2, STEPS), [place for place, _ in COLORS]
    channels = zip(*(color for _, color in COLORS), strict=True)
    return np.stack([np.interp(at, anchors, channel) * 255 for channel in channels], -1).round().astype(np.uint8)


def paint(picture: np.ndarray, values: np.ndarray, scale: Scale) -> Image.Image:
    """The picture `[rows, columns, 1 or 3]` under its map, nothing else, at the size of the map."""
    image = Image.fromarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
    image = image if image.size == values.shape[::-1] else image.resize(values.shape[::-1], Image.Resampling.BOX)
    return _under(image, scale.relative(values))


def alone(values: np.ndarray, scale: Scale) -> Image.Image:
    """The colors of a map `[rows, columns]` with their opacity, to be laid over its picture."""
    return _painted(scale.relative(values))


def _painted(relative: np.ndarray) -> Image.Image:
    return Image.fromarray(np.take(colors(), np.clip(relative * (STEPS / 2), 0, STEPS - 1).astype(np.int16), 0))


def _under(image: Image.Image, relative: np.ndarray) -> Image.Image:
    painted = _painted(relative)
    out = image.copy()
    out.paste(painted, mask=painted)
    return out


def draw(
    path: Path,
    picture: np.ndarray,
    values: np.ndarray,
    mask: np.ndarray | None,
    scale: Scale,
    title: str,
    found: Sequence[Region] = (),
) -> None:
    """Writes a PNG: the picture, and beside it the picture under its map, with a legend; regions numbered.

    Args:
        path: where to.
        picture: `[rows, columns, 3]` uint8.
        values: the map `[rows, columns]`.
        mask: the known defect, outlined where there is one; or None.
        scale: of the colors.
        title: one line.
        found: the regions to be outlined, of which the first `MOST_BOXES` are.
    """
    rows, columns = values.shape
    size = (round(SIDE * min(max(columns / rows, 0.5), 2)), SIDE)
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    relative = Image.fromarray(scale.relative(values).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    marked = mask is not None and mask.any()
    left, right = GAP, 2 * GAP + size[0]
    page = Image.new("RGB", (right + size[0] + GAP, SIDE + 2 * ROW + BAR + ROW + GAP), "white")
    pen = ImageDraw.Draw(page)
    _text(pen, page.width / 2, GAP / 2, title, page.width - 2 * GAP)
    for start, said in ((left, "image; cyan: the defect" if marked else "image"), (right, "anomaly map")):
        _text(pen, start + size[0] / 2, ROW, said, size[0])
    page.paste(_outlined(image, mask) if marked else image, (left, 2 * ROW))
    page.paste(_under(image, np.asarray(relative)), (right, 2 * ROW))
    for number, region in enumerate(found[:MOST_BOXES], 1):
        _box(pen, region, number, (right, 2 * ROW), (size[0] / columns, size[1] / rows))
    legend = _legend(min(page.width - 2 * GAP, 2 * SIDE))
    page.paste(legend, ((page.width - legend.width) // 2, 2 * ROW + SIDE + GAP))
    page.save(path, "PNG", compress_level=1)


def pair(
    path: Path, picture: np.ndarray, good: np.ndarray, region: Region, beside: str = "nearest good picture there"
) -> None:
    """Writes a PNG: a region of a picture with its surroundings, and beside it the same place of a good picture.

    Args:
        path: where to.
        picture, good: `[rows, columns, 3]` uint8, of one size.
        region: in pixels of both.
        beside: what the good picture is called.
    """
    rows, columns = picture.shape[:2]
    left, top, width, height = region.on_map
    side = min(max(round(SURROUNDINGS * max(width, height)), min(rows, columns) // 4), max(rows, columns))
    first = [
        min(max(start + (length - side) // 2, 0), max(whole - side, 0))
        for start, length, whole in ((left, width, columns), (top, height, rows))
    ]
    page = Image.new("RGB", (3 * GAP + 2 * PAIRED, PAIRED + ROW + GAP), "white")
    pen = ImageDraw.Draw(page)
    for n, (pixels, said) in enumerate(((picture, "this picture"), (good, beside))):
        cut = Image.fromarray(pixels[first[1] : first[1] + side, first[0] : first[0] + side])
        scale = PAIRED / max(cut.size)
        at = GAP + n * (PAIRED + GAP)
        _text(pen, at + PAIRED / 2, GAP / 2, said, PAIRED)
        sides = [max(1, round(length * scale)) for length in cut.size]
        page.paste(cut.resize(sides, Image.Resampling.BICUBIC), (at, ROW))
        corners = [(start - away) * scale for start, away in zip((left, top), first, strict=True)]
        corners += [corners[0] + width * scale - 1, corners[1] + height * scale - 1]
        ends = [min(max(value, 0), sides[n % 2] - 1) + (at, ROW)[n % 2] for n, value in enumerate(corners)]
        pen.rectangle(tuple(ends), outline=INK)
    page.save(path, "PNG", compress_level=1)


def _box(pen: ImageDraw.ImageDraw, region: Region, number: int, at: tuple[int, int], by: tuple[float, float]) -> None:
    """A thin outline with its number, inside of a picture that lies `at` and is `by` times as large as the map."""
    left, top, width, height = region.on_map
    first = left * by[0], top * by[1]
    last = (left + width) * by[0] - 1, (top + height) * by[1] - 1
    corners = (*first, *np.maximum(first, last).tolist())  # of a large picture a region may be less than a pixel
    around = tuple(value + at[n % 2] for n, value in enumerate(corners))
    pen.rectangle(around, outline=INK)
    tag = pen.textbbox((around[0] + 3, around[1] + 1), str(number), _font(SMALL))
    pen.rectangle((around[0], around[1], tag[2] + 2, tag[3] + 2), fill=INK)
    pen.text((around[0] + 3, around[1] + 1), str(number), "white", _font(SMALL))


def _outlined(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """With the edge of the mask in cyan, between dark lines, to be seen on any ground."""
    if mask.shape[0] > image.height:
        whole = masks.reduced(mask, image.size[::-1], "stretch")  # nothing marked vanishes
    else:
        whole = np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))
    edge = np.zeros(whole.shape, bool)
    edge[:-1] |= whole[:-1] != whole[1:]
    edge[:, :-1] |= whole[:, :-1] != whole[:, 1:]
    line = _wider(edge)
    out = np.array(image)
    out[_wider(line)], out[line] = AROUND, OUTLINE
    return Image.fromarray(out)


def _wider(edge: np.ndarray) -> np.ndarray:
    """By a pixel on each side."""
    out = edge.copy()
    for of, by in ((out[1:], edge[:-1]), (out[:-1], edge[1:]), (out[:, 1:], edge[:, :-1]), (out[:, :-1], edge[:, 1:])):
        of |= by
    return out


@functools.cache
def _legend(width: int) -> Image.Image:
    """The scale of colors, on white, with arrows where it goes on."""
    out = Image.new("RGB", (width, BAR + ROW), "white")
    pen = ImageDraw.Draw(out)
    first, last = 4 * FONT, width - 4 * FONT
    bar = _under(Image.new("RGB", (last - first, BAR), "white"), np.linspace(0, 2, last - first)[None].repeat(BAR, 0))
    for start, away, color in ((first, -BAR // 2, (0, 0)), (last, BAR // 2, (bar.width - 1, 0))):
        pen.polygon([(start, 0), (start + away, BAR / 2), (start, BAR - 1)], bar.getpixel(color), "black")
    out.paste(bar, (first, 0))
    pen.rectangle((first, 0, last, BAR - 1), outline="black")
    for at, said in TICKS:
        x = first + at / 2 * (last - first)
        pen.line((x, BAR, x, BAR + 4), "black")
        _text(pen, x, BAR + 4, said, width)
    return out


def _text(pen: ImageDraw.ImageDraw, middle: float, top: float, said: str, width: float) -> None:
    """A line of text; where it is too long, smaller, then without its beginning."""
    size = FONT
    while size > FONT * 3 // 4 and _font(size).getlength(said) > width:
        size -= 1
    while len(said) > 1 and _font(size).getlength(said) > width:
        said = f"\N{HORIZONTAL ELLIPSIS}{said[2:]}"
    pen.text((middle, top), said, "black", _font(size), anchor="ma")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
