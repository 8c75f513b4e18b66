"""Whether a stream of pictures still looks like the normal ones, tested at any time: a conformal test martingale.

As long as stream and normal pictures come in a random order, the p-values below are independent and uniform (Vovk,
Nouretdinov and Gammerman, "Testing exchangeability on-line", 2003). Who bets on them with one unit of money and never
has to pay in expects to keep one unit, and owns 1 / alpha at any time with a probability of at most alpha (Ville's
inequality). So wealth is evidence: it may be looked at after every picture, for as long as one likes.
"""

import numpy as np

JUMP = 0.01  # of the money is spread anew over the bets before each p-value
BETS = (-1.0, 0.0, 1.0)  # on small p-values, on none, on large ones


def online_p_values(
    normal: np.ndarray, stream: np.ndarray, rng: np.random.Generator, rounding: float = 0.0
) -> np.ndarray:
    """`[S]` in (0, 1): where each score stands among the normal ones and those of the stream before it.

    A share at random of those that are as large counts as larger: so the p-values are uniform where there are ties.
    That normal pictures are compared with all along would make p-values dependent: a set that happens to hold few
    large scores makes all of them a little too small, and a long stream brings that to light, as if it were drift.

    Args:
        normal: `[n]`, scores of the normal pictures, larger = more anomalous.
        stream: `[S]`, scores in the order in which they came.
        rng: for the ties.
        rounding: scores that are no further apart count as the same.

    Example:
        >>> online_p_values(np.array([1.0, 2.0, 3.0]), np.array([2.5, 9.0]), np.random.default_rng(0)).round(2).tolist()
        [0.41, 0.05]
    """
    ordered, found = np.sort(np.asarray(normal, np.float64)), np.empty(len(stream))
    for number, score in enumerate(np.asarray(stream, np.float64)):
        low, high = (
            np.searchsorted(ordered, score - rounding, "left"),
            np.searchsorted(ordered, score + rounding, "right"),
        )
        found[number] = (len(ordered) - high + rng.uniform() * (high - low + 1)) / (len(ordered) + 1)
        ordered = np.insert(ordered, np.searchsorted(ordered, score), score)
    return found


def wealth(p_values: np.ndarray) -> np.ndarray:
    """`[S]`: what one unit of money has become after each p-value, by bets on small and on large ones: evidence.

    The Simple Jumper (Vovk, Petej, Nouretdinov, Ahlberg, Carlsson and Gammerman, "Retrain or not retrain: conformal
    test martingales for change-point detection", 2021): money on the bet b grows by 1 + b (p - 1/2), and a share of it
    jumps to the others each time. One p-value moves it by half at the most: some defects among good pictures do not
    make a drift.

    Example:
        >>> wealth(np.array([0.5, 0.0])).round(3).tolist()
        [1.0, 1.0]
        >>> bool(wealth(np.full(30, 0.05))[-1] > 100)
        True
    """
    bets, capital, found = np.array(BETS), np.full(len(BETS), 1 / len(BETS)), np.empty(len(p_values))
    for number, p_value in enumerate(p_values):
        capital = (1 - JUMP) * capital + JUMP * capital.mean()
        capital = capital * (1 + bets * (p_value - 0.5))
        found[number] = capital.sum()
    return found


def first_alarm(found: np.ndarray, alpha: float) -> int | None:
    """How many p-values it took until `wealth` reached 1 / alpha; None where it never did.

    Example:
        >>> first_alarm(np.array([1.0, 30.0, 120.0, 80.0]), 0.01), first_alarm(np.array([1.0, 2.0]), 0.01)
        (3, None)
    """
    reached = np.flatnonzero(found >= 1 / alpha)
    return int(reached[0]) + 1 if len(reached) else None
