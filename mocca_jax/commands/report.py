"""Command: the report of a finished run as one page that opens offline, and its plots as PNG.

    mocca report runs/leather

Every run writes it when it ends: report.html and plots/*.png in its workdir. Everything in it comes from files of the
run; nothing is computed anew.
"""

from pathlib import Path

from mocca_jax.commands.arguments import add_place, begin, parser, place, plain_errors
from mocca_jax.report import page


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run", type=Path)
    options = begin(takes, arguments)
    with plain_errors():
        print(f"written to {page.write(place(options, 'run', 'the run, the folder of a finished training,'))}")
