"""Handing a pre-trained encoder to the next stage, counted."""

from typing import Any

import flax.traverse_util
import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.models.heads import HEAD_PREFIX

Variables = dict[str, Any]


def transfer_encoder(source: Variables, target: Variables) -> tuple[Variables, int]:
    """The target's variables with the encoder's arrays taken from the source.

    Every array of the target's encoder, parameters and statistics, must be in the source with the same shape.
    Heads are new in the target and keep their values.

    Returns:
        The new variables and the number of arrays handed over.

    Raises:
        UserError: arrays are missing or do not fit; all are listed.
    """
    have = flax.traverse_util.flatten_dict(_plain(source), sep="/")
    want = flax.traverse_util.flatten_dict(_plain(target), sep="/")
    moved, faults = {}, []
    for name, value in want.items():
        parts = name.split("/")
        if parts[1] != "encoder" or parts[2].startswith(HEAD_PREFIX):
            continue
        if name not in have:
            faults.append(f"{name} {np.shape(value)}: missing")
        elif np.shape(have[name]) != np.shape(value):
            faults.append(f"{name}: {np.shape(have[name])} there, {np.shape(value)} wanted")
        else:
            moved[name] = have[name]
    if faults or not moved:
        raise UserError(
            f"the pre-trained encoder does not fit: {len(moved)} of {len(moved) + len(faults)} arrays found\n  "
            + "\n  ".join(faults)
        )
    handed = flax.traverse_util.unflatten_dict({**want, **moved}, sep="/")
    return {"batch_stats": {}, **handed}, len(moved)  # flattening loses the statistics of a model that has none


def _plain(variables: Variables) -> Variables:
    return {"params": variables["params"], "batch_stats": variables["batch_stats"]}
