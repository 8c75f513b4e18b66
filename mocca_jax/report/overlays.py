"""Pictures of anomaly maps: one colour scale for all images of a run, anchored at the threshold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mocca_jax import console
from mocca_jax.data import Split
from mocca_jax.errors import UserError
from mocca_jax.outputs import examples

# From "as ordinary as the median good pixel" (0) over the threshold (1) to twice as far (2): red, green, blue,
# opacity. Below the threshold the colours are cold, above it warm.
COLOURS = (
    (0.0, (0.1, 0.3, 0.9, 0.0)),
    (0.999, (0.1, 0.6, 0.9, 0.45)),
    (1.0, (1.0, 0.85, 0.1, 0.45)),
    (1.5, (0.95, 0.35, 0.1, 0.65)),
    (2.0, (0.75, 0.0, 0.1, 0.8)),
)
INCHES, DOTS = 4.0, 100
OVERLAYS, MAPS = "overlays", "maps"


@dataclass(frozen=True)
class Scale:
    """Map values: `ordinary`, the median of good pixels; `threshold`, what few good images reach anywhere."""

    ordinary: float
    threshold: float

    def relative(self, values: np.ndarray) -> np.ndarray:
        """0 at `ordinary`, 1 at `threshold`."""
        return (values - self.ordinary) / max(self.threshold - self.ordinary, 1e-12)


def write(run: Path, split: Split, maps: dict[int, np.ndarray], scale: Scale, scores: np.ndarray | None) -> None:
    """Writes `overlays/<sample>.png` and `maps/<sample>.npy` (float32 `[rows, columns]`) into a run's folder.

    Args:
        run: the folder.
        split: of the samples, which are pictures.
        maps: of some of them, by index.
        scale: of the colours.
        scores: `[S]`, or None.

    Raises:
        UserError: they cannot be written.
    """
    names = examples.file_names(split.samples)
    for index, values in console.steps(maps.items(), "overlays", len(maps), "images"):
        rows, columns = split.pictures.sizes[index]
        picture = split.pictures.images[np.array([index])][0, :rows, :columns]
        title = split.samples[index] + ("" if scores is None else f"   score {scores[index]:.4g}")
        overlay, numbers = run / OVERLAYS / f"{names[index]}.png", run / MAPS / f"{names[index]}.npy"
        try:
            for path in (overlay, numbers):
                path.parent.mkdir(parents=True, exist_ok=True)
            draw(overlay, picture, values, split.pictures.mask(index), scale, title)
            np.save(numbers, values)
        except OSError as error:
            raise UserError(f"cannot write to {run}: {error}. Scores and checkpoints are untouched.") from error


def colours():
    """From `Scale.relative` 0 to 2, as matplotlib wants them."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("anomaly", [(at / 2, colour) for at, colour in COLOURS], N=1024)


def paint(picture: np.ndarray, values: np.ndarray, scale: Scale) -> Image.Image:
    """The picture `[rows, columns, 1 or 3]` under its map `[rows, columns]`, nothing else."""
    painted = colours()(np.clip(scale.relative(values) / 2, 0, 1))
    opacity = painted[..., 3:]
    return Image.fromarray((picture * (1 - opacity) + 255 * painted[..., :3] * opacity).round().astype(np.uint8))


def draw(
    path: Path, picture: np.ndarray, values: np.ndarray, mask: np.ndarray | None, scale: Scale, title: str
) -> None:
    """Writes a PNG: the picture, and beside it the picture under its map, with a legend.

    Args:
        path: where to.
        picture: `[rows, columns, 3]` uint8.
        values: the map `[rows, columns]`.
        mask: the known defect, outlined where there is one; or None.
        scale: of the colours.
        title: one line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = values.shape
    width = INCHES * min(max(columns / rows, 0.5), 2)
    figure = Figure(figsize=(2 * width + 1.6, INCHES + 0.9), layout="constrained", dpi=DOTS)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.imshow(picture)
        axes.set_axis_off()
    painted = right.imshow(scale.relative(values), cmap=colours(), vmin=0, vmax=2, interpolation="bilinear")
    left.set_title("image", fontsize=9)
    right.set_title("anomaly map", fontsize=9)
    if mask is not None and mask.any():
        left.contour(mask, levels=[0.5], colors="cyan", linewidths=1)
        left.set_title("image; cyan: the defect as marked by hand", fontsize=9)
    bar = figure.colorbar(painted, ax=right, fraction=0.05, ticks=[0, 1, 2], extend="both")
    bar.ax.set_yticklabels(["ordinary", "threshold", "twice as far"], fontsize=8)
    figure.suptitle(title, fontsize=10)
    FigureCanvasAgg(figure).print_png(str(path))
