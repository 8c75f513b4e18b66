"""What `experiments.accelerator` measures. Each function emits rows of plain values as they are known."""

import statistics
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
import optax

from experiments import stacked
from experiments.accelerator_pipelines import NETWORKS, PIPELINES, Pipeline, sized
from experiments.bench import interleaved, ours
from mocca_jax import Detector, models
from mocca_jax.commands import example
from mocca_jax.configs import cifar10, digits, folder
from mocca_jax.errors import UserError
from mocca_jax.scoring import evaluate
from mocca_jax.training import parallel, stages
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES

Emit = Callable[..., None]

# Largest relative difference from the CPU, in the Euclidean norm over all values. "default": GPUs may round factors of
# products to TF32 (2^-11), TPUs to bfloat16 (2^-9), layer after layer; "highest": all of float32. In double precision,
# which TPUs lack, gradients are compared too: in single precision rounding carries some activations over a kink, where
# gradients jump (two forms on one CPU: 0.003).
TOLERANCES = {"double": 1e-8, "highest": 1e-3, "default": 5e-2}
ROUNDS, CALLS = 5, 10
SECONDS_A_CALL = 1.0  # of slower steps a round times fewer
MOST_UNITS = 2**15


def measure(name: str, small: bool, emit: Emit) -> None:
    """A part by its name, `kind/what`."""
    kind, _, what = name.partition("/")
    {"equality": equality, "speed": speed, "widest": widest, "detector": detector, "table1": table1}[kind](
        *([what] if what else []), small, emit
    )


def equality(network: str, small: bool, emit: Emit) -> None:
    """Features, loss, gradients and scores of a small batch beside the CPU's, the CPU in its own form."""
    config, _, shape, _ = sized(PIPELINES[NETWORKS[network]], small)
    config.joint = config.get("joint") or config.one_class
    batch = np.random.default_rng(0).random((8, *shape), np.float32)
    for double in (False, True) if jax.default_backend() != "tpu" else (False,):
        with jax.enable_x64(double):
            given = batch.astype(float)
            config.formulation = "rewritten"
            expected = _outcome(config, given, jax.devices("cpu")[0])
            config.formulation = "plain"
            for precision in ("double",) if double else ("highest", "default"):
                with jax.default_matmul_precision("highest" if double else precision):
                    found = _outcome(config, given, jax.devices()[0])
                differences = {what: _difference(found[what], expected[what]) for what in expected}
                counted = [of for what, of in differences.items() if double or what != "gradient"]
                tolerance = TOLERANCES[precision]
                emit(precision=precision, **differences, tolerance=tolerance, equal=bool(max(counted) <= tolerance))


def _outcome(config, batch: np.ndarray, device: jax.Device) -> dict[str, Any]:
    """Of one joint step on this device, from weights that are the same everywhere."""
    stage, shape, key = STAGES["joint"], batch.shape[1:], jax.random.key(0)
    model = models.build(config, shape, tuple(config.layers))
    mesh = parallel.Mesh(np.array([device]), (parallel.AXIS,))
    with jax.default_device(jax.devices("cpu")[0]):
        variables = models.init_variables(model, shape, key, stage.method)
        optimizer = optax.trace(decay=0.0)  # keeps the gradient as its state
        state = train.create_state(variables, optimizer, train.feature_shapes(model, variables, shape), key)
        state = jax.device_get(state)
    placed = parallel.shard((batch, np.ones(len(batch), np.float32)), mesh)
    held = parallel.replicate(state.replace(opt_state=()), mesh)
    scores = evaluate.make_program(model, stage, ours.unchanged, config)(held, *placed)

    @jax.jit
    def features(held, image, mask):
        variables = {"params": held.params, "batch_stats": held.batch_stats}
        return model.apply(variables, image, mask, False, method="encode", mutable=["features"])[1]

    found = {"features": features(held, *placed), "scores": scores}
    step = train.make_step(model, stage, config, optimizer, ours.unchanged, 10)
    after, metrics = step(parallel.replicate(state, mesh), *placed)
    return jax.device_get(found | {"loss": metrics["loss"], "gradient": after.opt_state.trace})


def _difference(found: Any, expected: Any) -> float:
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (found, expected))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def speed(name: str, small: bool, emit: Emit) -> None:
    """Steps per second of ours, and of PyTorch where it sees the same kind of device, turn by turn."""
    pipeline = PIPELINES[name]
    config, stage, shape, units = sized(pipeline, small)
    batch = np.random.default_rng(0).random((units, *shape), np.float32)
    began = time.perf_counter()
    calls = {"ours": ours.make(config, batch, stage, tuple(config.layers), pipeline.scores)}
    calls["ours"]()
    ready = time.perf_counter() - began
    held = {"ours": _most_bytes()}
    if not small and pipeline.dtype == "float32" and torch_sees_it():
        calls["torch"] = _torch(pipeline)
        calls["torch"]()
        held["torch"] = _most_bytes_of_torch()
    seconds: dict[str, list[float]] = {who: [] for who in calls}
    for _ in range(ROUNDS):
        for who, call in calls.items():
            (once,) = interleaved.timed(call, 1)
            repeats = max(1, min(CALLS, int(SECONDS_A_CALL / once)))
            seconds[who].append(statistics.median(interleaved.timed(call, repeats)))
    rates = {f"{who}_steps_per_second": 1 / statistics.median(times) for who, times in seconds.items()}
    if "torch" in calls:
        rates["ratio"] = rates["ours_steps_per_second"] / rates["torch_steps_per_second"]
    memory = {f"{who}_megabytes": of / 2**20 for who, of in held.items() if of}
    emit(batch=units, shape=list(shape), first_step_seconds=ready, **rates, **memory)


