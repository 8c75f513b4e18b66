"""The command `mocca`: one module here for each thing that people type, each with `main(arguments)`.

    mocca train my_parts
    mocca predict runs/my_parts new_pictures

Nothing is imported before it is known which command is wanted, so `mocca --help` answers at once.
"""

import importlib
import sys

import mocca_jax

# The name of a module here, and what it does.
COMMANDS = {
    "train": "make a detector of a folder of good pictures, or run a config by its name",
    "predict": "decide about new pictures or films with a finished run",
    "watch": "tell what is unusual before a running camera, or sort pictures that come into a folder",
    "update": "teach a finished run more good parts",
    "drift": "tell whether pictures are still as those that a run knows",
    "serve": "answer over HTTP with a finished run",
    "export": "write a finished run as one file that runs without mocca_jax",
    "report": "write the page of a finished run anew",
    "film": "draw a test video of a finished run with its scores",
    "check": "look through a folder of pictures or videos before training on it",
    "background": "keep only what moves in a folder of videos",
    "example": "draw a folder of made-up parts to try things on",
    "config": "list the configs, and explain every field of one",
}


def start() -> None:
    """`main`, as a program of its own."""
    from mocca_jax.console import pages

    pages.restart()
    main()


def main(arguments: list[str] | None = None) -> None:
    """`mocca`, `mocca --version`, `mocca COMMAND ...`."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if words[0] in ("-V", "--version"):
        print(f"mocca_jax {mocca_jax.__version__}")
        return
    name = words[0]
    if name not in COMMANDS:
        from mocca_jax.config.nearest import suggestion

        sys.exit(f"error: mocca has no command {name!r}{suggestion(name, COMMANDS)}")
    sys.argv[0] = f"mocca {name}"  # what its help and its errors call it
    importlib.import_module(f"mocca_jax.commands.{name}").main(words[1:])


def overview() -> str:
    """All commands with a line each."""
    wide = max(map(len, COMMANDS))
    lines = [f"  {name:<{wide}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            f"mocca {mocca_jax.__version__}: find what is unusual in pictures and videos, trained on good ones alone.",
            "",
            *lines,
            "",
            "mocca COMMAND --help explains a command. A first detector: mocca train FOLDER_OF_GOOD_PICTURES",
        ]
    )
