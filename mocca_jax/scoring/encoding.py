"""What an encoder makes of pictures for statistics by place, in batches on all devices: features, and distances."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mocca_jax.data.inputs import Inputs
from mocca_jax.models import AutoEncoder
from mocca_jax.scoring import placed, shared
from mocca_jax.scoring.evaluate import joined
from mocca_jax.training import in_parts, parallel
from mocca_jax.training.interrupts import StopRequest
from mocca_jax.training.step import TrainState, features_of

Features = dict[str, np.ndarray]  # by grid, `[N, P, D]` float32


class Encoding:
    """Features of pictures, and their distances to statistics.

    Args:
        model: `placed.network`.
        state: with the encoder's weights.
        inputs: how pictures become the network's input.
        config: of the run.
        mesh: the devices.
        stop: may ask to stop, between batches.
        colour, grey: of the normal pictures, see `placed.Placed`.
    """

    def __init__(
        self,
        model: AutoEncoder,
        state: TrainState,
        inputs: Inputs,
        config: Any,
        mesh: Any,
        stop: StopRequest,
        colour: np.ndarray,
        grey: np.ndarray,
    ):
        self.config, self._mesh, self._stop, self.shape = config, mesh, stop, inputs.shape
        self._comparing = parallel.sharing(mesh)
        self.colour, self.grey = colour, grey

        shape = inputs.shape

        def features(held, raw):  # nothing of these pictures is a constant of the program, which is kept for others
            variables, colour, grey = held
            image = inputs.preprocess(placed.relit(raw, colour, grey))
            mask = jnp.ones(raw.shape[0])
            _, sown = model.apply(variables, image, mask, False, method="encode", mutable=["features"])
            return placed.joined(config, features_of(sown), shape)

        def distances(statistics, given):
            x, own, base = given
            return placed.distances(config, statistics, x, shape, own, base)

        self._features = shared.program(lambda: jax.jit(features), "features", model, inputs, config)
        self._distances = shared.program(lambda: jax.jit(distances), "distances", shape, config)
        self._held = self._of(state)

    def features(self, images: np.ndarray, state: TrainState | None = None) -> Features:
        """Of any pictures `[N, H, W, 3]`; by the encoder of `state`, where it is not the run's."""
        held = self._held if state is None else self._of(state)
        return joined(list(self._in_batches(partial(self._features, held), images, self._mesh)))

    def placed(self, statistics: Any) -> Any:
        """Statistics by grid as `distances` takes them: on the devices that compare."""
        return parallel.replicate(statistics, self._comparing)

    def distances(
        self, statistics: Any, x: Features, own: np.ndarray | None = None, base: Features | None = None
    ) -> dict[str, np.ndarray]:
        """`{part: [N, P]}` of features; `own`, `base` as for `places.distances`.

        Args:
            statistics: see `placed`.
        """
        compare = partial(self._distances, statistics)
        return joined(list(self._in_batches(compare, (x, own, base), self._comparing)))

    def _of(self, state: TrainState) -> Any:
        held = {"params": state.params, "batch_stats": state.batch_stats}
        return parallel.replicate((held, self.colour, self.grey), self._mesh)

    def _in_batches(self, call: Any, arrays: Any, mesh: Any) -> Iterator[dict[str, np.ndarray]]:
        """`call` of the arrays' rows, as many at a time as a batch has, on these devices."""
        count = len(jax.tree.leaves(arrays)[0])

        def take(rows: slice) -> Any:
            return jax.tree.map(lambda of: of[rows], arrays)

        for real, batch, _ in in_parts.on_devices(take, count, self.config.batch_size, mesh):
            self._stop.leave_statistics()
            yield {name: values[:real] for name, values in parallel.fetch(call(batch)).items()}
