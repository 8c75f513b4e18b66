"""A finished run as one file that runs with `jax` alone.

The file is a zip of manifest.json, program.stablehlo (for CPU, CUDA and TPU, any batch size) and weights.npz. The
program takes pictures as uint8 and holds everything after decoding and resizing: scaling, network, distances, score,
p-value, decision, threshold and anomaly map; the network in the form that each platform would run, where these differ.
`mocca_jax/export/exported.py` runs it in thirty lines and can be copied.

Where the output ends in .onnx it is an ONNX file with the score alone, see `onnx_export.py`.

Before the file is kept, a new process that imports only jax and numpy loads it, and its answers to batches of 1, 7
and 64 pictures are compared with the detector's; a file that differs is not left behind.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax import export as jax_export

import mocca_jax
from mocca_jax import console, models
from mocca_jax.config import setting
from mocca_jax.data.inputs import TILES
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.export import onnx as onnx_export
from mocca_jax.export import program

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
MANIFEST, PROGRAM, WEIGHTS = "manifest.json", "program.stablehlo", "weights.npz"
BATCHES = (1, 7, 64)
TOLERANCE = 1e-5  # relative to the largest answer of its kind


def export(run: Path, output: Path, by: str | None = None) -> float:
    """Writes the file; returns the largest relative difference from the detector.

    Raises:
        UserError: no finished run, the file exists, or its answers differ from the detector's.
    """
    if output.exists():
        raise UserError(f"{output} exists; name a new file, or remove it")
    to_onnx = output.suffix == ".onnx"
    detector = Detector.load(run, by, formulation="plain" if to_onnx else None)
    picture_shape(detector)  # raises where no program can hold it
    if detector.samples is None:
        raise UserError(f"{run} keeps no samples to compare on: give the training command again")
    draft = output.with_name(f".{output.name}.draft")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if to_onnx:
            onnx_export.write(detector, draft, picture_shape(detector))
        else:
            write(detector, draft)
        worst = check(detector, draft, answers_of_onnx if to_onnx else answers_of)
        os.replace(draft, output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return worst


def write(detector: Detector, path: Path) -> None:
    """The file, unchecked."""
    functions, weights = _on_each(detector, PLATFORMS)
    leaves, structure = jax.tree.flatten(weights)
    (batch,) = jax_export.symbolic_shape("batch")
    shape = picture_shape(detector)

    def of_leaves(leaves: list[jax.Array], raw: jax.Array) -> dict[str, jax.Array]:
        return jax.lax.platform_dependent(jax.tree.unflatten(structure, leaves), raw, **functions)

    arguments = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    pictures = jax.ShapeDtypeStruct((batch, *shape), np.uint8)
    logging.info("writing the program")
    exported = jax_export.export(jax.jit(of_leaves), platforms=PLATFORMS)(arguments, pictures)
    held = io.BytesIO()
    np.savez(held, **{f"{index:04d}": leaf for index, leaf in enumerate(leaves)})
    parts = {PROGRAM: exported.serialize(), WEIGHTS: held.getvalue()}
    manifest = _manifest(detector, shape, sorted(exported.out_tree.unflatten(exported.out_avals)))
    manifest["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(MANIFEST, json.dumps(manifest, indent=2, sort_keys=True))
        for name, content in parts.items():
            file.writestr(name, content)


def _on_each(detector: Detector, platforms: tuple[str, ...]) -> tuple[dict[str, program.Program], Any]:
    """The detector's program for each platform, and the weights, which are the same for all."""
    made: dict[str, tuple[program.Program, Any]] = {}
    wanted = {platform: models.formulation_for(detector.config.formulation, platform) for platform in platforms}
    for formulation in wanted.values():
        if formulation not in made:
            made[formulation] = program.make(_computed_as(detector, formulation))
    return {platform: made[of][0] for platform, of in wanted.items()}, made[wanted[platforms[0]]][1]


def _computed_as(detector: Detector, formulation: str) -> Detector:
    """The same detector with its network in this form."""
    config = detector.config.copy_and_resolve_references()
    config.formulation = formulation
    return Detector(replace(detector.content, config=config), detector.by, detector.alpha)


