"""Findings about a folder of videos."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mocca_jax.data import clips, decoder, films, video_layout
from mocca_jax.data.findings import Finding, unused
from mocca_jax.data.findings.pictures import ASPECT
from mocca_jax.data.listing import printable
from mocca_jax.data.video_layout import Found, Videos
from mocca_jax.errors import UserError
from mocca_jax.files import digests


@dataclass(frozen=True)
class VideoLook:
    """A video that was looked at, every frame of it.

    Args:
        name: where it lies in the folder, as it can be printed.
        frames: how many can be read.
        sizes: rows and columns, and how many frames have them.
        faults: what cannot be read, and why.
        cut: of a film that ends before its header says, where.
        gaps: frames before which some are missing.
        labels: of the frames, None where there are none.
        label_fault: why the labels cannot be used; "" where they can.
        digest: of what it holds.
    """

    name: str
    frames: int
    sizes: Counter = field(default_factory=Counter)
    faults: Sequence[str] = ()
    cut: str = ""
    gaps: Sequence[str] = ()
    labels: np.ndarray | None = None
    label_fault: str = ""
    digest: str = ""


def look(folder: Path, video: Found) -> VideoLook:
    """Decodes a video of this folder."""
    is_film = isinstance(video.source, Path)
    name = printable((video.source if is_film else video.source[0].parent).relative_to(folder).as_posix())
    sizes, faults = _film(video.source, folder) if is_film else _frames(video.source, folder)
    count = sizes.total()
    said = films.promised(video.source) if is_film and not faults else 0
    labels, label_fault = None, ""
    if video.labels and not faults:
        try:
            labels = video.labels(count)
        except UserError as error:
            label_fault = _said(error, folder)
    return VideoLook(
        name,
        count,
        sizes,
        faults,
        f"{name} ends after {count} of {said} frames" if count < said else "",
        [] if is_film else [f"{name}: before {printable(path.name)}" for path in video_layout.gaps(video.source)],
        labels,
        label_fault,
        digests.of_file(video.source) if is_film else digests.of_values(digests.of_files(video.source)),
    )


def _film(path: Path, folder: Path) -> tuple[Counter, list[str]]:
    try:
        return Counter((picture.height, picture.width) for picture in films.frames(path)), []
    except UserError as error:
        return Counter(), [_said(error, folder)]


def _said(error: UserError, folder: Path) -> str:
    """With names as they are in the folder."""
    return printable(str(error)).replace(f"{printable(folder)}/", "")


def _frames(paths: Sequence[Path], folder: Path) -> tuple[Counter, list[str]]:
    sizes, faults = Counter(), []
    for path in paths:
        try:
            picture = decoder.picture(path)
        except UserError as error:
            faults.append(f"{printable(path.relative_to(folder).as_posix())}: {error}")
        else:
            sizes[picture.height, picture.width] += 1
    return sizes, faults


def find(
    found: Videos, folder: Path, train: Sequence[VideoLook], test: Sequence[VideoLook], clip: int
) -> list[Finding]:
    """The findings.

    Args:
        found: the videos of this folder.
        folder: where they lie.
        train, test: how they look.
        clip: frames of a clip.
    """
    every = [*train, *test]
    mixed = [f"{of.name}: {_sizes(of.sizes)}" for of in every if len(of.sizes) > 1]
    short = [f"{of.name}: {of.frames} frames" for of in every if of.frames < clip and not of.faults]
    return [
        Finding(
            "video(s) or frame(s) cannot be read",
            "Restore them, or remove the video.",
            [fault for of in every for fault in of.faults],
        ),
        Finding(
            "film(s) end before their header says",
            "Copy them anew if they are cut off; otherwise they are read as far as they go.",
            [of.cut for of in every if of.cut],
        ),
        *unused(found.unused, lambda path: printable(path.relative_to(folder).as_posix())),
        *_number(train, clip),
        Finding(
            f"video(s) are shorter than a clip of {clip} frames",
            "Remove them, or train with a smaller clip_length.",
            short,
        ),
        Finding("video(s) have frames of several sizes", "Bring all frames of a video to the same size.", mixed),
        _shapes(every),
        Finding(
            "place(s) where frames are missing, by their numbers",
            "Restore them, or cut the video in two there: it jumps.",
            [gap for of in every for gap in of.gaps],
        ),
        *_copies(train, test),
        *_labels(test),
    ]


def _number(train: Sequence[VideoLook], clip: int) -> list[Finding]:
    least = clips.LEAST_PARTS * clip
    lone = [of.name for of in train if len(train) == 1]
    names = [f"{name}: {train[0].frames} frames" for name in lone]
    enough = bool(lone) and train[0].frames >= least
    return [
        Finding("training set is empty", "Add normal videos to train on.", [] if train else ["no video is in it"]),
        Finding(
            "training video is alone",
            f"Add another: the threshold takes one that is not trained on, or {least} frames to cut an end off.",
            [] if enough else names,
        ),
        Finding(
            "training video is alone",
            "Its end is held out for the threshold; another video would say more about another day.",
            names if enough else [],
            note=True,
        ),
    ]


def _shapes(every: Sequence[VideoLook]) -> Finding:
    sides = {of.name: of.sizes.most_common(1)[0][0] for of in every if of.sizes}
    ratios = {name: columns / rows for name, (rows, columns) in sides.items()}
    usual = float(np.median(list(ratios.values()))) if ratios else 1.0
    other = [name for name, ratio in ratios.items() if max(ratio / usual, usual / ratio) > ASPECT]
    return Finding(
        "video(s) are of another shape than most",
        "All become frames of the same size: cut them alike.",
        [f"{name}: {sides[name][1]}x{sides[name][0]}" for name in other],
        note=True,
    )


def _copies(train: Sequence[VideoLook], test: Sequence[VideoLook]) -> list[Finding]:
    def by_content(videos: Sequence[VideoLook]) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for of in videos:
            if of.frames:
                names.setdefault(of.digest, []).append(of.name)
        return names

    fit, tried = by_content(train), by_content(test)
    twice = [" = ".join(names) for names in (*fit.values(), *tried.values()) if len(names) > 1]
    leaked = [f"{name} = {fit[digest][0]}" for digest, names in tried.items() if digest in fit for name in names]
    return [
        Finding("video(s) are there more than once", "Leave one of each.", twice),
        Finding("test video(s) are also in training", "Remove one of each pair: the test would flatter.", leaked),
    ]


def _labels(test: Sequence[VideoLook]) -> list[Finding]:
    known = [of.labels for of in test if of.labels is not None]
    values = set(np.concatenate(known).tolist()) if known else set()
    faults = [of.label_fault for of in test if of.label_fault]
    none = [of.name for of in test if of.labels is None and not of.label_fault and not of.faults]
    all_alike = [of.name for of in test if of.labels is not None] if len(values) == 1 else []
    has_some = bool(known or faults)
    return [
        Finding("test video(s) whose labels cannot be used", "One 0 or 1 for each frame, see above.", faults),
        Finding(
            "test video(s) without labels, beside others with labels",
            "Add their labels, or remove all.",
            none if has_some else [],
        ),
        Finding(
            "test video(s), and labels for none of them",
            "There will be no AUC; frames get scores all the same.",
            [] if has_some else none,
            note=True,
        ),
        Finding(
            "labeled test video(s), and no normal frame in them",
            "Without normal frames there is no AUC.",
            all_alike if 1 in values else [],
        ),
        Finding(
            "labeled test video(s), and no anomalous frame in them",
            "Without anomalous frames there is no AUC.",
            [] if 1 in values else all_alike,
            note=True,
        ),
    ]


def _sizes(sizes: Counter) -> str:
    return ", ".join(f"{columns}x{rows} ({count})" for (rows, columns), count in sizes.most_common())
