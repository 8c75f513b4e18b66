"""timm's DINOv2 and DINOv3 transformers -> our variables; scales and offsets folded into the linear layers.

DINOv2's own files have the same names but for `mask_token` and `register_tokens`, and are taken too. DINOv3's own files
and those of the `transformers` library have other names, and are not.
"""

from typing import Any

import numpy as np

from mocca_jax.models import vit
from mocca_jax.weights.folding import Folding, StateDict

UNUSED = ("norm.", "fc_norm.", "head.", "mask_token")


def variables(state_dict: StateDict, encoder: str, deepest: int | None = None) -> tuple[dict[str, Any], int]:
    """`{"params": {"encoder": ...}, "batch_stats": {}}` for `models.build`, and how many arrays were used.

    Args:
        state_dict: under timm's names; the last normalisation and a head are ignored where they are there.
        encoder: a name in `vit.SIZES`.
        deepest: the last block that is wanted, None = all.

    Raises:
        UserError: an array is missing, unknown or of the wrong shape; all are listed.
    """
    size, found = vit.SIZES[encoder], Folding(_timms(state_dict), encoder, 0)
    _tokens(found, size)
    patch = found.take("patch_embed.proj.weight", (size.width, 3, size.patch, size.patch))
    bias = found.take("patch_embed.proj.bias", (size.width,))
    if patch is not None and bias is not None:
        found.put("embed/kernel", patch.transpose(2, 3, 1, 0).reshape(-1, size.width), patch.dtype)
        found.put("embed/bias", bias, patch.dtype)
    for index in range(size.depth):
        at, inner = f"blocks.{index}.", vit.WIDENED * size.width
        gammas = ("ls1.gamma", "ls2.gamma") if size.grid else ("gamma_1", "gamma_2")
        ours = f"block{index}/"
        _linear(found, ours + "qkv", at + "attn.qkv", (3 * size.width, size.width), norm=at + "norm1")
        _linear(found, ours + "out", at + "attn.proj", (size.width, size.width), gamma=at + gammas[0])
        _linear(found, ours + "up", at + "mlp.fc1", (inner, size.width), norm=at + "norm2")
        _linear(found, ours + "down", at + "mlp.fc2", (size.width, inner), gamma=at + gammas[1])
    made, count = found.variables(UNUSED)
    return found.up_to(made, "block", deepest), count


def _timms(state_dict: StateDict) -> dict[str, np.ndarray]:
    """DINOv2's own names of a network with registers -> timm's; biases of queries and values joined."""
    arrays = dict(state_dict)
    if "register_tokens" in arrays and np.ndim(arrays.get("pos_embed")) == 3 and "cls_token" in arrays:
        places = arrays.pop("pos_embed")
        arrays["reg_token"] = arrays.pop("register_tokens")
        arrays["cls_token"], arrays["pos_embed"] = arrays["cls_token"] + places[:, :1], places[:, 1:]
    for name in [name for name in arrays if name.endswith("attn.q_bias")]:
        start = name.removesuffix("q_bias")
        if f"{start}v_bias" in arrays:
            query, value = arrays.pop(name), arrays.pop(f"{start}v_bias")
            arrays[f"{start}qkv.bias"] = np.concatenate([query, np.zeros_like(query), value])
    return arrays


def _tokens(found: Folding, size: vit.Size) -> None:
    """Class token, registers and embeddings of places; without registers the class token has a place too."""
    first = [found.take("cls_token", (1, 1, size.width))]
    if size.registers:
        first.append(found.take("reg_token", (1, size.registers, size.width)))
    if any(token is None for token in first):
        return
    tokens = np.concatenate([token[0].astype(np.float64) for token in first])
    if size.grid:
        own = 0 if size.registers else 1
        places = found.take("pos_embed", (1, own + size.grid**2, size.width))
        if places is None:
            return
        tokens[:own] += places[0, :own]
        found.put("places", places[0, own:].reshape(size.grid, size.grid, size.width), places.dtype)
    found.put("first", tokens, first[0].dtype)


def _linear(
    found: Folding, ours: str, theirs: str, shape: tuple[int, int], norm: str | None = None, gamma: str | None = None
) -> None:
    """A linear layer, behind a layer-norm's scale and offset or before the scale `gamma` of its branch."""
    weight = found.take(f"{theirs}.weight", shape)
    without = theirs.endswith("qkv") and f"{theirs}.bias" not in found.arrays
    bias = np.zeros(shape[0]) if without else found.take(f"{theirs}.bias", shape[:1])
    before = [found.take(f"{norm}.{part}", shape[1:]) for part in ("weight", "bias")] if norm else []
    after = found.take(gamma, shape[:1]) if gamma else np.ones(shape[0])
    if any(array is None for array in (weight, bias, after, *before)):
        return
    kernel = weight.T.astype(np.float64) * after
    bias = bias * after.astype(np.float64)
    if before:
        scale, offset = before
        bias, kernel = bias + offset.astype(np.float64) @ kernel, scale.astype(np.float64)[:, None] * kernel
    found.put(f"{ours}/kernel", kernel, weight.dtype)
    found.put(f"{ours}/bias", bias, weight.dtype)
