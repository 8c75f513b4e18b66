"""Configs: what fields there are, what they may hold, how a config is stored and compared.

A config is a `ml_collections.ConfigDict`: flat, complete, with one sub-dict per training stage. `check` is
called on every config before anything else happens.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from mocca_jax.errors import UserError

Rule = tuple[Callable[[Any], bool], str]


def _integer(low: int, high: float = math.inf) -> Rule:
    text = f"a whole number, at least {low}" if high == math.inf else f"a whole number from {low} to {high}"
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, text


def _number(accepts: Callable[[float], bool], text: str) -> Rule:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and accepts(v), text


def _choice(*names: str) -> Rule:
    return lambda v: v in names, "one of " + ", ".join(repr(n) for n in names)


def _integers(low: int, unique: bool) -> Rule:
    def accepts(value):
        whole = isinstance(value, tuple | list) and all(_integer(low)[0](v) for v in value)
        return whole and (not unique or len(set(value)) == len(value))

    return accepts, f"a tuple of{' different' if unique else ''} whole numbers, at least {low} each"


def _is_interval(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(isinstance(v, int | float) for v in value) and value[0] <= value[1]


_BOOL: Rule = (lambda v: isinstance(v, bool), "True or False")
_TEXT: Rule = (lambda v: isinstance(v, str), "a text")
_POSITIVE = _number(lambda v: 0 < v < math.inf, "a number above 0")
_NOT_NEGATIVE = _number(lambda v: 0 <= v < math.inf, "a number, 0 or above")

FIELDS: dict[str, Rule] = {
    "data": _TEXT,
    "data_dir": _TEXT,
    "encoder": _TEXT,
    "head": _TEXT,
    "code_size": _integer(1),
    "layers": _integers(0, unique=True),
    "formulation": _choice("auto", "plain", "rewritten"),
    "stages": (
        lambda v: isinstance(v, tuple | list) and len(v) > 0 and len(set(v)) == len(v),
        "a tuple of different stage names",
    ),
    "transfer": _BOOL,
    "boundary": _TEXT,
    "nu": _number(lambda v: 0 <= v <= 1, "a number from 0 to 1, above 0 for the soft boundary"),
    "layer_reduction": _choice("mean", "sum"),
    "hard_over_nu": _BOOL,
    "radius_warmup_epochs": _integer(0),
    "radius_interval": _integer(1),
    "centroid_push": _NOT_NEGATIVE,
    "score": _choice("distance", "reconstruction", "combined"),
    "score_norm": _choice("squared", "l2"),
    "batch_size": _integer(1),
    "seed": _integer(0, 2**31 - 1),
    "checkpoint_seconds": _NOT_NEGATIVE,
    "accumulation": _integer(1),
    "rematerialisation": _BOOL,
    "compute_dtype": _choice("float32", "bfloat16"),
}
# Fields that came after the first recorded runs, with the value that changes nothing. A config may lack them, and one
# that has them at this value is the same config: hashes and folders of earlier runs stay good.
LATER: dict[str, Any] = {"accumulation": 1, "rematerialisation": False, "compute_dtype": "float32"}
_CLASSES: dict[str, Rule] = {"normal_class": _integer(0, 9), "scaling": _choice("published", "data")}
_IMAGES: dict[str, Rule] = {
    "resize": _integer(8),
    "fit": _choice("crop", "stretch"),
    "patch": _integer(0),
    "rotation": (_is_interval, "two angles in degrees, the smaller first"),
    "repeats": _integer(1),
    "heldout_fraction": _number(lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "split_seed": _integer(0, 2**31 - 1),
    "alpha": _number(lambda v: 0 < v < 1, "a number between 0 and 1"),
    "unreadable": _choice("error", "skip"),
    "maps": (
        lambda v: isinstance(v, tuple | list) and all(isinstance(n, str) for n in v),
        "a tuple of names of methods, () for no anomaly maps",
    ),
    "map_stride": _integer(1),
    "overlays": _integer(0),
}
_VIDEO: dict[str, Rule] = {
    "frame_size": (
        lambda v: isinstance(v, tuple | list) and len(v) == 2 and all(_integer(8)[0](n) for n in v),
        "two whole numbers, rows and columns, at least 8 each",
    ),
    "gray": _BOOL,
    "frame_differences": _choice("none", "signed", "absolute"),
    "clip_length": _integer(2),
    "clip_stride": _integer(1),
    "clips_per_epoch": _integer(1),
    "heldout_fraction": _number(lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "split_seed": _integer(0, 2**31 - 1),
    "alpha": _number(lambda v: 0 < v < 1, "a number between 0 and 1"),
    "planted": (
        lambda v: isinstance(v, tuple | list) and set(v) <= {"speed2", "speed3", "backwards", "object"},
        "a tuple of 'speed2', 'speed3', 'backwards', 'object', () for no made-up anomalies",
    ),
    "reconstruction_weight": _NOT_NEGATIVE,
    "lstm_size": _integer(1),
    "lstm_layers": _integer(1),
    "lstm_bidirectional": _BOOL,
    "lstm_dropout": _number(lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "cells": (
        lambda v: isinstance(v, tuple | list) and len(v) == 2 and all(_integer(1)[0](n) for n in v),
        "two whole numbers, rows and columns, at least 1 each",
    ),
}
DATA_FIELDS: dict[str, dict[str, Rule]] = {  # data sets, modules of mocca_jax.data, and the fields that only they have
    "cifar10": _CLASSES,
    "digits": _CLASSES,
    "synthetic": _CLASSES,
    "folder": _IMAGES,
    "mvtec": {"category": _TEXT, **_IMAGES},
    "moving": {"videos": _integer(2), **_VIDEO},
    "video": {"layout": _choice("auto", "shanghaitech", "ucsd", "folder"), "foreground": _BOOL, **_VIDEO},
}
STAGE_FIELDS: dict[str, Rule] = {
    "epochs": _integer(0),
    "learning_rate": _POSITIVE,
    "milestones": _integers(1, unique=True),
    "weight_decay": _NOT_NEGATIVE,
    "batch_norm": _choice("train", "eval"),
}


def check(config: ConfigDict) -> None:
    """Raises `UserError` with every fault of a config: unknown, missing, wrong kind, out of range."""
    stages = config.get("stages", ())
    stages = [s for s in stages if isinstance(s, str)] if isinstance(stages, tuple | list) else []
    flat = {k: v for k, v in config.items() if not isinstance(v, ConfigDict)}
    known = DATA_FIELDS.get(flat.get("data"))
    faults = _faults(flat, FIELDS | known) if known is not None else []
    if known is None:
        faults = [f"data = {flat.get('data')!r}: unknown data set{suggestion(str(flat.get('data')), DATA_FIELDS)}"]
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            faults += _faults(dict(value), STAGE_FIELDS, prefix=f"{name}.")
    faults += [f"{s}: the stage has no settings of its own" for s in stages if s not in config]
    if not faults:
        faults = _conflicts(config)
    if faults:
        raise UserError("the config cannot be used:\n  " + "\n  ".join(faults))


def _faults(values: dict[str, Any], rules: dict[str, Rule], prefix: str = "") -> list[str]:
    faults = [f"{prefix}{n}: missing; it is {rules[n][1]}" for n in rules if n not in values and n not in LATER]
    for name, value in values.items():
        if name not in rules:
            faults.append(f"{prefix}{name}: unknown field{suggestion(name, rules)}")
        elif not rules[name][0](value):
            faults.append(f"{prefix}{name} = {value!r}: must be {rules[name][1]}")
    return faults


def _conflicts(config: ConfigDict) -> list[str]:
    faults = []
    last = config.stages[-1]
    distances = {"one_class", "joint"} & set(config.stages)
    if distances and not config.layers:
        faults.append(f"layers = (): the stage {min(distances)} needs at least one layer")
    if config.boundary == "soft" and config.nu == 0:
        faults.append("nu = 0: the soft boundary divides by nu; take a value in (0, 1], or boundary='hard'")
    if config.score == "distance" and not distances:
        faults.append("score = 'distance': no stage trains distances; add 'one_class' to stages")
    if config.score == "reconstruction" and last not in ("reconstruction", "joint"):
        faults.append("score = 'reconstruction': the last stage must be 'reconstruction' or 'joint'")
    if config.score == "combined" and last != "joint":
        faults.append("score = 'combined': the last stage must be 'joint'")
    if config.score == "combined" and not config.get("heldout_fraction", 0):
        faults.append("score = 'combined': it is scaled by held-out normal videos; heldout_fraction must be above 0")
    return faults


def suggestion(name: str, known) -> str:
    """`; did you mean 'x'?` for the nearest known name, or the list of all."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"


