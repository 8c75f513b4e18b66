"""Pictures or videos -> scores, by a trained model: the part of a detector that computes.

Batches are padded to powers of two, so that few sizes are ever compiled. Nothing is kept between calls.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from mocca_jax.config import setting
from mocca_jax.data import batching, clips, flow, footage, incoming, views
from mocca_jax.data.inputs import Inputs, mirrored
from mocca_jax.errors import UserError
from mocca_jax.method.timeline import Timeline
from mocca_jax.scoring import evaluate, placed, shared, streaming, tiled
from mocca_jax.training import parallel, stages
from mocca_jax.training.step import TrainState

FEW = 16  # pictures that may be taken one by one
DECODERS = 4  # threads that decode and resize pictures
LOOKED_AT = 64  # frames of a video, before it is compared with the training videos
NOISIER, LEAST_NOISE = 2.5, 0.02  # times, and pixels a frame, from which a video is called noisier


class Scorer:
    """See `detector.Detector` for the arguments."""

    def __init__(self, config, inputs: Inputs, aggregate: str, state: TrainState, scale: evaluate.Scale):
        self.config, self.inputs, self.aggregate, self.scale = config, inputs, aggregate, scale
        self.stage = stages.last(config)
        self.model = evaluate.built(config, inputs.shape)
        every, self._one = parallel.own_mesh(), parallel.own_mesh(1)
        self.mesh = parallel.sharing(every) if placed.is_used(config) else every
        self._held = jax.device_get(state.replace(opt_state=()))
        program = self.model, self.stage, inputs.preprocess, config
        self._program = evaluate.make_program(*program)
        self._compiled: set[int] = shared.program(set, "batches", *program)  # sizes, of all that share the program
        self.judge = tiled.Judge(self.model, inputs, config, self.mesh) if tiled.is_used(config) else None
        self._movement_map = evaluate.make_movement_map(self.model, scale) if inputs.of_movement else None

    @functools.cached_property
    def state(self) -> TrainState:
        """On all devices, from when it is needed on."""
        return parallel.replicate(self._held, self.mesh)

    @functools.cached_property
    def _state_of_one(self) -> TrainState:
        return self.state if self.mesh.size == 1 else parallel.replicate(self._held, self._one)

    def scores(self, pictures: Any) -> evaluate.Scores:
        """Of pictures, or of the frames of one video; see `detector.Detector.score`."""
        if self.inputs.of_movement:
            found = list(self.running(footage.of(pictures, self.inputs.depth)))
            if not found:
                raise UserError("a video without frames")
            return evaluate.one_after_another([known.scores for known in found])
        if self.inputs.clip_length:
            return self._frame_scores(incoming.frames(pictures))
        return self.of_views([picture.pixels for picture in chunk] for chunk in self.prepared(pictures))

    def of_views(self, chunks: Iterable[list[np.ndarray]], maps: bool = False) -> evaluate.Scores:
        """Of pictures that `view` made, some at a time; with the coarse `maps` that scores are made of, if they are."""
        if self.judge:
            found = tiled.of_pictures(self.judge, self.state, (raw for chunk in chunks for raw in chunk))
            if found is None:
                raise UserError("no pictures were given")
            return found
        units, counts, drawn = [], [], []
        for chunk in chunks:
            cut = [self.units_of(raw) for raw in chunk]
            counts += [len(part) for part in cut]
            if maps and placed.is_used(self.config):
                found, of_chunk = self._in_batches(np.concatenate(cut), lambda judged: (judged.scores, judged.map))
                drawn.append(of_chunk)
            else:
                found = self.score_units(np.concatenate(cut))
            units.append(found)
        if not units:
            raise UserError("no pictures were given")
        parts = evaluate.joined(units)
        of = evaluate.of_samples(parts, self.aggregate, np.repeat(np.arange(len(counts)), counts), self.config)
        return replace(of, maps=np.concatenate(drawn)) if drawn else of

    def judged(self, raw: np.ndarray) -> placed.Judged:
        """All that is known of pictures `[N, ...]`, where they are scored by statistics of places.

        A few are taken one by one where the program for one is there, and that for many would have to be compiled.
        """
        many = self._padded(len(raw))
        one_by_one = len(raw) <= FEW and 1 in self._compiled and many not in self._compiled
        return self._in_batches(raw, lambda found: found, 1 if one_by_one else None)

    def _frame_scores(self, frames: Iterator) -> evaluate.Scores:
        """Of every frame of one video; no more of it is held than a batch of clips needs."""
        length = self.inputs.clip_length
        raws = map(self.inputs.prepare, frames)
        raws = flow.of_frames(raws) if self.inputs.of_flow else raws
        running = clips.of_running(raws, length, setting(self.config, "score_stride"))
        starts, units = [], []
        while batch := list(islice(running, self.config.batch_size)):
            starts += [start for start, _ in batch]
            units.append(self.score_units(np.stack([clip for _, clip in batch])))
        video, total = np.zeros(len(starts), np.int64), np.array([starts[-1] + length])
        timeline = Timeline(["video"], total, video, np.array(starts), length)
        found = evaluate.of_samples(evaluate.joined(units), self.aggregate, timeline, self.config)
        return evaluate.standardized(found, self.scale) if self.scale else found

    def running(self, frames: Iterable[footage.Frame], live: bool = False) -> Iterator[streaming.Known]:
        """What is known of a video's frames by their movement, in order, as soon as it is.

        Args:
            frames: of a video; at one that begins anew, nothing is compared with those before.
            live: each frame is waited for: nothing is read ahead but a first frame's second.
        """
        at_once, size = (1 if live else self.config.batch_size), self.inputs.size
        stream = streaming.MovementScorer(self.score_units, self.scale)
        grey = ((flow.grey(frame.picture, size), frame.begins) for frame in frames)
        held: list[np.ndarray] = []

        seen: list[float] = []

        def pushed() -> Iterator[streaming.Known]:
            if held and len(seen) < LOOKED_AT:
                seen.extend(flow.unrest(cells[None]) for cells in held)
                if len(seen) >= LOOKED_AT:
                    self._warn_of_unrest(float(np.median(seen)))
            found = stream.push(np.stack(held)) if held else None
            held.clear()
            if found:
                yield found

        started = False
        for cells, begins in flow.cells(grey, 1 if live else flow.THREADS):
            if begins and started:
                yield from pushed()
                yield stream.end()
            started = True
            held.append(cells)
            if len(held) >= at_once:
                yield from pushed()
        yield from pushed()
        if started:
            yield stream.end()

    def _warn_of_unrest(self, found: float) -> None:
        usual = self.inputs.unrest
        if found > max(NOISIER * usual, usual + LEAST_NOISE):
            logging.warning(
                "what stands still in this video seems to move by %.2f pixels a frame, %.2f in the training videos: "
                "noise, stronger compression or a camera that shakes. Scores may be too high; train on such videos.",
                found,
                usual,
            )

    def movement_map(self, cells: np.ndarray) -> np.ndarray:
        """`[rows, columns]` of a frame's cells as `running` gives them: see `moving.maps`."""
        return np.asarray(self._movement_map(self._state_of_one, cells[None]))[0]

    @property
    def at_once(self) -> int:
        """How many pictures are held at the same time: large ones, which are looked at in tiles, one by one."""
        return 1 if self.judge else self.config.batch_size

    def prepared(self, pictures: Any) -> Iterator[list[incoming.Seen]]:
        """What the network sees of the pictures, a batch at a time."""
        given = incoming.each(pictures)
        with ThreadPoolExecutor(DECODERS) as pool:
            while chunk := list(islice(given, self.at_once)):
                fits = isinstance(chunk[0], np.ndarray) or len(chunk) == 1
                yield [self.see(picture) for picture in chunk] if fits else list(pool.map(self.see, chunk))

    def views(self, paths: list[Path]) -> tuple[dict[Path, incoming.Seen], dict[Path, str]]:
        """What the network sees of these files; and of those that cannot be read, why."""

        def one(path: Path) -> incoming.Seen | UserError:
            try:
                return self.see(path)
            except UserError as error:
                return error

        with ThreadPoolExecutor(DECODERS) as pool:
            made = dict(zip(paths, pool.map(one, paths), strict=True))
        failures = {path: str(error) for path, error in made.items() if isinstance(error, UserError)}
        return {path: view for path, view in made.items() if path not in failures}, failures

    def see(self, picture: Any) -> incoming.Seen:
        """What the network sees of a picture."""
        return incoming.see(picture, self.inputs)

    def units_of(self, raw: np.ndarray) -> np.ndarray:
        """Units `[U, ...]` of one picture that `view` made: itself, or the patches that cover it."""
        side = self.inputs.patch
        if not side:
            return raw[None]
        raw = mirrored(raw, np.maximum(raw.shape[:2], side))
        corners = views.patch_corners(np.array([raw.shape[:2]]), side, side)
        return views.Patches(raw[None], corners, side)[np.arange(len(corners))]

    def score_units(self, raw: np.ndarray) -> dict[str, np.ndarray]:
        """`evaluate.unit_scores` of raw units `[U, ...]`, at most a batch of the config at once."""
        return self._in_batches(raw, evaluate.scores_in)

    def _in_batches(self, raw: np.ndarray, picked: Callable[[Any], Any], size: int | None = None) -> Any:
        """What is `picked` of what the program gives of raw units `[U, ...]`, at most `size`, or a batch, at once."""
        found, size = [], size or self.config.batch_size
        for start in range(0, len(raw), size):
            part = raw[start : start + size]
            # A single unit, padded to one for each device, would only make the others compute for nothing.
            mesh, state = (self._one, self._state_of_one) if len(part) == 1 else (self.mesh, self.state)
            padded = self._padded(len(part))
            on_devices = parallel.shard((batching.filled(part, padded), batching.mask(len(part), padded)), mesh)
            values = jax.device_get(picked(self._program(state, *on_devices)))
            found.append(jax.tree.map(lambda of, part=part: of[: len(part)], values))
            self._compiled.add(padded)
        return jax.tree.map(lambda *of: np.concatenate(of), *found)

    def _padded(self, count: int) -> int:
        """The batch that so many units are padded to."""
        return 1 if count == 1 else parallel.bucket(count, self.config.batch_size, self.mesh)
