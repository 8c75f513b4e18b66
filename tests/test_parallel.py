"""One device or eight: the same numbers. The tests' process has eight CPU devices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from mocca_jax import data, models
from mocca_jax.configs import cifar10
from mocca_jax.data import batching
from mocca_jax.models import norms
from mocca_jax.scoring import evaluate
from mocca_jax.training import parallel
from mocca_jax.training import step as train
from mocca_jax.training.stages import STAGES
from tests.test_train import assert_close

pytestmark = pytest.mark.usefixtures("optimised")

BATCH = 10  # not divisible by 8: every batch is padded to 16


@pytest.fixture
def config(double, smoke):
    smoke.batch_size = BATCH
    smoke.radius_warmup_epochs = 0
    return smoke


def mesh_of(devices: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,))


def placed_batches(config, mesh):
    """The first batches of an epoch."""
    batches = batching.in_order(data.load(config).train, config.batch_size, parallel.padded(BATCH, mesh))
    for batch in itertools.islice(batches, 3):
        yield parallel.shard((batch.image, batch.mask.astype(np.float64)), mesh)


def prepared(config, stage, model, mesh, preprocess):
    variables = models.init_variables(model, (16, 16, 3), jax.random.key(0), stage.method)
    sizes = {"layer0": 32, "layer1": 64, "layer2": 128, "layer3": 16} if stage.has_centroids else {}
    optimizer = train.make_optimizer(config[stage.name], 4)
    state = train.create_state(variables, optimizer, sizes, jax.random.key(0))
    state = parallel.replicate(jax.tree.map(jnp.array, state), mesh)
    return state, train.make_step(model, stage, config, optimizer, preprocess, 4)


@pytest.mark.parametrize("formulation", ["plain", "rewritten"])
@pytest.mark.parametrize("stage_name", ["reconstruction", "one_class"])
def test_a_step_and_the_centroids_do_not_depend_on_the_number_of_devices(config, formulation, stage_name):
    config.formulation = formulation
    stage = STAGES[stage_name]
    preprocess = data.load(config).inputs.preprocess
    seen = {}
    for devices in (1, 8):
        mesh = mesh_of(devices)
        assert parallel.padded(BATCH, mesh) == (10 if devices == 1 else 16)
        model = models.build(config, (16, 16, 3), config.layers if stage.has_centroids else ())
        state, step = prepared(config, stage, model, mesh, preprocess)
        if stage.has_centroids:
            centroids = train.compute_centroids(model, state, preprocess, placed_batches(config, mesh), push=0.1)
            state = parallel.replicate(state.replace(centroids=centroids), mesh)
        state, metrics = step(state, *next(placed_batches(config, mesh)))
        # Adam's first moment is a tenth of the gradient.
        kept = (metrics, state.centroids, state.radii, state.batch_stats, state.opt_state[1].mu)
        seen[devices] = jax.device_get(kept)
    for one, eight in zip(seen[1], seen[8], strict=True):
        assert_close(eight, one)


def test_scores_do_not_depend_on_the_number_of_devices(config):
    dataset = data.load(config)
    model = models.build(config, dataset.inputs.shape, config.layers)
    found = {}
    for devices in (1, 8):
        mesh = mesh_of(devices)
        state, _ = prepared(config, STAGES["one_class"], model, mesh, dataset.inputs.preprocess)
        scorer = evaluate.make_scorer(model, STAGES["one_class"], dataset.inputs.preprocess, config)
        found[devices] = evaluate.score_split(scorer, state, dataset.test, "identity", config, mesh)
    assert len(found[1].combined) == len(dataset.test)
    for eight, one in ((found[8].combined, found[1].combined), (found[8].layers, found[1].layers)):
        assert_close(eight, one)


def test_cores_of_one_cpu_share_what_a_program_reads_and_other_devices_do_not():
    shared = parallel.sharing(mesh_of(8))
    assert list(shared.devices.flat) == jax.devices()[:1] and shared.axis_names == (parallel.AXIS,)

    class Gpu:
        platform, process_index = "gpu", 0

    class Mesh:
        devices = np.array([Gpu(), Gpu()])

    assert parallel.sharing(Mesh) is Mesh


def test_the_published_job_divides_over_any_number_of_devices():
    assert [parallel.padded(cifar10.get_config().batch_size, mesh_of(n)) for n in (1, 3, 7, 8)] == [256, 258, 259, 256]


def test_devices_exchange_a_batch_norms_values_once_and_for_its_gradient_once(rng):
    mesh = mesh_of(8)
    y, mask = parallel.shard((rng.normal(size=(16, 4, 4, 3)).astype(np.float32), np.ones(16, np.float32)), mesh)
    of_channels = parallel.replicate((jnp.ones(3), jnp.zeros(3)), mesh)

    def exchanges(function):
        text = jax.jit(function).lower(y, mask, *of_channels).compile().as_text()
        return sum(f" {name}(" in line for line in text.splitlines() for name in ("all-reduce", "all-gather"))

    def norm(y, mask, scale, bias):
        return norms.norm_activate(y, mask, scale, bias, 1e-5, 0.01)

    assert exchanges(norm) == 1
    assert exchanges(jax.grad(lambda *given: jnp.sin(norm(*given)[0]).mean(), (0, 2, 3))) == 2
