"""Findings about a folder of videos."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mocca_jax.data import cameras, decoder, footage, movement, video_layout
from mocca_jax.data.findings import Finding, order, unused
from mocca_jax.data.listing import printable
from mocca_jax.data.spread import Spread
from mocca_jax.data.video_layout import Found, Videos
from mocca_jax.errors import UserError
from mocca_jax.files import digests

SAMPLED = 64, 64  # columns and rows of pixels whose color is looked at
TINT = 8  # by which red, green and blue differ where a pixel has a color; lossy grey has less
PLAIN = 16  # grey levels: a frame with less difference, such as a black one, is neither grey nor colored


@dataclass(frozen=True)
class VideoLook:
    """A video that was looked at, every frame of it.

    Args:
        name: where it lies in the folder, as it can be printed.
        frames: how many can be read.
        sizes: rows and columns, and how many frames have them.
        faults: what cannot be read, and why.
        header: how a film differs from its header.
        gaps: frames before which some are missing.
        order: why frames are not in the order of time; "" where they are.
        grey: how many frames have no color.
        colored: how many have some.
        scene: what the camera sees; None where no frame can be read.
        labels: of the frames, None where there are none.
        label_fault: why the labels cannot be used; "" where they can.
        digest: of what it holds.
    """

    name: str
    frames: int
    sizes: Counter = field(default_factory=Counter)
    faults: Sequence[str] = ()
    header: Sequence[str] = ()
    gaps: Sequence[str] = ()
    order: str = ""
    grey: int = 0
    colored: int = 0
    scene: cameras.Scene | None = None
    labels: np.ndarray | None = None
    label_fault: str = ""
    digest: str = ""


def look(folder: Path, video: Found) -> VideoLook:
    """Decodes a video of this folder."""
    is_film = isinstance(video.source, Path)
    name = printable((video.source if is_film else video.source[0].parent).relative_to(folder).as_posix())
    seen, odd, faults = _Seen(), [], []
    for path, frame in _film(video.source, odd) if is_film else _frames(video.source):
        if isinstance(frame, UserError):
            where = "" if is_film else f"{printable(path.relative_to(folder).as_posix())}: "
            faults.append(f"{where}{_said(frame, folder)}")
        else:
            seen.add(path, frame)
    labels, label_fault = None, ""
    if video.labels and not faults:
        try:
            labels = video.labels(seen.sizes.total())
        except UserError as error:
            label_fault = _said(error, folder)
    disorder = "" if is_film else order.fault(seen.paths, seen.looks)
    missing = [] if is_film or disorder else video_layout.gaps(video.source)
    return VideoLook(
        name,
        seen.sizes.total(),
        seen.sizes,
        faults,
        [f"{name} {of.text}" for of in odd if of.kind == "header"],
        [
            *(f"{name}: before {printable(path.name)}" for path in missing),
            *(f"{name} {of.text}" for of in odd if of.kind == "gap"),
        ],
        disorder,
        seen.colors[False],
        seen.colors[True],
        seen.scene(),
        labels,
        label_fault,
        digests.of_file(video.source) if is_film else digests.of_values(digests.of_files(video.source)),
    )


class _Seen:
    """What is kept of the frames of one video."""

    def __init__(self):
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.colors: Counter[bool] = Counter()
        self.paths: list[Path] = []
        self.looks: list[np.ndarray] = []
        self._spread: Spread[np.ndarray] = Spread(cameras.ENOUGH)

    def add(self, path: Path | None, picture: Image.Image) -> None:
        """A frame; `path`: of its own file, None where it has none."""
        self.sizes[picture.height, picture.width] += 1
        self._spread.add(cameras.reduced(picture))
        pixels = np.asarray(picture.resize(SAMPLED, Image.Resampling.NEAREST)).astype(int)
        if np.ptp(pixels.mean(2)) > PLAIN:
            self.colors[bool((np.ptp(pixels, axis=2) > TINT).any())] += 1
        if path is not None:
            self.paths.append(path)
            self.looks.append(order.looked_at(picture))

    def scene(self) -> cameras.Scene | None:
        """Of the camera."""
        return cameras.scene(self._spread.kept, self.sizes.most_common(1)[0][0]) if self.sizes else None


def _film(path: Path, odd: list[footage.Fault]) -> Iterator[tuple[None, Image.Image | UserError]]:
    try:
        for frame in footage.of(path, faults=odd):
            yield None, frame.picture
    except UserError as error:
        yield None, error


def _frames(paths: Sequence[Path]) -> Iterator[tuple[Path, Image.Image | UserError]]:
    for path in paths:
        try:
            yield path, decoder.picture(path)
        except UserError as error:
            yield path, error


def _said(error: UserError, folder: Path) -> str:
    """With names as they are in the folder."""
    return printable(str(error)).replace(f"{printable(folder)}/", "")


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
    mixed = [f"{of.name}: {footage.listed(of.sizes)}" for of in every if len(of.sizes) > 1]
    short = [f"{of.name}: {of.frames} frames" for of in every if of.frames < clip and not of.faults]
    return [
        Finding(
            "video(s) or frame(s) cannot be read",
            "Restore them, or remove the video.",
            [fault for of in every for fault in of.faults],
        ),
        Finding(
            "film(s) are not as long as their header says",
            "Copy them anew if they are cut off; otherwise they are read as far as they go.",
            [text for of in every for text in of.header],
        ),
        *unused(found.unused, lambda path: printable(path.relative_to(folder).as_posix())),
        *_number(train),
        Finding(
            f"video(s) are shorter than a clip of {clip} frames",
            "Remove them, or train with a smaller clip_length.",
            short,
        ),
        Finding("video(s) have frames of several sizes", "Bring all frames of a video to the same size.", mixed),
        _cameras(every),
        _colors(every),
        Finding(
            "video(s) whose frames are not in the order of time",
            "Name the frames so that their names sort into it.",
            [f"{of.name}: {of.order}" for of in every if of.order],
        ),
        Finding(
            "place(s) where frames are missing, by their numbers or times",
            "Restore them, or cut the video in two there: it jumps.",
            [gap for of in every for gap in of.gaps],
        ),
        *_copies(train, test),
        *_labels(test),
    ]


def _number(train: Sequence[VideoLook]) -> list[Finding]:
    least = movement.PARTS * movement.LEAST
    lone = [of.name for of in train if len(train) == 1]
    names = [f"{name}: {train[0].frames} frames" for name in lone]
    enough = bool(lone) and train[0].frames >= least
    return [
        Finding("training set is empty", "Add normal videos to train on.", [] if train else ["no video is in it"]),
        Finding(
            "training video is alone",
            f"Add another: alone it takes {least} frames, to be cut into parts that are compared with each other.",
            [] if enough else names,
        ),
        Finding(
            "training video is alone",
            "It is cut into parts that are compared with each other; other videos would say more about other days.",
            names if enough else [],
            note=True,
        ),
    ]


def _cameras(every: Sequence[VideoLook]) -> Finding:
    scenes = {of.name: of.scene for of in every if of.scene}
    groups = cameras.grouped(scenes)
    most = scenes[groups[0][0]].size if groups else (0, 0)
    names = []
    for name in (name for group in groups[1:] for name in group):
        rows, columns = scenes[name].size
        is_other_size = scenes[name].size != most
        names.append(f"{name}: {f'{columns}x{rows}, others {most[1]}x{most[0]}' if is_other_size else 'another scene'}")
    return Finding(
        "video(s) are not from the same camera as most",
        "Make a folder, and a detector, for each camera.",
        names,
    )


def _colors(every: Sequence[VideoLook]) -> Finding:
    return Finding(
        "video(s) have frames with color and without",
        "All are used as they are; a camera that turns grey at night shows another scene then.",
        [f"{of.name}: {of.grey} grey, {of.colored} in color" for of in every if of.grey and of.colored],
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
