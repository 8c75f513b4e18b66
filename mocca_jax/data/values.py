"""Values of pixels of any type and depth, and how they become 8 bits."""

import numpy as np
from absl import logging

from mocca_jax.errors import UserError

TYPES = (bool, np.uint8, np.uint16, np.int32)  # of arrays, besides floats
CHANNELS = (1, 2, 3, 4)  # of arrays: grey, with opacity; red, green and blue, with opacity
DARK = 14  # bits: values of 16-bit files that need fewer may be those of a 10- or 12-bit camera


def checked(array: np.ndarray) -> np.ndarray:
    """A picture as an array, `[rows, columns]` or `[rows, columns, 3 or 4]`, of a type that `eight_bits` takes.

    Raises:
        UserError: it has another shape or type than pictures have.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in CHANNELS or 0 in array.shape:
        raise UserError(
            f"a picture of shape {array.shape}; wanted are [rows, columns] or [rows, columns, channels], channels "
            "last: 1 or 2 (grey, opacity), 3 or 4 (red, green, blue, opacity), no side zero"
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in TYPES and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"a picture of type {array.dtype}; wanted are uint8, uint16, or floats in [0, 1]")
    if array.ndim == 3 and channels in (1, 2):
        array = array[..., 0]
    return array.astype(np.uint8) * 255 if array.dtype == bool else array


def eight_bits(values: np.ndarray, depth: int) -> np.ndarray:
    """Values of more than 8 bits as uint8; see `decoder.picture`.

    Raises:
        UserError: their range is not known, or does not fit.
    """
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise UserError("it holds NaN or infinite values; wanted are finite floats in [0, 1]")
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise UserError(
                f"floats from {low:.4g} to {high:.4g}: a picture of floats lies in [0, 1]. Values in 0..255 are "
                "passed as uint8: array.round().astype(np.uint8)"
            )
        return (values * 255).round().astype(np.uint8)
    low, high = int(values.min()), int(values.max())
    bits = depth or 16
    if values.dtype != np.uint16 and not depth and (low < 0 or 0 < high < 256 or high >= 2**16):
        raise UserError(
            f"integers of {8 * values.dtype.itemsize} bits from {low} to {high}: their range is not known. Wanted are "
            "8 bits (uint8), 16 (uint16), or the number of bits that count, --config.depth"
        )
    if low < 0 or high >= 2**bits:
        raise UserError(f"values from {low} to {high}; depth = {bits} has room for 0 to {2**bits - 1}")
    if not depth:
        tell_dark(high.bit_length())
    return (values >> (bits - 8)).astype(np.uint8)


def tell_dark(bits: int) -> None:
    """Says once that the largest value of a 16-bit picture takes so few bits."""
    if 0 < bits < DARK:
        logging.log_first_n(
            logging.WARNING,
            "a picture of 16 bits uses %d of them: if its camera has 10, 12 or 14, say so with --config.depth, or few "
            "levels of grey are left",
            1,
            bits,
        )
