"""How fast frames follow each other: movement is measured from frame to frame, so it belongs to what was learned."""

MEASURED = 50  # frames that tell how fast a running source is
APART = 1.2  # times as fast, or as slow: more is told


class Pace:
    """Compares how fast frames come with how fast they came in training.

    Args:
        known: frames per second of the training videos; 0 where that is not known.
        every: which frames are taken, as in `arrivals.Settings`.
    """

    def __init__(self, known: float, every: int):
        self._known, self._every = known, every
        self._first, self._steps = 0.0, -1
        self._apart = False

    def push(self, seconds: float | None, begins: bool) -> str:
        """Takes the time of the next frame; returns what there is to tell, "" where there is nothing."""
        if seconds is None or not self._known:
            return ""
        if begins or self._steps < 0:
            self._first, self._steps = seconds, 0
            return ""
        self._steps += 1
        if self._steps < MEASURED or seconds <= self._first:
            return ""
        rate = self._steps / (seconds - self._first)
        self._first, self._steps = seconds, 0
        was, self._apart = self._apart, not 1 / APART <= rate / self._known <= APART
        if self._apart and not was:
            return self._told(rate)
        return f"frames come at {rate:.3g} per second, as in training" if was and not self._apart else ""

    def _told(self, rate: float) -> str:
        times = rate / self._known
        whole = round(times)
        told = f"frames come at {rate:.3g} per second, in training it was {self._known:.3g}: "
        if whole > 1 and 1 / APART <= times / whole <= APART:
            return told + f"everything looks {times:.2g} times as slow. Use --every={whole * self._every}."
        if times > 1:
            return told + f"everything looks {times:.2g} times as slow. Let the source send as many as in training."
        return told + f"everything looks {1 / times:.2g} times as fast. Train on videos with as few, or send more."
