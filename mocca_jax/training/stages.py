"""Training stages and the loss terms they add up.

A term is a function `(outputs, image, state, config) -> [B]`. `outputs` holds what the forward pass made:
`pretext [B]`, the loss of the stage's pretext (where it has one), and `distances {layer: [B]}` (where it has
centroids). A stage that trains on several terms names them all. Every pretext is a term and a stage of its name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from mocca_jax.method import losses
from mocca_jax.models import lookup
from mocca_jax.training.pretexts import PRETEXTS, Pretext

Term = Callable[..., jax.Array]


@dataclass(frozen=True)
class Stage:
    """`terms` of the loss; `decodes`: runs the decoder, or the pretext's head, too; `has_centroids`: uses features.

    A term's weight is the config's `<term>_weight`, or 1.
    """

    name: str
    terms: tuple[str, ...]
    decodes: bool
    has_centroids: bool

    @property
    def pretext(self) -> Pretext:
        """The pretext among its terms; where there is none, the one that changes nothing."""
        return PRETEXTS[next((name for name in self.terms if name in PRETEXTS), "reconstruction")]

    @property
    def method(self) -> str:
        """The model's method that this stage calls."""
        return "__call__" if self.decodes else "encode"


def of_pretext(outputs: dict, image: jax.Array, state, config) -> jax.Array:
    """The loss of the stage's pretext, the mean over a picture's views."""
    return outputs["pretext"]


def one_class(outputs: dict, image: jax.Array, state, config) -> jax.Array:
    """Eq. 4 without its weight decay, per unit.

    `layer_reduction="sum"` and `hard_over_nu=False` are what the published program computes.
    """
    loss = lookup(losses.LOSSES, config.boundary, "boundary")
    nu = config.nu if config.boundary != "hard" or config.hard_over_nu else 1
    value = loss(outputs["distances"], state.radii, nu=nu)
    return value * len(state.radii) if config.layer_reduction == "sum" else value


TERMS: dict[str, Term] = {"one_class": one_class}

UNTRAINED = Stage("untrained", (), decodes=False, has_centroids=False)  # the stage of a run that trains nothing
STAGES = {
    "one_class": Stage("one_class", ("one_class",), decodes=False, has_centroids=True),
    "joint": Stage("joint", ("one_class", "reconstruction"), decodes=True, has_centroids=True),
}


def add(name: str, pretext: Pretext) -> None:
    """Makes a pretext a stage that configs can name."""
    PRETEXTS[name], TERMS[name] = pretext, of_pretext
    STAGES[name] = Stage(name, (name,), decodes=True, has_centroids=False)


for _name, _pretext in list(PRETEXTS.items()):
    add(_name, _pretext)


def last(config) -> Stage:
    """The stage whose model is scored with."""
    return STAGES[config.stages[-1]] if config.stages else UNTRAINED