def _most_bytes() -> int:
    """Of the device's memory that JAX ever held in this process; 0 where the device does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def _most_bytes_of_torch() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def torch_sees_it() -> bool:
    """Whether PyTorch is installed and computes on the kind of device that JAX computes on."""
    if not find_spec("torch"):
        return False
    import torch

    return torch.cuda.is_available() == (jax.default_backend() == "gpu") and jax.default_backend() in ("cpu", "gpu")


def _torch(pipeline: Pipeline) -> Callable[[], object]:
    """PyTorch's step, with TF32 in all products and the fastest convolutions of those it tries, as XLA does."""
    import torch

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    module, *arguments = pipeline.torch
    on_gpu = torch.cuda.is_available()
    torch.set_default_device("cuda" if on_gpu else "cpu")
    call = import_module(f"experiments.bench.{module}").torch_step(*arguments, "torch channels-last")
    if not on_gpu:
        return call

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    return waited


def widest(name: str, small: bool, emit: Emit) -> None:
    """A batch four times as large each time, until the device refuses one, then half of that; a row for each.

    A CPU has only the host's memory: there two are tried.
    """
    pipeline = PIPELINES[name]
    config, stage, shape, units = sized(pipeline, small)
    most = 4 * units if jax.default_backend() == "cpu" else MOST_UNITS

    def fits(units: int) -> bool:
        try:
            call = ours.make(config, np.zeros((units, *shape), np.float32), stage, tuple(config.layers))
            call()
            (once,) = interleaved.timed(call, 1)
        except jax.errors.JaxRuntimeError as error:
            emit(batch=units, fits=False, why=str(error).splitlines()[0][:200])
            return False
        emit(batch=units, fits=True, units_per_second=units / once)
        return True

    while units <= most:
        if not fits(units):
            fits(units // 2)
            return
        units *= 4


def detector(small: bool, emit: Emit) -> None:
    """The detector of pictures, fitted on made-up parts."""
    config, rng = folder.get_config(), np.random.default_rng(0)
    if small:
        config.update(resize=64, layers=(2, 4), fine_layers=(2,), maps=())
    pictures = np.stack([np.asarray(example.part(rng)[0]) for _ in range(24 if small else 200)])
    began = time.perf_counter()
    fitted = Detector.fit(pictures, config)
    emit(what="fit", pictures=len(pictures), seconds=time.perf_counter() - began)
    of_detector(fitted, small, emit)


def of_detector(fitted: Detector, small: bool, emit: Emit) -> None:
    """Pictures per second, through the API and of the bare program, and scores beside the CPU's."""
    size, scorer = fitted.config.batch_size, fitted.scorer
    raw = fitted.samples[np.arange((1 if small else 16) * size) % len(fitted.samples)]
    fitted.score(raw)
    emit(
        what="score", pictures_per_second=len(raw) / statistics.median(interleaved.timed(lambda: fitted.score(raw), 3))
    )
    size = parallel.padded(size, scorer.mesh)
    units = (np.resize(raw, (size, *raw.shape[1:])), np.ones(size, np.float32))
    state = jax.device_get(scorer.state)

    def program(formulation: str, mesh: Any) -> Callable[[], Any]:
        config = fitted.config.copy_and_resolve_references()
        config.formulation = formulation
        model = evaluate.built(config, fitted.inputs.shape)
        score = evaluate.make_program(model, stages.last(config), fitted.inputs.preprocess, config)
        held, placed = parallel.replicate(state, mesh), parallel.shard(units, mesh)
        return lambda: jax.block_until_ready(score(held, *placed))

    here = program("plain", scorer.mesh)
    here()
    emit(what="bare program", pictures_per_second=size / statistics.median(interleaved.timed(here, 5)))
    cpu = parallel.Mesh(np.array(jax.devices("cpu")[:1]), (parallel.AXIS,))
    expected = jax.device_get(program("rewritten", cpu)())
    for precision in ("highest", "default"):
        tolerance = TOLERANCES[precision]
        with jax.default_matmul_precision(precision):
            difference = _difference(jax.device_get(here()), expected)
        emit(
            what="equality", precision=precision, scores=difference, tolerance=tolerance, equal=difference <= tolerance
        )


def table1(small: bool, emit: Emit) -> None:
    """Table I's classes in one program, preset `quick`; small: three digits, an epoch a stage."""
    configs = list(_classes(small))
    began = time.perf_counter()
    try:
        found = stacked.auc_of_each(configs)
    except UserError as error:
        emit(skipped=str(error).splitlines()[0])
        return
    aucs = {str(config.normal_class): auc for config, auc in zip(configs, found, strict=True)}
    emit(models=len(configs), seconds=time.perf_counter() - began, auc=aucs, mean_auc=statistics.mean(found))


def _classes(small: bool) -> Iterator[Any]:
    for normal_class in range(3 if small else 10):
        config = digits.get_config() if small else cifar10.get_config("quick")
        config.normal_class = normal_class
        if small:
            config.reconstruction.epochs = config.one_class.epochs = 1
            config.update(layers=(1, 3), radius_warmup_epochs=0)
        yield config
