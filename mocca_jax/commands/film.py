"""Command: a test video of a finished run as a film, with the score curve under the picture.

    mocca film runs/ped2 01 01.gif

The output is a .gif, or a .mp4 or .avi (with OpenCV). The curve is the run's score of every frame, drawn up to the
frame that is shown; the dashed line is the threshold from held-out normal videos; a grey ground marks the frames
labelled anomalous, where labels are known. The picture has a red frame where the score exceeds the threshold.
"""

from pathlib import Path

from mocca_jax.commands.arguments import add_place, begin, parser, place, plain_errors
from mocca_jax.report import film


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run on videos", type=Path)
    add_place(takes, "video", "name of a test video")
    add_place(takes, "output", "the film to write", type=Path)
    takes.add_argument("--fps", type=float, default=12.0, help="frames per second of the film")
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        video = place(options, "video", "the name of a test video")
        output = place(options, "output", "the film to write, such as 01.gif,")
        count = film.make(run, video, output, options.fps)
    print(f"{count} frames written to {output}")
