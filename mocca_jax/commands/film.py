"""Command: a video as a film with the score curve under the picture, what is unusual in it framed, by a finished run.

    mocca film runs/ped2 01 01.mp4
    mocca film runs/my_videos cam1.mp4 judged.mp4

The video is a test video of the run, by its name, or any film file or folder of frames. The output is a .mp4 or .avi
(with OpenCV), or a .gif, which is for short ones: it is held in memory as a whole.

The picture has the film's own size; it is reduced to a width of 960 pixels, and enlarged where it is small. The curve
is the score of every frame, drawn up to the frame that is shown; the dashed line is the threshold from normal videos;
red bars below it are events; a grey ground marks the frames labelled anomalous, where labels are known. While a frame
is anomalous the picture has a red frame, and the unusual place another, where the run knows it. The events are printed,
the most anomalous first.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mocca_jax import console, data
from mocca_jax.commands import predict
from mocca_jax.commands.arguments import add_place, begin, parser, place, plain_errors
from mocca_jax.data import films, footage
from mocca_jax.data.listing import shortened
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.outputs import events
from mocca_jax.report import film
from mocca_jax.scoring.moments import Moment

FRAMES_PER_SECOND = 12.0  # where the video does not tell
ENDINGS = (".mp4", ".avi", ".gif")


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run on videos, or its detector.npz", type=Path)
    add_place(takes, "video", "name of a test video, or a film or folder of frames")
    add_place(takes, "output", "the film to write", type=Path)
    takes.add_argument("--fps", type=float, help="frames per second of the film (default: the video's, or 12)")
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        video = place(options, "video", "the name of a test video, or a film,")
        output = place(options, "output", "the film to write, such as 01.mp4,")
        count, found = make(run, video, output, options.fps)
    for line in events.lines(found, predict.SHOWN) if found else ["nothing unusual"]:
        print(line)
    print(f"{count} frames written to {output}")


def make(run: Path, video: str, output: Path, frames_per_second: float | None = None) -> tuple[int, list[events.Event]]:
    """Writes the film; returns its number of frames, and the events.

    The video is decoded twice: the curve's scale takes all scores. No more than some frames of it are held.

    Args:
        run: workdir of a finished run, or its `detector.npz`.
        video: name of a test video of the run, or a film or folder of frames.
        output: a .mp4, .avi or .gif.
        frames_per_second: of the film; None: as the video tells.

    Raises:
        UserError: no finished run on videos, no such video, or the output cannot be written.
    """
    if output.suffix.lower() not in ENDINGS:
        raise UserError(f"{output}: films are written as {', '.join(ENDINGS)}")
    detector = Detector.load(run)
    if not detector.inputs.has_frames:
        raise UserError(f"{run} is no run on videos")
    source, labels = _source(detector.config, run, video)
    if isinstance(source, Path) and output.exists() and output.samefile(source):
        raise UserError(f"{output} is the video itself; name another file for the film")
    depth = detector.inputs.depth
    with console.Phase("scoring", 1, "videos") as phase:
        judged, rate = _judged(detector, predict.counted(footage.of(source, depth), phase), labels, video)
        phase.update()
    drawn = film.draw(footage.of(source, depth), judged, Path(video).name)
    steps = console.steps(drawn, "drawing", len(judged.scores), "frames")
    return films.write(output, steps, frames_per_second or rate), list(judged.events)


def _source(config: ConfigDict, run: Path, video: str) -> tuple[Any, Callable[[int], np.ndarray] | None]:
    """What `footage.of` takes, and what gives labels of so many frames."""
    known, why = {}, ""
    try:
        known = {of.name: of for of in data.test_videos(config)}
    except UserError as error:
        why = f" The test videos of the run cannot be looked up: {error}"
    if video in known:
        return known[video].source, known[video].labels
    path = Path(video).expanduser()
    if path.exists():
        return path, None
    names = f"; its test videos are {shortened(list(known))}" if known else ""
    raise UserError(f"{video} is neither a test video of {run} nor a film or folder{names}.{why}")


def _judged(
    detector: Detector, frames: Iterator[footage.Frame], labels: Callable[[int], np.ndarray] | None, video: str
) -> tuple[film.Judged, float]:
    """What is known of a video's frames; and how many there are in a second."""
    scores, anomalous, seconds, boxes = [], [], [], {}

    def noted() -> Iterator[Moment]:
        for moment in detector.moments(frames):
            scores.append(moment.score)
            anomalous.append(bool(moment.anomalous))
            seconds.append(np.nan if moment.seconds is None else moment.seconds)
            if moment.box:
                boxes[moment.frame] = moment.box
            yield moment

    found = list(events.of_video(video, noted()))
    truth = labels(len(scores)) if labels else np.full(len(scores), -1)
    steps = np.diff(seconds)
    steps = steps[steps > 0]
    rate = 1 / float(np.median(steps)) if len(steps) else FRAMES_PER_SECOND
    return film.Judged(np.array(scores), np.array(anomalous), detector.threshold, truth, boxes, found), rate
