"""A detector's score as an ONNX file: converted by jax2onnx, run by onnxruntime; the README says how to install them.

The file takes `pictures`, uint8 `[B, rows, columns, channels]`, and gives `score [B]`. Decisions and maps are not in
it: compare the score with the threshold in the run's result.json, or take the StableHLO file.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.export import program


def libraries() -> tuple[Any, Any, Any]:
    """jax2onnx, onnx, onnxruntime.

    Raises:
        UserError: they are not installed.
    """
    try:
        import jax2onnx
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{error}. An ONNX file takes `pip install onnx onnx-ir onnxscript onnxruntime` and `pip install --no-deps "
            "jax2onnx`"
        ) from error
    return jax2onnx, onnx, onnxruntime


def write(detector, path: Path, shape: tuple[int, ...]) -> None:
    """The file, unchecked. The detector has to be built of readable formulations, which the converter knows.

    Raises:
        UserError: the converter cannot do it.
    """
    jax2onnx, onnx, _ = libraries()
    function, weights = program.make(detector)
    # The converter takes constants of 64 bits for what they are; numbers here are of 32.
    weights = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype.kind == "f" else a, weights)
    try:
        model = jax2onnx.to_onnx(
            lambda raw: function(weights, raw)["score"],
            [jax.ShapeDtypeStruct(("batch", *shape), np.uint8)],
            model_name="mocca",
            input_names=["pictures"],
            output_names=["score"],
        )
    except (NotImplementedError, TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"jax2onnx cannot convert this network ({type(error).__name__}: {error}); export to "
            "StableHLO, with an output that does not end in .onnx"
        ) from error
    onnx.save(model, path)


def scores(path: Path, pictures: np.ndarray) -> np.ndarray:
    """The file's answers, by onnxruntime on the CPU."""
    _, _, onnxruntime = libraries()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["score"], {"pictures": pictures})[0]
