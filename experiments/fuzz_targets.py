"""What is fuzzed: for each reader a maker of valid files, the call, and the error that it may answer with."""

import io
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from experiments import pth_files
from mocca_jax import Detector, models, pipeline, torch_weights
from mocca_jax import config as configs
from mocca_jax.commands import check
from mocca_jax.commands.service import app as service
from mocca_jax.commands.service.limits import Limits
from mocca_jax.configs import folder as folder_config
from mocca_jax.configs import smoke
from mocca_jax.data import decoder, films, images, incoming, layout, listing, masks, sources, video_layout
from mocca_jax.errors import UserError
from mocca_jax.export import exported
from mocca_jax.files import whole
from mocca_jax.outputs import folders, predictions, results
from mocca_jax.report import page as report
from mocca_jax.training import log
from mocca_jax.training.checkpoint import Checkpoints
from mocca_jax.training.step import TrainState


@dataclass(frozen=True)
class Target:
    """`make` fills a folder with valid files, `read` reads it as the program does; `refusal` is its clear error."""

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    refusal: type[Exception] = UserError


def _noise(path: Path, mode: str = "RGB", size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def _pictures(root: Path) -> None:
    for name, mode in (("a.png", "RGB"), ("b.jpg", "RGB"), ("c.bmp", "L"), ("d.gif", "P"), ("e.tif", "RGB")):
        _noise(root / name, mode)
    _noise(root / "f.webp")


def _read_pictures(root: Path) -> None:
    for path in sorted(root.iterdir()):
        incoming.decoded(path)


def _image_folder(root: Path) -> None:
    for i in range(2):
        _noise(root / f"train/good/{i}.png")
    _noise(root / "train/good/2.jpg")
    _noise(root / "test/good/1.webp")
    _noise(root / "test/good/0.png")
    _noise(root / "test/hole/0.png")
    _noise(root / "ground_truth/hole/0_mask.png", "L")


def _read_image_folder(root: Path) -> None:
    """As training does: sizes, masks, pixels; and the check, which lists faults and never raises."""
    check.report(root)
    found = layout.scan(root)
    broken = [path for path in (*found.train, *found.test) if decoder.looked_at(path)[0].fault]
    if broken:
        raise UserError(images.broken_text(broken))
    sides = np.array([decoder.looked_at(path)[0].size for path in found.test])
    masks.check(found.masks, found.test, found.labels, sides, sides, "stretch")
    for mask in filter(None, found.masks):
        masks.reduced(masks.read(mask).marked, (20, 24), "stretch")


def _masks(root: Path) -> None:
    """One of every mode and encoding that masks come in."""
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I", "I;16", "F"):
        _noise(root / f"{mode.replace(';', '')}.tif", mode)
    for name, mode in (("a.png", "L"), ("b.png", "P"), ("c.png", "RGBA"), ("d.jpg", "L"), ("e.webp", "RGBA")):
        _noise(root / name, mode)
    Image.open(root / "b.png").save(root / "f.png", transparency=0)
    deep = np.random.default_rng(0).integers(0, 4096, (20, 24, 3), np.uint16)
    films.opencv().imwrite(str(root / "deep.png"), deep)


def _read_masks(root: Path) -> None:
    for path in sorted(root.iterdir()):
        found = masks.read(path)
        found.doubt()
        masks.reduced(found.marked, (7, 9), "stretch")
        decoder.looked_at(path)


def _names(root: Path) -> None:
    (root / "names").write_bytes("a.png\nb\nGood\n².png\n部品.png\n$x$.tif\n.c.png\nlot[1].png\n-d.mp4".encode())


def _read_names(root: Path) -> None:
    """Files and folders whose names are the lines of a file: listed, laid out, sorted, told, named anew."""
    names = {line.replace(b"/", b"_").replace(b"\0", b"_")[:255] for line in (root / "names").read_bytes().splitlines()}
    picture = io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "PNG")
    top = root / "parts"
    for name in sorted(names - {b"", b".", b".."})[:12]:
        for place in ("", "train", "train/good", "test"):
            (top / place).mkdir(parents=True, exist_ok=True)
            path = Path(os.fsdecode(os.fsencode(top / place) + b"/" + name))
            if not path.exists():
                path.write_bytes(picture.getvalue())
        folder = Path(os.fsdecode(os.fsencode(top / "test") + b"/" + name[:200] + b"_"))
        folder.mkdir(exist_ok=True)
        (folder / "0.png").write_bytes(picture.getvalue())
    if not top.exists():
        raise UserError("no names")
    listed = listing.under(top)
    made = {predictions.picture_name(path) for path in listed.pictures}
    shown = [listing.printable(path) for path in (*listed.pictures, *(of.path for of in listed.unused))]
    files = [path for path in top.rglob("*") if path.is_file() and not path.name.startswith("._")]
    if len(made) < len(listed.pictures) or not all(map(str.isprintable, shown)):
        raise AssertionError("two pictures of one name, or a name that cannot be shown")
    if len(listed.pictures) + len(listed.films) + len(listed.unused) < len(files):
        raise AssertionError("a file that is neither used nor named")
    sources.find([str(top)], clips=False)
    video_layout.find(top, "auto", False)
    layout.scan(top)


