"""What a service counts, in Prometheus' text format: by route, status and product; nothing else of a request.

Each service has a registry of its own. `mocca_p_value` is there to see drift: of good pictures that are taken as those
in training, each range of p-values gets its share.
"""

from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import generate_latest as _text

from mocca_jax.detector import Findings

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """The counters of one service.

    Args:
        products: all that it knows; they stand in the text from the start.
        waiting, loaded, ready: asked whenever the text is: requests under way, detectors in memory, readiness.
    """

    def __init__(
        self,
        products: Iterable[str],
        waiting: Callable[[], int],
        loaded: Callable[[], int],
        ready: Callable[[], bool],
    ):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        of_product, of_route = {"labelnames": ["product"], "registry": registry}, ["route", "product"]
        self._requests = Counter(
            "mocca_requests", "Requests that were answered", ["route", "status", "product"], registry=registry
        )
        self._seconds = Histogram(
            "mocca_request_seconds", "Until the answer", of_route, registry=registry, buckets=SECONDS
        )
        self._pictures = Counter("mocca_pictures_scored", "Pictures that were scored", **of_product)
        self._anomalous = Counter("mocca_pictures_anomalous", "Those of them that are anomalous", **of_product)
        self._batches = Histogram("mocca_batch_pictures", "Pictures scored at once", **of_product, buckets=BATCHES)
        self._p_values = Histogram("mocca_p_value", "P-values of scored pictures", **of_product, buckets=P_VALUES)
        for name, said, now in (
            ("mocca_requests_waiting", "Requests to score that are under way", waiting),
            ("mocca_products_loaded", "Detectors in memory", loaded),
            ("mocca_ready", "Whether requests should be sent", ready),
        ):
            Gauge(name, said, registry=registry).set_function(now)
        for product in products:
            for each in (self._pictures, self._anomalous, self._batches, self._p_values):
                each.labels(product)

    def answered(self, route: str, status: int, product: str, seconds: float) -> None:
        """A request; `product` is one that is known, or ""."""
        self._requests.labels(route, status, product).inc()
        self._seconds.labels(route, product).observe(seconds)

    def judged(self, product: str, found: Findings) -> None:
        """A batch of pictures."""
        self._batches.labels(product).observe(len(found.score))
        self._pictures.labels(product).inc(len(found.score))
        if found.anomalous is not None:
            self._anomalous.labels(product).inc(int(np.count_nonzero(found.anomalous)))
            for value in found.p_value.tolist():
                self._p_values.labels(product).observe(value)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return _text(self.registry)
