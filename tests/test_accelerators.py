"""What a GPU or a TPU would run, as far as it can be told without one: the text of programs lowered for them.

Nothing is compiled and nothing computed but where a test says so. The test process has eight CPU devices.
"""

import re
from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mocca_jax import Detector, models
from mocca_jax.data import augment
from mocca_jax.export import artifact, exported
from mocca_jax.models import convolutions, efficientnet, imagenet_resnet, norms, pieces, rewrites
from mocca_jax.outputs import bundle
from mocca_jax.scoring import evaluate, maps, tiled
from mocca_jax.training import parallel, stages
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES
from tests.test_memory import small
from tests.test_parallel import mesh_of

ACCELERATORS = ("cuda", "tpu")
FOR_CPUS = {  # functions that only a CPU should run
    rewrites: ("conv", "upsample_conv", "max_pool"),
    norms: ("norm_activate_pool", "norm_activate"),
    convolutions: ("fast_conv", "fast_transposed_conv"),
    efficientnet: ("shifted_products", "paired_conv"),
    pieces: ("mapped",),
}
DEVICES = 8
LARGEST = 5  # side of a kernel; for larger ones on images with zeros in between, GPUs have no fast program
NETWORKS = ("lenet", "resnet", "video")
SMALLER = {"accumulation": 2, "rematerialisation": True, "compute_dtype": "bfloat16"}


class ForCPUs(Exception):  # noqa: N818 (no error)
    """A form that only a CPU should run is part of the program."""


@pytest.fixture(autouse=True)
def no_form_for_cpus(monkeypatch):
    def refuse(*_):
        raise ForCPUs

    for module, names in FOR_CPUS.items():
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    pool = imagenet_resnet.max_pool
    monkeypatch.setattr(imagenet_resnet, "max_pool", lambda x, rewritten: refuse() if rewritten else pool(x, False))


def made_for(config, platform):
    """The config of a program that is lowered for this platform."""
    config.formulation = models.formulation_for(config.formulation, platform)
    return config


def shapes(tree, mesh=None):
    """Those of arrays; on a mesh, of a copy on every device."""
    placed = {"sharding": NamedSharding(mesh, PartitionSpec())} if mesh else {}
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, **placed), tree)


def training(name, stage_name, platform, mesh, view=lambda raw, key: raw / 255, **changes):
    """A training step for this platform, and the shapes of what it takes: nothing is computed."""
    config, _, shape = small(name)
    stage = STAGES[stage_name]
    config.update(changes)
    config[stage_name] = config.one_class
    made_for(config, platform)
    model = models.build(config, shape, tuple(config.layers) if stage.has_centroids else ())
    optimizer = train.make_optimizer(config[stage_name], 10)

    def first_state():
        variables = models.init_variables(model, shape, jax.random.key(0), stage.method)
        of_units = train.feature_shapes(model, variables, shape) if stage.has_centroids else {}
        return train.create_state(variables, optimizer, of_units, jax.random.key(0))

    step = train.make_step(model, stage, config, optimizer, view, 10)
    batch = parallel.batch_shapes(2 * DEVICES, shape, np.uint8, mesh)
    return step, (shapes(jax.eval_shape(first_state), mesh), *batch)


def on_accelerators(program, arguments):
    """The texts of a jitted function, exported for each accelerator, and what was exported for the last."""
    found = [jax.export.export(program, platforms=(platform,))(*arguments) for platform in ACCELERATORS]
    return [of.mlir_module() for of in found], found[-1]


def check(text):
    """Single precision at most, and nothing that asks the host or is compiled for one kind of device."""
    assert not re.search(r"\b(tensor<|x)f64\b", text)
    assert set(re.findall(r"custom_call @([\w.]+)", text)) <= {"Sharding"}
    assert all(max(sides) <= LARGEST for sides in kernels_on_zeros(text))