def _film(root: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    films.write(root / "a.avi", iter(frames), 5)


def _labels(root: Path) -> None:
    np.save(root / "01.npy", np.arange(20) % 2)


def _read_labels(root: Path) -> None:
    video_layout._array_labels(root / "01.npy")(20)


@cache
def _finished() -> Path:
    """A finished run, made once: it is copied."""
    folder = Path(tempfile.mkdtemp(prefix="mocca-fuzz-run-"))
    for i in range(24):
        _noise(folder / f"parts/train/good/{i}.png")
    config = folder_config.get_config("mocca")
    config.update(data_dir=str(folder / "parts"), resize=16, encoder="lenet", head="mean", layers=(1, 2), code_size=8)
    config.update(heldout_fraction=0.5, batch_size=8, maps=(), alpha=0.1)
    config.reconstruction.epochs = config.one_class.epochs = 1
    pipeline.run(config, folder / "run")
    return folder / "run"


def _run_files(*names: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name in names:
            shutil.copy(_finished() / name, root / name)

    return make


def _read_run(root: Path) -> None:
    config = ConfigDict(whole.read_json(_finished() / results.CONFIG))
    folders.finished_result(config, root)
    log.MetricsLog(root).forget("one_class", 0)
    report.write(root)


def _predictions(root: Path) -> None:
    made = predictions.Rows(root)
    found = Detector.load(_finished()).findings(
        Detector.load(_finished()).of_views([[np.zeros((16, 16, 3), np.uint8)]])
    )
    made.add([(Path("a.png"), None)], ["0" * 16], found)
    made.keep()


def _state(step: int) -> TrainState:
    params = {"encoder": {"kernel": jnp.arange(500, dtype=jnp.float32) + step}}
    return TrainState(jnp.asarray(step), params, {}, (), {"layer0": jnp.ones(3)}, {}, jnp.zeros(2, jnp.uint32))


def _checkpoints(root: Path) -> None:
    made = Checkpoints(root / "stage")
    for step in (3, 7):
        made.save(_state(step), {"sums": {}, "units": step})
    made.close()


def _read_checkpoints(root: Path) -> None:
    found = Checkpoints(root / "stage").restore(_state(0))
    if found and int(found[0].step) != found[1]["units"]:
        raise AssertionError("a state with the progress of another")


def _weights(suffix: str, zipped: bool = False) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        rng, side = np.random.default_rng(0), 8
        arrays = {
            f"bnd{i}.running_{s}": np.ones(n, np.float32)
            for i, n in enumerate((32, 64, 128), 1)
            for s in ("mean", "var")
        }
        for i, (inner, outer) in enumerate(((3, 32), (32, 64), (64, 128)), 1):
            arrays[f"conv{i}.weight"] = rng.normal(size=(outer, inner, 5, 5)).astype(np.float32)
        arrays["fc1.weight"] = rng.normal(size=(4, 128 * (side // 8) ** 2)).astype(np.float32)
        if suffix == "npz":
            np.savez(root / "w.npz", **arrays)
        elif suffix == "pth":
            (root / "w.pth").write_bytes(pth_files.zipped(arrays) if zipped else pth_files.legacy(arrays))
        else:
            from safetensors.numpy import save_file

            save_file(arrays, root / "w.safetensors")

    return make


def _read_weights(root: Path) -> None:
    (path,) = root.iterdir()
    torch_weights.lenet_variables(torch_weights.read_state_dict(path), image_side=8)


def _exported(root: Path) -> None:
    from mocca_jax.export import artifact as export

    export.write(Detector.load(_finished()), root / "model.mocca")


def _read_exported(root: Path) -> None:
    exported.load(root / "model.mocca")


def _body(root: Path) -> None:
    _noise(root / "body", "RGB") if (root / "body").suffix else _noise(root / "body.png")


@cache
def _served() -> Detector:
    return Detector.load(_finished())


def _read_body(root: Path) -> None:
    (path,) = root.iterdir()
    service._seen(_served(), path.read_bytes(), Limits(megapixels=1.0))


def _config(root: Path) -> None:
    whole.write_json(root / "config.json", configs.as_dict(smoke.get_config()))


def _read_config(root: Path) -> None:
    config = configs.from_dict(whole.read_json(root / "config.json"))
    configs.check(config)
    try:
        models.build(config, (32, 32, 3), tuple(config.layers))
    except ValueError as error:  # what `pipeline.run` makes of it
        raise UserError(str(error)) from error


TARGETS: dict[str, Target] = {
    "pictures": Target(_pictures, _read_pictures),
    "image folder and masks": Target(_image_folder, _read_image_folder),
    "masks of all modes": Target(_masks, _read_masks),
    "names of files and folders": Target(_names, _read_names),
    "film": Target(_film, lambda root: list(films.frames(root / "a.avi"))),
    "frame labels": Target(_labels, _read_labels),
    "config": Target(_config, _read_config),
    "run folder": Target(_run_files("config.json", "result.json", "metrics.jsonl", "scores_heldout.csv"), _read_run),
    "detector file": Target(_run_files("detector.npz"), Detector.load),
    "checkpoints": Target(_checkpoints, _read_checkpoints),
    "predictions to go on with": Target(_predictions, predictions.Rows),
    "npz weights": Target(_weights("npz"), _read_weights),
    "safetensors weights": Target(_weights("safetensors"), _read_weights),
    "old pth weights": Target(_weights("pth"), _read_weights),
    "new pth weights": Target(_weights("pth", zipped=True), _read_weights),
    "exported file": Target(_exported, _read_exported, ValueError),
    "body of a request": Target(_body, _read_body),
}
