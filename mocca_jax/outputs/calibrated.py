"""How a detector decides, from what its run has stored."""

import numpy as np

from mocca_jax.errors import UserError
from mocca_jax.method.threshold import Calibration
from mocca_jax.outputs import bundle, decision

NOTHING_HELD_OUT = (
    "this run held no normal samples out, so there is neither threshold nor p-value: only `score`. Train with "
    "heldout_fraction > 0, which runs on folders and videos have."
)

NO_MAPS = (
    "this run made no anomaly maps: they need a run on a folder of images with config.maps and heldout_fraction > 0"
)


def of(content: bundle.Content, by: str, alpha: float | None = None) -> Calibration | None:
    """Decisions by score or map, at this alpha or the run's; None where nothing was held out.

    Raises:
        UserError: the run made no maps, or held too few out for this alpha.
    """
    if by == decision.MAP and content.map_heldout is None:
        raise UserError("by = 'map': this run made no anomaly maps; leave it out")
    decisive = content.map_heldout if by == decision.MAP else content.heldout
    if decisive is None:
        if alpha is not None:
            raise UserError(f"alpha = {alpha!r}: {NOTHING_HELD_OUT}")
        return None
    rounding = content.rounding.get(by, 0.0)
    own = Calibration(decisive, content.config.alpha, rounding)
    if alpha is None:
        return own
    decided(own, np.zeros(1), alpha)  # raises where too few are held out
    return Calibration(decisive, alpha, rounding)


def needed(calibration: Calibration | None) -> Calibration:
    """Raises UserError where there is none."""
    if calibration is None:
        raise UserError(NOTHING_HELD_OUT)
    return calibration


def decided(calibration: Calibration, scores: np.ndarray, alpha: float | None) -> np.ndarray:
    """`Calibration.is_anomalous`; raises `UserError` where it raises `ValueError`."""
    try:
        return calibration.is_anomalous(scores, alpha)
    except ValueError as error:
        raise UserError(str(error)) from error
