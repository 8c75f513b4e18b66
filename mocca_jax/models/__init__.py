"""Networks: build one from a config, look at what it computes.

A model has two methods: `model.apply(variables, image, mask, train)` reconstructs an image, and
`method="encode"` runs the encoder alone, for which the encoder's variables are enough. Either way the
selected layers' feature vectors are sown as `features/layer{j}`.
"""

import functools
from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp

from mocca_jax.config import setting, suggestion
from mocca_jax.models import (
    efficientnet,
    flow,
    heads,
    imagenet_resnet,
    lenet,
    modes,
    pretrained,
    resnet,
    thin_resnet,
    video_resnet,
    vit,
)

ENCODERS: dict[str, ModuleType | pretrained.Network] = {
    "lenet": lenet,
    "resnet": resnet,
    "video_resnet": video_resnet,
    flow.NAME: flow,
    **thin_resnet.NETWORKS,
    **efficientnet.NETWORKS,
    **imagenet_resnet.NETWORKS,
    **vit.NETWORKS,
}


class AutoEncoder(nn.Module):
    """An encoder and the decoder that undoes it, or what answers another pretext's question from its code."""

    encoder: nn.Module
    decoder: nn.Module
    dtype: str = "float32"  # of convolutions and matrix products
    rematerialised: bool = False  # blocks are computed again for the gradient

    def __call__(self, image: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Image `[B, ...]`, mask `[B]` -> reconstruction of the image's shape, or answers `[B, outputs]`."""
        with modes.computed(self.dtype, self.rematerialised):
            return self.decoder(self.encoder(image, mask, train), mask, train)

    def encode(self, image: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Image `[B, ...]`, mask `[B]` -> features, sown; nothing beyond the deepest selected layer is computed.

        Returns the code `[B, code_size]` where no layer is selected, or the deepest layer's activation.
        """
        with modes.computed(self.dtype, self.rematerialised):
            return self.encoder(image, mask, train, features_only=True)


def layer_name(layer: int) -> str:
    """The paper's layer index -> its name everywhere: in features, centroids, logs and tables."""
    return f"layer{layer}"


def network(config) -> ModuleType | pretrained.Network:
    """The network that a config names: `build`, `LAYERS`, `MAPS`, `cell_centre`."""
    return lookup(ENCODERS, config.encoder, "encoder")


def build(
    config, image_shape: tuple[int, ...], layers: tuple[int, ...], head: str | None = None, outputs: int = 0
) -> AutoEncoder:
    """The auto-encoder that a config describes, emitting features at `layers`; `head` replaces the config's.

    With `outputs`, so many numbers are made of the code in place of a picture.

    Raises:
        ValueError: a name is not in its table, or the sizes do not fit the network.
    """
    rewritten = formulation_for(config.formulation) == "rewritten"
    made = heads.make(head or config.head, config)
    encoder, decoder = network(config).build(tuple(image_shape), config.code_size, tuple(layers), made, rewritten)
    parts = encoder, heads.Answers(outputs) if outputs else decoder
    return AutoEncoder(*parts, setting(config, "compute_dtype"), setting(config, "rematerialisation"))


def check_decoder(config, decodes: bool) -> None:
    """Raises ValueError where a stage that `decodes` meets an encoder without a decoder; says what to do."""
    if decodes and not getattr(network(config), "DECODES", True):
        raise ValueError(pretrained.no_decoder(config.encoder))


def check_normalize(config) -> None:
    """Raises ValueError where a pretrained encoder would get another input than it was trained on."""
    wanted = getattr(network(config), "normalize", None)
    if wanted and setting(config, "normalize") != wanted:
        raise ValueError(
            f"encoder = {config.encoder!r} was trained on inputs of normalize = {wanted!r}, not "
            f"{setting(config, 'normalize')!r}"
        )


def formulation_for(formulation: str, platform: str | None = None) -> str:
    """A config's `formulation` on a platform: of `"auto"`, `"rewritten"` on a CPU, `"plain"` on all others.

    A network is built for one platform. Whoever lowers or exports a program for another than this process's says so by
    the config's field: `config.formulation = formulation_for(config.formulation, "cuda")`.

    Args:
        formulation: "auto", "plain" or "rewritten"; the last two hold everywhere.
        platform: "cpu", "cuda", "rocm", "tpu", ...; None: that of this process.

    Example:
        >>> formulation_for("auto", "cpu"), formulation_for("auto", "tpu"), formulation_for("rewritten", "tpu")
        ('rewritten', 'plain', 'rewritten')
    """
    if formulation != "auto":
        return formulation
    return "rewritten" if (platform or jax.default_backend()) == "cpu" else "plain"


def init_variables(model: AutoEncoder, image_shape: tuple[int, ...], key: jax.Array, method: str) -> dict:
    """Fresh `params` and `batch_stats` for what `method` uses; features are dropped.

    A model that normalises nothing still has an (empty) `batch_stats`.
    """
    image, mask = jnp.zeros((2, *image_shape)), jnp.ones(2)
    # Random numbers take XLA's CPU compiler very long, four times less at this level; their bits are the same. Inside
    # of another compiled function no such choice is allowed.
    outermost = not isinstance(key, jax.core.Tracer)
    options = {"xla_backend_optimization_level": 1} if outermost and jax.default_backend() == "cpu" else None

    @functools.partial(jax.jit, compiler_options=options)
    def init(key):
        variables = model.init(key, image, mask, False, method=method)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    return init(key)


def lookup(table: dict, name: str, what: str):
    """`table[name]`, or a ValueError that says which name is near, or which there are."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}{suggestion(name, table)}")
    return table[name]
