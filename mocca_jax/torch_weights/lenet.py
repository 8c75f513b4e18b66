"""The published CIFAR-10 network's weights."""

from typing import Any

from mocca_jax.models import lenet
from mocca_jax.torch_weights import convert
from mocca_jax.torch_weights.convert import Names, StateDict


def lenet_variables(state_dict: StateDict, image_side: int = 32) -> tuple[dict[str, Any], int]:
    """The CIFAR-10 auto-encoder's or encoder's `params` and `batch_stats`, and how many arrays were moved.

    Args:
        state_dict: the published names; with only the encoder's names (prefixed or not), only the encoder's
            variables come out, which is what `method="encode"` needs. `num_batches_tracked` is ignored.
        image_side: of the images the weights were trained on.

    Returns:
        `{"params": ..., "batch_stats": ...}` for `models.AutoEncoder`, and the count.

    Raises:
        UserError: an array is missing, unknown or of the wrong shape; all are listed.
    """
    arrays, whole = convert.prefixed(state_dict)
    names = _lenet_encoder(image_side // 8) | (_lenet_decoder() if whole else {})

    def network(moved):
        code_size = moved["params/encoder/linear/kernel"].shape[-1]
        channels = moved["params/encoder/conv1/kernel"].shape[2]
        return {"encoder": "lenet", "head": "mean", "code_size": code_size}, (image_side, image_side, channels), ()

    return convert.variables(arrays, names, network, "CIFAR-10")


def _lenet_encoder(side: int) -> Names:
    names = {}
    for i in range(1, len(lenet.WIDTHS) + 1):
        names[f"encoder.conv{i}.weight"] = (f"params/encoder/conv{i}/kernel", convert.conv)
        names |= convert.statistics(f"encoder.bnd{i}", f"encoder/norm{i}")
    names["encoder.fc1.weight"] = ("params/encoder/linear/kernel", lambda w: convert.linear_on_image(w, side, side))
    return names


def _lenet_decoder() -> Names:
    names = convert.statistics("bn1d", "decoder/code_norm1") | convert.statistics("decoder.bn1d", "decoder/code_norm2")
    for i in range(1, len(lenet.WIDTHS) + 2):
        names[f"decoder.deconv{i}.weight"] = (f"params/decoder/conv{i}/kernel", convert.transposed_conv)
    for i in range(1, len(lenet.WIDTHS) + 1):
        names |= convert.statistics(f"decoder.bnd{i + 3}", f"decoder/norm{i}")
    return names
