"""Configs: what fields there are, what they may hold, how a config is stored and compared.

A config is a `ml_collections.ConfigDict`: flat, complete, with one sub-dict per training stage. `check` is
called on every config before anything else happens. What each field means stands in `mocca_jax.config.fields`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mocca_jax.config.data_fields import DATA_FIELDS
from mocca_jax.config.fields import FIELDS, LATER, STAGE_FIELDS
from mocca_jax.config.nearest import meant, near, suggestion
from mocca_jax.config.rules import Field
from mocca_jax.errors import UserError

__all__ = [
    "DATA_FIELDS",
    "FIELDS",
    "LATER",
    "STAGE_FIELDS",
    "Field",
    "as_dict",
    "check",
    "differences",
    "digest",
    "fields_of",
    "from_dict",
    "setting",
    "suggestion",
]


UNTRAINED = ("statistics", "motion")  # scores for which nothing is trained

_NEUTRAL = json.loads(json.dumps(LATER))  # as stored: tuples are lists


def check(config: ConfigDict) -> None:
    """Raises `UserError` with every fault of a config: unknown, missing, wrong kind, out of range."""
    stages = config.get("stages", ())
    stages = [s for s in stages if isinstance(s, str)] if isinstance(stages, tuple | list) else []
    name = config.get("data")
    flat = {k: v for k, v in config.items() if not isinstance(v, ConfigDict)}
    if isinstance(name, str) and name in DATA_FIELDS:
        faults = _faults(flat, FIELDS | DATA_FIELDS[name])
    else:
        faults = [f"data = {name!r}: unknown data set{suggestion(str(name), DATA_FIELDS)}"]
    own = {name: dict(value) for name, value in config.items() if isinstance(value, ConfigDict)}
    for name, values in own.items():
        faults += _faults(values, STAGE_FIELDS, prefix=f"{name}.")
    faults += [f"{s}: the stage has no settings of its own{near(s, own)}" for s in stages if s not in config]
    faults += [
        f"stages: {s!r} is a field of configs with data = {name!r}, where no stage can be called so; take 'transforms'"
        for s in stages
        if s in config and s not in own
    ]
    if not faults:
        faults = _conflicts(config)
    if faults:
        raise UserError("the config cannot be used:\n  " + "\n  ".join(faults))


def fields_of(config: ConfigDict) -> dict[str, Field]:
    """Of every field that such a config may have, by its name on the command line (`one_class.epochs`), what it is."""
    known = FIELDS | dict(DATA_FIELDS.get(str(config.get("data")), {}))
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            known |= {f"{name}.{of_stage}": field for of_stage, field in STAGE_FIELDS.items()}
    return {name: Field(*field) for name, field in known.items()}


def _faults(values: dict[str, Any], known: Mapping[str, Field | tuple], prefix: str = "") -> list[str]:
    known = {name: Field(*field) for name, field in known.items()}
    missing = [name for name in known if name not in values and name not in LATER]
    faults = [f"{prefix}{name}: missing; it is {known[name].allowed}" for name in missing]
    for name, value in values.items():
        if name not in known:
            faults.append(f"{prefix}{name}: unknown field{suggestion(name, known)}")
        elif not known[name].accepts(value):
            faults.append(f"{prefix}{name} = {value!r}: must be {known[name].allowed}{meant(known[name], value)}")
    return faults


def _conflicts(config: ConfigDict) -> list[str]:
    faults = []
    if config.get("resize", 1) == 0 and not setting(config, "tile"):
        faults.append("resize = 0: a network takes images of one size; name it, or take tiles: tile = 256")
    if setting(config, "tile") and config.score != "statistics":
        faults.append("tile: only score = 'statistics' looks at tiles; tile must be 0")
    if not config.stages:
        return faults + _untrained_conflicts(config)
    last = config.stages[-1]
    if setting(config, "score_stride") > config.get("clip_length", 1):
        faults.append(
            f"score_stride = {config.score_stride}: frames between two clips of clip_length = {config.clip_length} "
            f"would have no score; it is at most clip_length"
        )
    faults += _pooled_conflicts(config)
    distances = {"one_class", "joint"} & set(config.stages)
    if distances and not config.layers:
        faults.append(f"layers = (): the stage {min(distances)} needs at least one layer")
    if config.boundary == "soft" and config.nu == 0:
        faults.append("nu = 0: the soft boundary divides by nu; take a value in (0, 1], or boundary='hard'")
    if config.score == "motion":
        faults.append("score = 'motion': nothing is trained for it; stages must be ()")
    if config.score == "statistics":
        faults += _statistics_conflicts(config)
        if last in ("one_class", "joint"):
            faults.append(f"score = 'statistics' compares features by place: the last stage is a pretext, not {last!r}")
    if "frame_size" in config and not all(config.frame_size):
        faults.append("frame_size = (0, 0): a network takes frames of one size; name it")
    if config.score == "distance" and not distances and setting(config, "distance") == "centroid":
        faults.append(
            "score = 'distance': no stage trains distances; add 'one_class' to stages, or take distances to "
            "statistics: distance = 'whitened'"
        )
    if config.score == "reconstruction" and last not in ("reconstruction", "joint"):
        faults.append("score = 'reconstruction': the last stage must be 'reconstruction' or 'joint'")
    of_centroids = config.score == "combined" and setting(config, "distance") == "centroid"
    if of_centroids and last != "joint":
        faults.append("score = 'combined': the last stage must be 'joint', or distance other than 'centroid'")
    if of_centroids and not config.get("heldout_fraction", 0):
        faults.append("score = 'combined': it is scaled by held-out normal videos; heldout_fraction must be above 0")
    return faults


def _pooled_conflicts(config: ConfigDict) -> list[str]:
    """Of distances to statistics of pooled features, and of the pretext's loss as the score."""
    faults, last = [], config.stages[-1] if config.stages else ""
    statistics = setting(config, "distance") != "centroid"
    if config.score in ("pretext", "combined") and (statistics or config.score == "pretext"):
        if last in ("", "one_class", "joint"):
            faults.append(f"score = {config.score!r}: the last stage must be a pretext, whose loss is the score")
    elif setting(config, "score_views") != "plain" and not statistics:
        faults.append("score_views: only distances to statistics are averaged over views; it must be 'plain'")
    if not statistics:
        return faults
    if config.score not in ("distance", "combined"):
        faults.append(f"distance = {config.distance!r}: score = {config.score!r} does not use it; take 'distance'")
    if not config.layers:
        faults.append(f"distance = {config.distance!r}: layers must name layers")
    if setting(config, "layer_weights") == "made_up" and not setting(config, "watched"):
        faults.append("layer_weights = 'made_up': anomalies are made up on watched images; watched must be above 0")
    if config.head not in ("mean", "whole"):
        faults.append(f"distance = {config.distance!r}: nothing trains a head; it must be 'mean' or 'whole'")
    return faults


