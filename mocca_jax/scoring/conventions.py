"""scikit-learn's conventions of an outlier detector, on top of `score`, `predict` and a threshold."""

from typing import Any

import numpy as np

from mocca_jax.errors import UserError


class OutlierConventions:
    """What scikit-learn expects of an outlier detector beside `fit` and `predict`."""

    def score_samples(self, pictures: Any) -> np.ndarray:
        """`-score`, smaller = more anomalous."""
        return -self.score(pictures)

    def decision_function(self, pictures: Any) -> np.ndarray:
        """Threshold - score, below 0 = anomalous."""
        return self._calibrated().threshold - self.score(pictures)

    def outlier_labels(self, pictures: Any) -> np.ndarray:
        """What scikit-learn's outlier detectors return from `predict`: -1 = anomalous, +1 = normal."""
        return np.where(self.predict(pictures), -1, 1)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the detector was made of."""
        del deep  # none of it has parameters of its own
        return dict(self._given)

    def set_params(self, **params: Any) -> "OutlierConventions":
        """Changes what `get_params` names, and returns the detector.

        Raises:
            UserError: there is no such parameter, or its value is refused; nothing is changed then.
        """
        for name in params:
            check("parameter", name, tuple(self._given))
        given = self._given | params
        if given["content"] is not self.content:
            vars(self).update(vars(type(self)(**given)) | {"_run": self._run})
        self._decide(given["by"], given["alpha"])
        self._given = given
        return self


def check(what: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises UserError where a value is none of those that are known."""
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{what} = {value!r}: it is one of {', '.join(map(repr, known))}")
