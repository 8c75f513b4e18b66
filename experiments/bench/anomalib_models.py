"""The picture detector beside anomalib's PaDiM and PatchCore: time, memory and what is kept, interleaved in one run.

python -m experiments.bench.anomalib_models [--category=bottle] [--pictures=100] [--rounds=5]

Needs `pip install -e ".[anomalib]"`; `MOCCA_DATA_DIR` says where MVTec AD is. Theirs are anomalib's own modules on the
same network, EfficientNet-Lite0 from timm, with random weights: these change no time, and whether anything is found
cannot be compared. Pictures lie decoded in memory, uint8 `[256, 256, 3]`, for all; what a network wants of them is made
within the time. All have the machine's cores, and a process each.

- `ours`: all of `Detector.fit`, with threshold, choice on made-up defects and what a run writes; `Detector.score`.
- `ours, statistics and maps`: what theirs do: features and statistics alone, and `Detector.anomaly_map`. Its memory is
  that of a whole fit all the same, which made the maps' detector.
- `PaDiM`: 100 features drawn of three layers, as many as of its ResNet-18.
- `PatchCore 1 %`: a coreset of so many patches. That of its default, 10 %, has ten times as many, found one by
  one. Here they are drawn at random, which does not change how long scoring takes.

The first fit compiles ours; then fits are repeated, but for those that took over half a minute. Of the 32 pictures that
are scored, half are good ones. `kept` is the file that scoring needs: `Detector.save`, or the module's state. "large
pages" and channels-last are what makes PyTorch fastest; see docs/speed.md.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

from experiments.bench import interleaved
from experiments.markdown import header, line

MODULE = "experiments.bench.anomalib_models"
SIDE, SCORED, BATCH = 256, 32, 32
BEST = "channels-last, large pages"
OURS = ("ours", "ours, statistics and maps")
THEIRS = ("PaDiM", f"PaDiM {BEST}", "PatchCore 1 %", f"PatchCore 1 % {BEST}", f"PatchCore 10 %, drawn, {BEST}")
TIMES = {"fit": "fit, s", "one": "one picture, ms", "many": f"of {SCORED} at once, ms"}
SIZES = {"memory": "peak memory, MB", "kept": "kept, MB"}
LONG = 30  # seconds: fits that take longer are not repeated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, name = options.worker.split("/")
        category, pictures = what.split(";")
        work(name, category, int(pictures))
        return
    if importlib.util.find_spec("anomalib") is None:
        print('anomalib is not installed: pip install -e ".[anomalib]"', file=sys.stderr)
        return
    print(interleaved.circumstances(category=options.category, pictures=options.pictures, side=SIDE))
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("anomalib", "timm", "torch", "jax")), flush=True)
    print()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MOCCA_CACHE_DIR": folder, "TQDM_DISABLE": "1"}  # of the workers
        report(measured(f"{options.category};{options.pictures}", options.rounds))


def measured(task: str, rounds: int) -> dict[str, dict[str, float]]:
    """By variant: medians of seconds over the rounds, and bytes."""
    workers = {name: interleaved.start(MODULE, f"{task}/{name}") for name in (*OURS, *THEIRS)}
    found: dict[str, dict[str, float]] = {}
    try:
        for name, worker in workers.items():
            found[name] = {"libraries": float(worker.stdout.readline())}
        for what in TIMES:
            first = {name: float(interleaved.ask(worker, what)) for name, worker in workers.items()}
            seconds: dict[str, list[float]] = {name: [] for name in workers}
            for _ in range(rounds):
                for name, worker in workers.items():
                    if what != "fit" or first[name] <= LONG:
                        seconds[name].append(float(interleaved.ask(worker, what)))
            for name, values in seconds.items():
                found[name] |= {f"first {what}": first[name], what: statistics.median(values or [first[name]])}
        for name, worker in workers.items():
            found[name] |= {what: float(interleaved.ask(worker, what)) for what in SIZES}
    finally:
        for worker in workers.values():
            worker.stdin.close()  # it ends by itself
        for worker in workers.values():
            worker.wait()
    return found


def report(found: dict[str, dict[str, float]]) -> None:
    """The table, then what ours takes as a share of what theirs take."""
    print("\n".join(header(["variant", "first fit, s", *TIMES.values(), *SIZES.values(), "memory of libraries, MB"])))
    for name, values in found.items():
        fits = ["" if "drawn" in name else f"{values[what]:.1f}" for what in ("first fit", "fit")]
        scoring = [f"{1e3 * values[what] / SCORED:.1f}" for what in ("one", "many")]
        print(line([name, *fits, *scoring, *(f"{values[what] / 1e6:.0f}" for what in (*SIZES, "libraries"))]))
    for ours in OURS:
        print("\n" + "\n".join(header([f"{ours} /", "fit", "one picture", "many", "memory", "kept"])))
        for name in THEIRS:
            ratios = {what: found[ours][what] / found[name][what] for what in (*TIMES, *SIZES)}
            cells = ["" if what == "fit" and "drawn" in name else f"{ratio:.2f}" for what, ratio in ratios.items()]
            print(line([name, *cells]), flush=True)


def work(name: str, category: str, pictures: int) -> None:
    """A worker's side: at every line on standard input, what it asks for."""
    normal, scored = load(category, pictures)
    make = our_calls if name in OURS else their_calls
    calls = make(name, normal, scored)
    print(interleaved.peak_memory(), flush=True)
    for asked in sys.stdin:
        what = asked.strip()
        if what == "memory":
            print(interleaved.peak_memory(), flush=True)
        elif what == "kept":
            print(kept(calls["save"]), flush=True)
        else:
            print(*interleaved.timed(calls[what], 1), flush=True)