def _untrained_conflicts(config: ConfigDict) -> list[str]:
    if config.score == "distance" and setting(config, "distance") != "centroid":
        return _pooled_conflicts(config)
    if config.score not in UNTRAINED:
        words = " or ".join(map(repr, UNTRAINED))
        return [f"stages = (): score = {config.score!r} is trained; name its stages, or take score = {words}"]
    return _motion_conflicts(config) if config.score == "motion" else _statistics_conflicts(config)


def _motion_conflicts(config: ConfigDict) -> list[str]:
    faults = []
    if config.data != "video":
        faults.append(f"score = 'motion' looks at videos: data must be 'video', not {config.data!r}")
    if config.encoder != "flow":
        faults.append(f"score = 'motion' looks at optical flow: encoder must be 'flow', not {config.encoder!r}")
    if not config.layers:
        faults.append("score = 'motion': layers must name layers")
    if config.get("heldout_fraction", 0):
        faults.append("score = 'motion' leaves every video out once: heldout_fraction must be 0")
    if config.get("foreground", False):
        faults.append("score = 'motion' looks at whole frames: foreground must be False")
    return faults


def _statistics_conflicts(config: ConfigDict) -> list[str]:
    faults = []
    if not config.layers or not setting(config, "fine_layers"):
        faults.append("score = 'statistics': layers and fine_layers must name layers")
    if config.get("patch", 0):
        faults.append("score = 'statistics' looks at whole images, or at tiles (field tile): patch must be 0")
    if config.get("fit", "stretch") == "canvas" or config.get("heldout_fraction", 0):
        faults.append("score = 'statistics' leaves every image out once: heldout_fraction must be 0")
    return faults + _tile_conflicts(config)


def _tile_conflicts(config: ConfigDict) -> list[str]:
    tile, overlap, cell = (setting(config, name) for name in ("tile", "overlap", "cell"))
    if not tile:
        return ["overlap: without tiles (tile = 0) nothing overlaps; overlap must be 0"] if overlap else []
    faults = []
    if cell % 4:
        faults.append(f"cell = {cell}: with tiles it must be a multiple of 4")
    faults += [
        f"{name} = {value}: must be a multiple of cell = {cell}"
        for name, value in (("tile", tile), ("overlap", overlap))
        if value % cell
    ]
    if 2 * overlap > tile:
        faults.append(f"overlap = {overlap}: at most half of tile = {tile}")
    if 0 < config.resize < tile:
        faults.append(f"tile = {tile} is larger than resize = {config.resize}, the shorter side of an image")
    return faults


def setting(config: ConfigDict, name: str) -> Any:
    """A field of `LATER`, which the config may lack."""
    return config.get(name, LATER[name])


def as_dict(config: ConfigDict) -> dict[str, Any]:
    """Plain JSON values: tuples become lists; without fields of `LATER` that change nothing."""
    return _without_neutral(json.loads(config.to_json(sort_keys=True)))


def _without_neutral(values: dict[str, Any]) -> dict[str, Any]:
    plain = {name: _without_neutral(value) if isinstance(value, dict) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if name not in _NEUTRAL or value != _NEUTRAL[name]}


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
        mine, other = (values.get(name, _NEUTRAL.get(name, "absent")) for values in (ours, theirs))
        if isinstance(mine, dict) and isinstance(other, dict):
            lines += differences(mine, other, f"{prefix}{name}.")
        elif mine != other:
            lines.append(f"{prefix}{name}: {other!r} there, {mine!r} here")
    return lines
