"""Files that somebody else writes: when they are whole, for all who wait for files in a folder."""

import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seen:
    """Of a file: bytes, when it was written, in nanoseconds since 1970, and when it was first seen to be so."""

    size: int
    written: int
    since: float

    @property
    def stamp(self) -> tuple[int, int]:
        """What tells that it was written to again."""
        return self.size, self.written


def seen(path: Path, now: float) -> Seen | None:
    """A file at this time (`time.monotonic`); None where it is no regular file, or not any more."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return Seen(facts.st_size, facts.st_mtime_ns, now) if stat.S_ISREG(facts.st_mode) else None


class Standing:
    """The files that are waited for, from one look into their folder to the next.

    A file may be read when its size and time are the same at two looks. Where it cannot be decoded it may still be
    written, until it has been so for some seconds: `is_given_up`.

    Args:
        settles: seconds.
    """

    def __init__(self, settles: float):
        self._settles = settles
        self._seen: dict[str, Seen] = {}
        self._still: set[str] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def __getitem__(self, name: str) -> Seen:
        return self._seen[name]

    def look(self, found: dict[str, Seen]) -> None:
        """Takes what is waited for now."""
        earlier, self._seen = self._seen, {}
        for name, now in found.items():
            before = earlier.get(name)
            self._seen[name] = before if before and before.stamp == now.stamp else now
        self._still = {name for name, of in self._seen.items() if of is earlier.get(name)}

    def is_still(self, name: str) -> bool:
        """Whether it was the same at the last look and the one before."""
        return name in self._still

    def is_given_up(self, name: str, now: float) -> bool:
        """Whether a file that cannot be decoded is as it will be."""
        return now - self._seen[name].since >= self._settles

    def is_unchanged(self, name: str, path: Path) -> bool:
        """Whether the file at `path` is still as it was at the last look: what was read of it is whole."""
        now = seen(path, 0.0)
        return now is not None and now.stamp == self._seen[name].stamp

    def drop(self, name: str) -> None:
        """It is not waited for any more."""
        self._seen.pop(name, None)
