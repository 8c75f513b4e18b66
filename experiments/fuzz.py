"""Command: damaged and malicious files for every reader of outside data.

python -m experiments.fuzz [--inputs=2000] [--only=picture,mask] [--kept=fuzz_failures]

Each target makes a valid file or folder, changes one file of it (bits, lengths, pieces, or the whole content to
something nasty of its kind) and reads it as the program would. An input is accepted or refused with the reader's clear
error; anything else is a fault, as is an input that takes longer than `SECONDS`, or a file that appears outside the
folder. Faults end the command; hypothesis shrinks them first, and the smallest is kept. Adds a row of each target to
experiments/results/fuzz.jsonl.
"""

import argparse
import io
import json
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from experiments import rows
from experiments.fuzz_targets import TARGETS, Target
from experiments.markdown import header, line
from experiments.sweep import RESULTS

SECONDS = 20  # that one input may take
TRAP = Path(tempfile.gettempdir()) / "mocca-fuzz-trap"  # what a file that is executed would make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000, help="for each target")
    parser.add_argument("--only", default="", help="names of targets, with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=RESULTS / "fuzz.jsonl")
    parser.add_argument("--kept", type=Path, default=Path("fuzz_failures"))
    options = parser.parse_args()
    for name in options.only.split(",") if options.only else TARGETS:
        if name not in TARGETS:
            sys.exit(f"error: no target {name!r}; known: {', '.join(TARGETS)}")
        row = fuzz(name, TARGETS[name], options.inputs, options.seed, options.kept)
        row |= {"config_hash": f"{name}, {options.inputs} inputs, seed {options.seed}"}
        rows.append(options.rows, row)
        print(json.dumps(row), flush=True)


@dataclass(frozen=True)
class Input:
    """What becomes of a file: its content, or a change of the valid one."""

    file: int
    kind: str
    at: float
    length: int
    content: bytes

    def of(self, valid: bytes) -> bytes:
        start = int(self.at * len(valid))
        if self.kind == "whole":
            return self.content
        if self.kind == "cut":
            return valid[:start]
        if self.kind == "insert":
            return valid[:start] + self.content + valid[start:]
        if self.kind == "drop":
            return valid[:start] + valid[start + self.length :]
        if self.kind == "repeat":
            return valid[: start + self.length] + valid[start:]
        return valid[:start] + self.content + valid[start + len(self.content) :]


def inputs() -> st.SearchStrategy[Input]:
    """Changes of files; half of them write a few bytes over others, which damages headers and fields."""
    small = st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\x00" * 8, b"\x7f\xff\xff\xff", b"../"])
    kinds = st.sampled_from(["over", "over", "over", "cut", "insert", "drop", "repeat"])
    places = st.floats(0, 1) | st.floats(0, 0.05)
    changed = st.builds(Input, st.integers(0, 99), kinds, places, st.integers(1, 5000), small)
    whole = st.builds(Input, st.integers(0, 99), st.just("whole"), st.just(0.0), st.just(0), contents())
    return st.one_of(changed, changed, changed, whole)


def contents() -> st.SearchStrategy[bytes]:
    """Whole files: empty, noise, JSON of any form, and those made to do harm."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    texts = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    )
    return st.one_of(
        st.binary(max_size=200), texts.map(lambda value: json.dumps(value).encode()), st.sampled_from(HARMFUL)
    )


class _Trap:
    """An object whose unpickling makes a file."""

    def __reduce__(self):
        return TRAP.write_text, ("executed",)


def _harmful() -> list[bytes]:
    """A few files, each meant for one reader; every reader gets them all."""
    objects = io.BytesIO()
    np.save(objects, np.array([_Trap()], object), allow_pickle=True)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("manifest.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (200_000_000,)})
        for _ in range(200):
            member.write(bytes(1_000_000))
    escaping = io.BytesIO()
    with zipfile.ZipFile(escaping, "w") as archive:
        archive.writestr("../../mocca-fuzz-trap", "escaped")
        archive.writestr("/tmp/mocca-fuzz-trap", "escaped")
    promises = io.BytesIO()
    np.lib.format.write_array_header_1_0(promises, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    return [
        b"",
        pickle.dumps(_Trap()),
        objects.getvalue(),
        bomb.getvalue(),
        escaping.getvalue(),
        promises.getvalue(),
        _huge_png(),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/mocca-fuzz-trap) (w) file closefile\n",
        b'{"a": ' * 100_000,
        b"[" * 200_000,
        b'{"bytes": -1, "score": NaN, "epochs": 1e999}',
        b"\xff\xfe\x00" * 100,
    ]


def _huge_png() -> bytes:
    """A PNG of 100,000 x 100,000 pixels in a hundred bytes."""
    picture = io.BytesIO()
    Image.new("L", (1, 1)).save(picture, "PNG")
    valid = picture.getvalue()
    head = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return valid[:12] + head + struct.pack(">I", zlib.crc32(head)) + valid[33:]


HARMFUL = _harmful()


class _TooSlow(BaseException):
    pass


def fuzz(name: str, target: Target, count: int, start: int, kept: Path) -> dict[str, Any]:
    """Reads `count` changed files; returns what became of them.

    Raises:
        Exception: the fault that the smallest input found leads to; the input is in `kept`.
    """
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    TRAP.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "outer" / name.replace(" ", "_")
        root.mkdir(parents=True)
        target.make(root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        valid = {path: path.read_bytes() for path in files}
        target.read(root)  # what is valid must be accepted
        memory = _peak_megabytes()

        def once(changed: Input) -> None:
            nonlocal slowest
            path = files[changed.file % len(files)]
            path.write_bytes(changed.of(valid[path]))
            began = time.monotonic()
            try:
                outcomes[_outcome(target, root)] += 1
            except BaseException:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept / f"{name.replace(' ', '_')}-{path.name}")
                raise
            finally:
                slowest = max(slowest, time.monotonic() - began)
                _restore(root, valid)
            if TRAP.exists() or len(list(root.parent.iterdir())) > 1:
                raise AssertionError(f"{name}: a file outside the folder was made")

        quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "print_blob": False}
        seed(start)(settings(max_examples=count, **quiet)(given(inputs())(once)))()
    return {
        "target": name,
        "inputs": sum(outcomes.values()),
        **outcomes,
        "slowest_seconds": round(slowest, 2),
        "memory_megabytes": round(_peak_megabytes() - memory),
    }


def _restore(root: Path, valid: dict[Path, bytes]) -> None:
    """The folder as it was: valid files back, others away."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file() and path not in valid:
            path.unlink()
    for path, content in valid.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _outcome(target: Target, root: Path) -> str:
    def late(signum, frame):
        raise _TooSlow(f"no answer within {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        target.read(root)
        return "accepted"
    except target.refusal:
        return "refused"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(found: list[dict[str, Any]]) -> list[str]:
    """A line for each target."""
    lines = header(["reader of", "inputs", "accepted", "refused", "faults", "slowest, s", "memory grew by, MB"])
    for row in found:
        counts = [str(row.get(name, 0)) for name in ("inputs", "accepted", "refused")]
        slowest = f"{row['slowest_seconds']:.2f}"
        lines.append(line([row["target"], *counts, "0", slowest, str(row["memory_megabytes"])]))
    return lines


Reader = Callable[[Path], Any]

if __name__ == "__main__":
    main()
