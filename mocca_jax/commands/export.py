"""Command: a finished run as one file that runs with `jax` alone.

    mocca export runs/leather leather.mocca

The file is a zip of manifest.json, program.stablehlo (for CPU, CUDA and TPU, any batch size) and weights.npz. The
program takes pictures as uint8 and holds everything after decoding and resizing: scaling, network, distances, score,
p-value, decision, threshold and anomaly map. `mocca_jax/export/exported.py` runs it in thirty lines and can be copied.
An output that ends in .onnx is an ONNX file with the score alone.

Before the file is kept, a new process that imports only jax and numpy loads it, and its answers are compared with the
detector's; a file that differs is not left behind.
"""

from pathlib import Path

from mocca_jax.commands.arguments import add_by, add_place, begin, parser, place, plain_errors
from mocca_jax.export.artifact import export


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run, or its detector.npz", type=Path)
    add_place(takes, "output", "the file; it must not exist", type=Path)
    add_by(takes)
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        output = place(options, "output", "the file to write, such as my_parts.mocca,")
        worst = export(run, output, options.by)
    size = output.stat().st_size / 1e6
    print(f"{output}: {size:.1f} MB; differs from the detector by at most {worst:.1e}, relative")