def picture_shape(detector: Detector) -> tuple[int, ...]:
    """What the program takes, without the batch axis: the pictures before patches are cut."""
    inputs = detector.inputs
    if inputs.of_flow:
        raise UserError(
            "this run looks at optical flow, which OpenCV computes: no exported program can hold it. Its detector.npz "
            "can be carried elsewhere; mocca predict and mocca watch take it."
        )
    if inputs.fit == TILES:
        raise UserError(
            "this run looks at pictures of any size in tiles: no exported program holds that. Its detector.npz can be "
            "carried elsewhere; mocca predict and mocca serve take it."
        )
    return inputs.shape if inputs.clip_length else (*inputs.size, inputs.channels)


def _manifest(detector: Detector, shape: tuple[int, ...], answers: list[str]) -> dict[str, Any]:
    clips = {"stride": setting(detector.config, "score_stride")} if detector.inputs.clip_length else {}
    return {
        "format": FORMAT,
        "mocca_jax": mocca_jax.__version__,
        "jax": jax.__version__,
        "trained_on": detector.description,
        "detector_sha256": detector.digest,
        "platforms": list(PLATFORMS),
        "input": {
            "shape": ["batch", *shape],
            "dtype": "uint8",
            "fit": "stretch" if detector.inputs.fit == "canvas" else detector.inputs.fit,
            "resampling": "Pillow's bilinear",
            **clips,
        },
        "answers": answers,
        "alpha": detector.alpha,
        "by": detector.by,
    }


def check(detector: Detector, path: Path, answers: Callable[[Path, np.ndarray], dict[str, np.ndarray]]) -> float:
    """The largest difference of the file's answers from the detector's, relative to the largest.

    Args:
        detector: what was exported.
        path: the file.
        answers: runs the file on pictures.

    Raises:
        UserError: it is above `TOLERANCE`, or the file cannot be run.
    """
    worst = 0.0
    for count in console.steps(BATCHES, "comparing answers", len(BATCHES), "batches"):
        pictures = _pictures(detector, count)
        worst = max(worst, *_differences(detector, pictures, answers(path, pictures)))
    if not worst <= TOLERANCE:
        raise UserError(f"the exported answers differ from the detector's by {worst:.2e}, relative: no file is kept")
    return worst


def answers_of(path: Path, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What the file says in a new process, which knows jax and numpy alone."""
    with tempfile.TemporaryDirectory(prefix="mocca-export-") as folder:
        raw, answers = Path(folder) / "raw.npy", Path(folder) / "answers.npz"
        np.save(raw, pictures)
        script = Path(__file__).with_name("exported.py")
        command = [sys.executable, *map(str, (script, path, raw, answers))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"the exported file does not run:\n{done.stderr[-2000:]}")
        with np.load(answers, allow_pickle=False) as found:
            return dict(found)


def answers_of_onnx(path: Path, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What onnxruntime says."""
    return {"score": onnx_export.scores(path, pictures)}


def _pictures(detector: Detector, count: int) -> np.ndarray:
    """The stored samples, and changed copies of them."""
    rng, shape = np.random.default_rng(count), picture_shape(detector)
    samples = detector.samples[:, : shape[0], : shape[1]]
    chosen = samples[np.arange(count) % len(samples)].astype(np.int16)
    noise = rng.integers(-40, 41, chosen.shape) * (np.arange(count) >= len(samples)).reshape(-1, *[1] * len(shape))
    return (chosen + noise).clip(0, 255).astype(np.uint8)


def _differences(detector: Detector, pictures: np.ndarray, answers: dict[str, np.ndarray]) -> list[float]:
    found = detector.scorer.score_units(pictures) if detector.inputs.clip_length else None
    wanted: dict[str, np.ndarray] = found if found is not None else {}
    if found is None:
        views = list(pictures)
        scores = detector.of_views([views])
        findings = detector.findings(scores)
        wanted = {"score": findings.score, **findings.layers}
        if findings.p_value is not None:
            wanted["p_value"] = detector.calibration.p_values(answers["score"])  # that of the file's own score
        if "map" in answers:
            wanted["map"] = np.stack(detector.maps_of(views))
    return [
        float(np.abs(answers[name] - of).max() / max(np.abs(of).max(), 1e-30))
        for name, of in wanted.items()
        if name in answers
    ]
