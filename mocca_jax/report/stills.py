"""A frame of a video with what is unusual in it framed in red."""

from PIL import Image, ImageDraw

from mocca_jax.scoring.moments import Box

RED, AROUND = (230, 40, 30), (255, 255, 255)
LINE, SPACE = 2, 4  # pixels: of the frame in red, and between it and what it is about


def framed(picture: Image.Image, box: Box | None, size: tuple[int, int]) -> Image.Image:
    """The picture in another size (columns, rows), RGB.

    Args:
        picture: a frame.
        box: in pixels of the picture; or None.
        size: of what is returned.
    """
    out = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    if box:
        across, down = size[0] / picture.width, size[1] / picture.height
        left, top, width, height = box
        corners = [left * across, top * down, (left + width) * across, (top + height) * down]
        pen = ImageDraw.Draw(out)
        for away, color, line in ((LINE, AROUND, 2 * LINE), (LINE, RED, LINE)):
            grown = [corners[0] - SPACE - away, corners[1] - SPACE - away, corners[2] + SPACE, corners[3] + SPACE]
            pen.rectangle([max(side, 0) for side in grown], outline=color, width=line)
    return out


def fitted(sides: tuple[int, int], least: int, most: int) -> tuple[int, int]:
    """A size (columns, rows) for a picture of such sides, both even: its own, or what is `least` to `most` wide.

    Small ones are enlarged by a whole number.

    Example:
        >>> fitted((1920, 1080), 320, 960), fitted((360, 241), 320, 960), fitted((128, 96), 320, 960)
        ((960, 540), (360, 242), (384, 288))
    """
    columns, rows = sides
    by = most / columns if columns > most else -(-least // columns)
    return tuple(max(2, 2 * round(side * by / 2 + 1e-9)) for side in (columns, rows))
