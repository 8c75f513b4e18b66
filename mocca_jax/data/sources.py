"""What a command line names to be scored: pictures, folders, films, patterns."""

import glob
from dataclasses import dataclass
from pathlib import Path

from mocca_jax.data import films, layout, video_layout
from mocca_jax.errors import UserError


@dataclass(frozen=True)
class Source:
    """A picture, or a video: a film or a folder of frames."""

    path: Path
    is_video: bool


def find(inputs: list[str], clips: bool) -> list[Source]:
    """What to score, each once, in the order given.

    Args:
        inputs: pictures, folders, films, or patterns such as `in/**/*.png`.
        clips: the model looks at clips: folders hold films or folders of frames, or are frames themselves. Otherwise
            folders are searched for pictures, with all folders in them.

    Raises:
        UserError: an input names nothing that can be scored.
    """
    found: dict[Path, Source] = {}
    for text in inputs:
        paths = [Path(text)] if Path(text).exists() else sorted(map(Path, glob.glob(text, recursive=True)))
        if not paths:
            raise UserError(f"--input={text} matches nothing. Patterns stand in quotes.")
        sources = [source for path in paths for source in (_videos(path) if clips else _pictures(path))]
        if not sources:
            wanted = "films or folders of frames, which a run on videos takes" if clips else "pictures"
            raise UserError(f"--input={text} holds no {wanted}")
        found |= {source.path: source for source in sources}
    return list(found.values())


def _pictures(path: Path) -> list[Source]:
    if not path.is_dir():
        return [Source(path, films.is_film(path))]
    folders = [path, *sorted(p for p in path.rglob("*") if p.is_dir() and not p.name.startswith("."))]
    return [Source(p, False) for folder in folders for p in layout.image_files(folder)]


def _videos(path: Path) -> list[Source]:
    if not path.is_dir():
        return [Source(path, True)] if films.is_film(path) else []
    videos = [v.source if isinstance(v.source, Path) else v.source[0].parent for v in video_layout.videos_in(path)]
    if videos:
        return [Source(video, True) for video in videos]
    return [Source(path, True)] if layout.image_files(path) else []