def load(category: str, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal pictures, and those that are scored, `[N, SIDE, SIDE, 3]` uint8."""
    from PIL import Image

    from mocca_jax.data.sets import mvtec
    from mocca_jax.data.spread import evenly

    def decoded(paths: list[Path], count: int) -> np.ndarray:
        chosen = [paths[n] for n in evenly(len(paths), count)]
        return np.stack([np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in chosen])

    folder = mvtec.data_dir("") / category
    normal, good = (sorted((folder / part / "good").iterdir()) for part in ("train", "test"))
    bad = sorted(path for path in (folder / "test").glob("*/*") if path.parent.name != "good")
    return decoded(normal, pictures), np.concatenate([decoded(good, SCORED // 2), decoded(bad, SCORED // 2)])


def kept(save: Callable[[Path], object]) -> int:
    """Bytes of the file that is needed to score."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.npz"
        save(path)
        return path.stat().st_size


def our_calls(name: str, normal: np.ndarray, scored: np.ndarray) -> dict[str, Callable[..., object]]:
    from mocca_jax import Detector, pipeline
    from mocca_jax.configs import folder
    from mocca_jax.data import cache
    from mocca_jax.data.sets.folder import Given
    from mocca_jax.scoring import placed
    from mocca_jax.scoring.normals import Normals
    from mocca_jax.training import interrupts, parallel

    parallel.configure(0, str(cache.root() / "xla"))
    config, made = folder.get_config(), []

    def fit() -> None:
        made[:] = [Detector.fit(normal, config)]

    def statistics_alone() -> None:
        dataset, (state, _) = Given(normal).load(config), pipeline.pretrained(config)
        model = placed.network(config, dataset.inputs.shape)
        normals = Normals(model, state, dataset, config, parallel.make_mesh(), interrupts.StopRequest())
        normals.fit()

    def score(pictures: np.ndarray) -> object:
        if not made:
            fit()
        return made[0].score(pictures) if name == "ours" else made[0].anomaly_map(pictures)

    return {
        "fit": fit if name == "ours" else statistics_alone,
        "one": lambda: [score(picture) for picture in scored],
        "many": lambda: score(scored),
        "save": lambda path: made[0].save(path),
    }


def their_calls(name: str, normal: np.ndarray, scored: np.ndarray) -> dict[str, Callable[..., object]]:
    import torch
    from anomalib.models.image.padim.torch_model import PadimModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    backbone, layers = "tf_efficientnet_lite0", ["blocks.1", "blocks.2", "blocks.4"]
    padim, share = name.startswith("PaDiM"), 0.1 if "10 %" in name else 0.01
    if padim:
        model = PadimModel(backbone, layers, pre_trained=False, n_features=100)
    else:
        model = PatchcoreModel(layers[1:], backbone, pre_trained=False)
    layout = torch.channels_last if BEST in name else torch.contiguous_format
    model = model.to(memory_format=layout)
    mean, deviation = (torch.tensor(of)[:, None, None] for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def seen(pictures: np.ndarray):
        raw = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return ((raw - mean) / deviation).contiguous(memory_format=layout)

    def fit() -> None:
        model.train()
        for start in range(0, len(normal), BATCH):
            model(seen(normal[start : start + BATCH]))
        if padim:
            model.fit()
        elif "drawn" in name:
            bank = torch.vstack(model.embedding_store)
            model.embedding_store.clear()
            model.memory_bank = bank[torch.randperm(len(bank))[: int(share * len(bank))]]
        else:
            model.subsample_embedding(share)
        model.eval()

    @torch.inference_mode()
    def score(pictures: np.ndarray) -> object:
        return model(seen(pictures))

    return {
        "fit": fit,
        "one": lambda: [score(picture[None]) for picture in scored],
        "many": lambda: score(scored),
        "save": lambda path: torch.save(model.state_dict(), path),
    }


if __name__ == "__main__":
    main()
