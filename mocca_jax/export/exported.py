"""Runs an exported file with jax and numpy alone: no flax, nothing else of this project.

    python exported.py model.mocca pictures.npy answers.npz

pictures.npy: uint8, of the shape that the file's manifest names; answers.npz: one array per answer.
"""

import hashlib
import io
import json
import sys
import zipfile

import numpy as np
from jax import export


def load(path):
    """A function from pictures to answers, and the manifest; a program: run only what you trust.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if any(part.compress_type for part in file.infolist()):
                raise ValueError("compressed parts; this kind of file has none")
            manifest = json.loads(file.read("manifest.json"))
            parts = {name: file.read(name) for name in manifest["sha256"]}
        for name, content in parts.items():
            if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
                raise ValueError(f"{name} is damaged")
        program = export.deserialize(bytearray(parts["program.stablehlo"]))
        with np.load(io.BytesIO(parts["weights.npz"]), allow_pickle=False) as held:
            weights = [held[name] for name in sorted(held.files)]
    except Exception as error:
        raise ValueError(f"{path}: {error or type(error).__name__}") from error
    return (lambda pictures: program.call(weights, pictures)), manifest


if __name__ == "__main__":
    model, _ = load(sys.argv[1])
    np.savez(sys.argv[3], **{name: np.asarray(answer) for name, answer in model(np.load(sys.argv[2])).items()})
