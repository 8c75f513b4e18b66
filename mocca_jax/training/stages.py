"""Training stages and the loss terms they add up.

A term is a function `(outputs, image, state, config) -> [B]`. `outputs` holds what the forward pass made:
`reconstruction` (where the stage decodes) and `distances {layer: [B]}` (where it has centroids). A stage that
trains on several terms names them all; a new way to pre-train an encoder is a new term and a new stage.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from mocca_jax.method import losses
from mocca_jax.models import lookup

Term = Callable[..., jax.Array]


@dataclass(frozen=True)
class Stage:
    """`terms` of the loss; `decodes`: runs the decoder too; `has_centroids`: uses the layers' features.

    A term's weight is the config's `<term>_weight`, or 1.
    """

    name: str
    terms: tuple[str, ...]
    decodes: bool
    has_centroids: bool

    @property
    def method(self) -> str:
        """The model's method that this stage calls."""
        return "__call__" if self.decodes else "encode"


def reconstruction(outputs: dict, image: jax.Array, state, config) -> jax.Array:
    """Summed squared error per image."""
    return losses.reconstruction_error(outputs["reconstruction"], image)


def one_class(outputs: dict, image: jax.Array, state, config) -> jax.Array:
    """Eq. 4 without its weight decay, per unit.

    `layer_reduction="sum"` and `hard_over_nu=False` are what the published program computes.
    """
    loss = lookup(losses.LOSSES, config.boundary, "boundary")
    nu = config.nu if config.boundary != "hard" or config.hard_over_nu else 1
    value = loss(outputs["distances"], state.radii, nu=nu)
    return value * len(state.radii) if config.layer_reduction == "sum" else value


TERMS: dict[str, Term] = {"reconstruction": reconstruction, "one_class": one_class}

UNTRAINED = Stage("untrained", (), decodes=False, has_centroids=False)  # the stage of a run that trains nothing
STAGES = {
    "reconstruction": Stage("reconstruction", ("reconstruction",), decodes=True, has_centroids=False),
    "one_class": Stage("one_class", ("one_class",), decodes=False, has_centroids=True),
    "joint": Stage("joint", ("one_class", "reconstruction"), decodes=True, has_centroids=True),
}


def last(config) -> Stage:
    """The stage whose model is scored with."""
    return STAGES[config.stages[-1]] if config.stages else UNTRAINED
