"""Adding normal pictures to the statistics of a run, without the ones that it was fitted on.

Means, covariances and the bank are then those of all pictures, as if fitted on them together. What the run found out
by them stays: the lamp's colour, the changes that count less, the parts of the score, the rounding. A picture that is
added is scored left out of the new statistics. Those before are scored by their distances to the statistics that were
there when they came, so threshold and p-values are near those of a new fit, not the same.
"""

from typing import Any

import numpy as np

from mocca_jax.data.inputs import Inputs
from mocca_jax.scoring import fitting, placed
from mocca_jax.scoring.encoding import Encoding
from mocca_jax.scoring.fitting import Fitted
from mocca_jax.scoring.learnt import Added, Learnt
from mocca_jax.scoring.normals import standardized
from mocca_jax.training import parallel
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.step import TrainState


def encoding_of(state: TrainState, inputs: Inputs, config: Any) -> Encoding:
    """The encoder of a run with statistics, on this host's devices."""
    known = state.statistics
    model, mesh = placed.network(config, inputs.shape), parallel.own_mesh()
    return Encoding(model, state, inputs, config, mesh, StopRequest(), known.colour, known.grey)


def grow(learnt: Learnt, added: Added, state: TrainState, encoding: Encoding, rounding: dict[str, float]) -> Fitted:
    """The run with more pictures.

    Args:
        learnt: of the pictures before, which are many; those `added` are in it afterwards.
        added: with features; its distances are set.
        state: of the run, with its statistics.
        encoding: see `encoding_of`.
        rounding: of the run.
    """
    own, known, shape = len(learnt) + np.arange(len(added.names)), state.statistics, encoding.shape
    learnt.add(added)
    fresh = encoding.placed(learnt.fitted())
    added.distances = encoding.distances(fresh, added.features, own.astype(np.int32), added.features)
    learnt.add_distances(added.distances)
    statistics = standardized(fresh, learnt.distances, placed.sides(encoding.config, shape))
    found = placed.maps(encoding.config, statistics, learnt.distances, shape)
    maps = {part: np.asarray(values) for part, values in found.items()}
    grown = state.replace(statistics=known.replace(grids=statistics))
    drawn = np.asarray(placed.combined(maps, known.weights))
    return Fitted(grown, fitting.scores_of(maps, known.weights), drawn, None, "", {}, rounding, learnt=learnt)
