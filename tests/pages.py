"""What the README and the pages in docs/ say: their blocks, commands and links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from mocca_jax.commands import COMMANDS
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OURS = re.compile(
    rf"python -m (?:mocca_jax|experiments)[^`\"\n]*|(?<=[`\n])mocca (?:{'|'.join(COMMANDS)}) [^`\"\n]*"  # with words
)


@dataclass(frozen=True)
class Command:
    """`python -m module flags...`, as a page has it; of `mocca name flags...`, `module` is `mocca name`."""

    module: str
    flags: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """Behind `python -m`."""
        return [*self.module.replace("mocca ", "mocca_jax ").split(), *self.flags]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of this language."""
    return [text for found, text in FENCED.findall(page.read_text()) if found == language]


def commands(page: Path) -> list[Command]:
    """Every command of ours on the page, in blocks of any kind and between backticks.

    Continued lines are joined; a variable of the shell stands for 0.
    """
    text = re.sub(r"\\\n\s*", "", page.read_text())
    text = re.sub(r"\$\w+", "0", text)
    found = [shlex.split(line, comments=True) for line in OURS.findall(text)]
    return [
        Command(words[2], tuple(words[3:])) if words[0] == "python" else Command(" ".join(words[:2]), tuple(words[2:]))
        for words in found
    ]


def links(page: Path) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())
