"""What a command line names to be scored: pictures, folders, films, patterns; and what of it is not looked at."""

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path

from mocca_jax.data import decoder, films, listing, video_layout
from mocca_jax.data.listing import Unused
from mocca_jax.errors import UserError
from mocca_jax.files import digests


@dataclass(frozen=True)
class Source:
    """A picture, or what has several frames: a film, a folder of frames, an image file of several pages."""

    path: Path
    has_frames: bool

    def digest(self) -> str:
        """What it is known by, whatever its name: the SHA-256 of its content."""
        if not self.path.is_dir():
            return digests.of_file(self.path)
        return digests.of_values(digests.of_files(listing.frames_in(self.path)))


@dataclass(frozen=True)
class Sources:
    """What to score, each once, in the order given; and the files of folders that are not."""

    wanted: list[Source]
    unused: list[Unused] = field(default_factory=list)


def find(inputs: list[str], clips: bool, output: Path | None = None) -> Sources:
    """What to score.

    Args:
        inputs: pictures, folders, films, or patterns such as `in/**/*.png`.
        clips: the model looks at clips: folders hold films or folders of frames, or are frames themselves. Otherwise
            folders are searched for pictures and films, with all folders in them.
        output: a folder that is written to: nothing in it is input.

    Raises:
        UserError: an input names nothing that can be scored.
    """
    found: dict[Path, Source] = {}
    unused: dict[Path, Unused] = {}
    for text in inputs:
        paths = [Path(text)] if os.path.exists(text) else sorted(map(Path, glob.glob(text, recursive=True)))
        paths = [
            path for path in paths if not (output and output.resolve() in (path.resolve(), *path.resolve().parents))
        ]
        if not paths:
            raise UserError(f"--input={text} matches nothing. Patterns stand in quotes.")
        parts = [_videos(path) if clips else _pictures(path, output) for path in paths]
        for part in parts:
            found |= {source.path: source for source in part.wanted}
            unused |= {of.path: of for of in part.unused}
        if not any(part.wanted for part in parts):
            wanted = "films or folders of frames, which a run on videos takes" if clips else "pictures"
            told = listing.told(of for part in parts for of in part.unused)
            raise UserError(f"--input={text} holds no {wanted}" + (f":\n{told}" if told else ""))
    return Sources(list(found.values()), [of for path, of in unused.items() if path not in found])


def _pictures(path: Path, output: Path | None) -> Sources:
    if not path.is_dir():
        return Sources([_source(path)])
    listed = listing.under(path, output)
    return Sources([_source(file) for file in sorted([*listed.pictures, *listed.films])], listed.unused)


def _source(path: Path) -> Source:
    return Source(path, _has_frames(path))


def _has_frames(path: Path) -> bool:
    return films.is_film(path) or decoder.pages(path) > 1


def _videos(path: Path) -> Sources:
    if not path.is_dir():
        one = Unused(path, "one picture, no video")
        return Sources([Source(path, True)]) if _has_frames(path) else Sources([], [one])
    videos, unused = video_layout.videos_in(path)
    sources = [v.source if isinstance(v.source, Path) else v.source[0].parent for v in videos]
    frames = listing.frames_in(path)
    sources = [path, *sources] if frames else sources
    return Sources([Source(video, True) for video in sources], [of for of in unused if of.path not in set(frames)])
