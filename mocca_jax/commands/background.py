"""Command: copies of a video set's frames in which only what moves is left (paper, section V-D).

    mocca background shanghaitech --method=median

For every video under training/ and testing/ (frames/ or videos/) it writes nobackground_frames_resized/<video>/*.png
beside them; `--config.foreground=True` then trains on these. A pixel is kept where its three channels differ from the
video's background by more than 128 in all, grown by five pixels. The background is that of OpenCV's mixture of
Gaussians with its default settings after the whole video, or each pixel's median over time. Videos already done are
left alone, so an interrupted command can be given again; a video's folder appears when all of it is written.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from mocca_jax import console
from mocca_jax.commands.arguments import begin, parser, plain_errors
from mocca_jax.data import decoder, films, video_layout
from mocca_jax.data.spread import Spread
from mocca_jax.errors import UserError

DIFFERENCE = 128  # summed over red, green and blue
GROWTH = 5  # pixels, along rows and columns
SAMPLED = 100  # frames that the median is taken over, at most twice as many


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    takes.add_argument("folder", type=Path, help="laid out as ShanghaiTech")
    takes.add_argument("--method", choices=sorted(METHODS), default="mog2", help="where the background comes from")
    takes.add_argument("--rows", type=int, default=256, help="of the copies, pixels")
    takes.add_argument("--columns", type=int, default=512, help="of the copies, pixels")
    options = begin(takes, arguments)
    with plain_errors():
        try:
            done, skipped = remove(options.folder, options.method, (options.rows, options.columns))
        except OSError as error:
            raise UserError(str(error)) from error
    print(f"{done} videos written, {skipped} were there already")


def remove(folder: Path, method: str, size: tuple[int, int]) -> tuple[int, int]:
    """Writes the foreground of every video in `folder`; returns how many were written and how many were there.

    Raises:
        UserError: no videos, unreadable ones, or other settings than those that made what is there.
    """
    tasks = []
    for half in ("training", "testing"):
        found, _ = video_layout.videos_in(folder / half / "frames")
        found = found or video_layout.videos_in(folder / half / "videos")[0]
        tasks += [(video, folder / half / video_layout.FOREGROUND / video.name) for video in found]
    if not tasks:
        raise UserError(f"{folder} holds no videos under training/ or testing/:\n{video_layout.LAYOUTS}")
    open_tasks = [task for task in tasks if not task[1].exists()]

    def one(task: tuple[video_layout.Found, Path]) -> None:
        _write(*task, METHODS[method], size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(console.steps(pool.map(one, open_tasks), "background", len(open_tasks), "videos"))
    return len(open_tasks), len(tasks) - len(open_tasks)


def foreground(frame: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The frame `[H, W, 3]` uint8, black where it does not differ from the background."""
    moved = np.abs(frame.astype(np.int32) - background.astype(np.int32)).sum(-1) > DIFFERENCE
    grown = ndimage.binary_dilation(moved, ndimage.generate_binary_structure(2, 1), GROWTH)
    return frame * grown[..., None]


def mog2(frames: Iterator[np.ndarray]) -> np.ndarray:
    """The background `[H, W, 3]` that OpenCV's mixture of Gaussians has learned when it has seen all frames."""
    model = films.opencv().createBackgroundSubtractorMOG2()
    for frame in frames:
        model.apply(frame)
    return model.getBackgroundImage()


def median(frames: Iterator[np.ndarray]) -> np.ndarray:
    """Each pixel's median over evenly spaced frames; needs no OpenCV."""
    spread: Spread[np.ndarray] = Spread(2 * SAMPLED)
    for frame in frames:
        spread.add(frame)
    return np.median(np.stack(spread.kept), axis=0).astype(np.uint8)


METHODS: dict[str, Callable[[Iterator[np.ndarray]], np.ndarray]] = {"mog2": mog2, "median": median}


def _write(video: video_layout.Found, place: Path, method: Callable, size: tuple[int, int]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place.parent))
    try:
        background = method(frame for _, frame in _frames(video, size))
        for name, frame in _frames(video, size):
            Image.fromarray(foreground(frame, background)).save(draft / f"{name}.png")
        os.chmod(draft, 0o755)
        os.replace(draft, place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _frames(video: video_layout.Found, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pixels of a video's frames, resized."""
    if isinstance(video.source, Path):
        named = ((f"{index:05d}", frame) for index, frame in enumerate(films.frames(video.source)))
    else:
        named = ((path.stem, _picture(path)) for path in video.source)
    for name, picture in named:
        yield name, np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def _picture(path: Path) -> Image.Image:
    try:
        return decoder.picture(path)
    except UserError as error:
        raise UserError(f"{path} cannot be read as an image ({error}). Mend it, or remove the video.") from error