def setting(config: ConfigDict, name: str) -> Any:
    """A field of `LATER`, which the config may lack."""
    return config.get(name, LATER[name])


def as_dict(config: ConfigDict) -> dict[str, Any]:
    """Plain JSON values: tuples become lists; without fields of `LATER` that change nothing."""
    return _without_neutral(json.loads(config.to_json(sort_keys=True)))


def _without_neutral(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}


def from_dict(values: dict[str, Any]) -> ConfigDict:
    """The config that was stored as `values`.

    Raises:
        UserError: its names cannot be those of fields.
    """
    try:
        return ConfigDict(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"the stored config is damaged: {error}") from error


def digest(config: ConfigDict) -> str:
    """Twelve hex digits that tell configs apart."""
    return hashlib.sha256(json.dumps(as_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[str]:
    """One line per field that differs between two configs in JSON form."""
    lines = []
    ours, theirs = _without_neutral(ours), _without_neutral(theirs)
    for name in sorted(ours.keys() | theirs.keys()):
        mine, other = (values.get(name, LATER.get(name, "absent")) for values in (ours, theirs))
        if isinstance(mine, dict) and isinstance(other, dict):
            lines += differences(mine, other, f"{prefix}{name}.")
        elif mine != other:
            lines.append(f"{prefix}{name}: {other!r} there, {mine!r} here")
    return lines
