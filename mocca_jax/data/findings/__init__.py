"""What is found in a folder before training: each module looks at one side of it and returns `Finding`s."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mocca_jax.data import listing
from mocca_jax.data.listing import Unused

SHOWN = 10  # names that a finding shows
DOCUMENTS = ("readme", "license", "licence", "copying", "citation", "changelog")  # belong to data sets


@dataclass(frozen=True)
class Finding:
    """Something to mend, or with `note` only to know.

    Args:
        what: the kind of thing, which follows the number of names.
        mend: what to do about it.
        names: files as they can be printed, each with what is particular to it.
        note: nothing has to be mended.
    """

    what: str
    mend: str
    names: Sequence[str]
    note: bool = False

    def __str__(self) -> str:
        """As lines: the number of names, what it is, what to do, some of the names."""
        more = [f"... and {len(self.names) - SHOWN} more"] if len(self.names) > SHOWN else []
        head = f"{'note: ' if self.note else ''}{len(self.names)} {self.what}. {self.mend}"
        return "\n".join([head, *(f"  {name}" for name in [*self.names[:SHOWN], *more])])


def unused(files: Iterable[Unused], name: Callable[[Path], str]) -> list[Finding]:
    """A finding for each reason why files are not used; documents beside the data are only told."""
    documents, others = [], []
    for of in files:
        (documents if of.path.stem.lower() in DOCUMENTS else others).append(of)
    mend = "Move, convert or remove them."
    return [
        *(
            Finding(f"file(s) are not used: {reason}", mend, list(map(name, paths)))
            for reason, paths in listing.by_reason(others).items()
        ),
        Finding("document(s) are not used", "Nothing has to be done.", [name(of.path) for of in documents], note=True),
    ]