def kernels_on_zeros(text):
    """The sides of the kernels of all convolutions over images with zeros between their samples."""
    for line in re.findall(r"stablehlo\.convolution.*", text):
        if re.search(r"lhs_dilate = \[[^\]]*[2-9]", line):
            axes = re.search(r"\]x\[(.*?)\]->", line)[1].split(", ")
            kernel = re.search(r": \(tensor<.*?>, tensor<(.*?)x[a-z]+\d+>", line)[1].split("x")
            yield [int(size) for size, axis in zip(kernel, axes, strict=True) if axis.isdigit()]


@pytest.mark.parametrize("stage", ["reconstruction", "one_class", "joint"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_for_accelerators_is_readable_single_precision_and_in_place(name, stage):
    mesh = mesh_of(DEVICES)
    step, (state, *batch) = training(name, stage, "cuda", mesh)
    texts, last = on_accelerators(step, (state, *batch))
    for text in texts:
        check(text)
        assert "reduce_window" in text or name != "lenet"  # pooling as it is written
        # Every array of the state is taken over by the new one; a batch is read and dropped.
        assert text.count("jax.buffer_donor = true") == len(jax.tree.leaves(state))
    assert last.nr_devices == DEVICES
    of_state = len(jax.tree.leaves(state))
    placed = last.in_shardings_jax(mesh)
    assert all(sharding.is_fully_replicated for sharding in placed[:of_state])
    assert [sharding.spec for sharding in placed[of_state:]] == [PartitionSpec(parallel.AXIS)] * 2


def test_so_is_a_step_that_takes_less_memory():
    texts, _ = on_accelerators(*training("resnet", "one_class", "tpu", mesh_of(DEVICES), **SMALLER))
    for text in texts:
        check(text)
        assert "bf16" in text


def test_so_is_a_step_that_turns_and_cuts_its_pictures():
    def turned(raw, key):
        return augment.random_rotated_crop(raw, key, 16, (-45.0, 45.0)) / 127.5 - 1

    texts, _ = on_accelerators(*training("resnet", "one_class", "cuda", mesh_of(DEVICES), turned))
    for text in texts:
        check(text)


@pytest.mark.parametrize("name", NETWORKS)
def test_for_a_cpu_it_is_made_of_the_forms_for_cpus(name):
    with pytest.raises(ForCPUs):
        training(name, "joint", "cpu", mesh_of(1))


@pytest.mark.parametrize(
    ("formulation", "on_cpu", "elsewhere"),
    [("auto", "rewritten", "plain"), ("plain", "plain", "plain"), ("rewritten", "rewritten", "rewritten")],
)
def test_what_auto_means_hangs_on_the_platform_and_what_was_chosen_holds_everywhere(formulation, on_cpu, elsewhere):
    assert models.formulation_for(formulation) == models.formulation_for(formulation, "cpu") == on_cpu
    for platform in ("gpu", "rocm", *ACCELERATORS):
        assert models.formulation_for(formulation, platform) == elsewhere


def scorer(content, config):
    """The compiled scorer of a finished run, and the shapes of what it takes."""
    model = evaluate.built(config, content.inputs.shape)
    program = evaluate.make_program(model, stages.last(config), content.inputs.preprocess, config)
    mesh = mesh_of(DEVICES)
    raw, mask = parallel.batch_shapes(DEVICES, content.inputs.shape, np.uint8, mesh)
    if content.inputs.of_movement:
        raw = jax.ShapeDtypeStruct(raw.shape, np.float32, sharding=raw.sharding)
    return program, (shapes(content.state.replace(opt_state=()), mesh), raw, mask)


@pytest.fixture
def run(request, finished, untrained, movement):
    """A finished run's content by name."""
    return bundle.load({"untrained": untrained, "movement": movement}.get(request.param, finished / request.param))


@pytest.mark.parametrize("run", ["object", "texture", "clip", "untrained", "movement"], indirect=True)
def test_a_scorer_for_accelerators_is_readable_and_of_single_precision(run):
    program, arguments = scorer(run, made_for(run.config, "cuda"))
    texts, last = on_accelerators(program, arguments)
    for text in texts:
        check(text)
    raw = last.in_shardings_jax(mesh_of(DEVICES))[-2]  # what comes last, the mask, scoring does not look at
    assert last.nr_devices == DEVICES and raw.spec == PartitionSpec(parallel.AXIS)


@pytest.mark.parametrize("name", ["resnet", "video"])
def test_so_is_a_scorer_by_the_error_of_reconstruction(name):
    config, _, shape = small(name)
    made_for(config, "cuda").update(stages=("reconstruction",), score="reconstruction")
    stage = stages.last(config)
    model = evaluate.built(config, shape)
    variables = jax.eval_shape(partial(models.init_variables, model, shape, method=stage.method), jax.random.key(0))
    state = jax.eval_shape(train.untrained_state, variables, jax.random.key(0))
    program = evaluate.make_program(model, stage, lambda raw, key: raw / 255, config)
    for text in on_accelerators(program, (state, *parallel.batch_shapes(2, shape, np.uint8, mesh_of(1))))[0]:
        check(text)


@pytest.mark.parametrize("run", ["movement"], indirect=True)
def test_so_is_the_map_of_movement(run):
    drawn = evaluate.make_movement_map(evaluate.built(made_for(run.config, "cuda"), run.inputs.shape), run.scale)
    cells = jax.ShapeDtypeStruct((2, *run.inputs.shape), np.float32)
    for text in on_accelerators(drawn, (shapes(run.state), cells))[0]:
        check(text)


@pytest.mark.parametrize("run", ["untrained"], indirect=True)
def test_so_are_the_features_of_tiles(run):
    config, inputs = made_for(run.config, "cuda"), run.inputs
    judge = tiled.Judge(evaluate.built(config, inputs.shape), inputs, config, mesh_of(1))
    raw = jax.ShapeDtypeStruct((2, *inputs.shape), np.float32)
    for text in on_accelerators(judge._features, (shapes(run.state), raw))[0]:
        check(text)


@pytest.mark.parametrize("run", ["object"], indirect=True)
@pytest.mark.parametrize("method", ["features", "gradient", "patches"])
def test_so_are_anomaly_maps(run, method):
    config, inputs = made_for(run.config, "cuda"), run.inputs
    context = maps.Context(evaluate.built(config, inputs.shape), run.state, inputs, config, mesh_of(1))
    known = run.map_statistics if method in maps.FITS else {}
    drawn = jax.jit(lambda state, known, raw: maps.METHODS[method](context, raw, state, known))
    raw = jax.ShapeDtypeStruct((2, *inputs.shape), np.uint8)
    for text in on_accelerators(drawn, (shapes(run.state), shapes(known), raw))[0]:
        check(text)


@pytest.mark.parametrize("kind", ["object", "untrained"])
def test_an_exported_file_holds_for_each_platform_what_it_would_run(kind, finished, untrained, tmp_path, monkeypatch):
    detector = Detector.load(untrained if kind == "untrained" else finished / kind)
    elsewhere, weights = artifact._on_each(detector, ACCELERATORS)
    raw = np.stack([detector.samples[0]] * 2)
    shape = jax.ShapeDtypeStruct(raw.shape, raw.dtype)
    check(jax.export.export(jax.jit(elsewhere["cuda"]), platforms=ACCELERATORS)(shapes(weights), shape).mlir_module())
    with pytest.raises(ForCPUs):
        jax.eval_shape(artifact._on_each(detector, ("cpu",))[0]["cpu"], weights, shape)
    monkeypatch.undo()
    artifact.write(detector, tmp_path / "model.mocca")
    answers = exported.load(tmp_path / "model.mocca")[0](raw)
    for name, wanted in jax.jit(elsewhere["tpu"])(weights, raw).items():  # the readable forms, computed here
        np.testing.assert_allclose(answers[name], wanted, rtol=1e-4, atol=1e-4)


def test_a_file_with_a_chosen_formulation_has_it_for_all(finished):
    detector = Detector.load(finished / "object", formulation="plain")
    programs, _ = artifact._on_each(detector, artifact.PLATFORMS)
    assert set(programs) == set(artifact.PLATFORMS) and len(set(programs.values())) == 1
