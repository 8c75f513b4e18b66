"""Command: finished runs as a web service on this machine.

    mocca serve runs/leather --port=8000
    mocca serve runs/parts            # all runs in that folder: POST /score?product=leather

- `POST /score`: a picture file, as the body or in a form with the one field `file`; answers score, p-value, decision,
  each layer's part, the regions that are unusual; `?map=true` adds the picture under its anomaly map as a PNG, base64.
- `GET /`: a page to drop pictures on, to look at them and their maps.
- `GET /health`: whether it answers; `GET /ready`: whether requests should be sent now, 503 while it warms up or ends.
- `GET /products`: what it judges, thresholds, digests; `GET /version`: which program and model it is.
- `GET /metrics`: what it has counted, for Prometheus.
- `GET /docs`: the interface, to read and to try; it needs no other host.

Requests that come at the same time are scored as one batch. Needs `pip install "mocca_jax[serve]"`. Where the
environment has a MOCCA_API_KEY, every request but /health and /ready has to bring it (`Authorization: Bearer ...` or
`X-API-Key: ...`). It listens to this machine alone unless --host says otherwise, which takes a key, or --insecure. It
knows no encryption: put a proxy before it. When it is stopped (Ctrl-C, SIGTERM) it takes no more requests and answers
those it took.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from mocca_jax import console
from mocca_jax.commands.arguments import add_by, add_place, begin, parser, place, plain_errors
from mocca_jax.commands.service.limits import Limits
from mocca_jax.data import cache
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.training import parallel

LIMITS = {
    "megabytes": "of a body, at most",
    "megapixels": "of a picture, at most",
    "waiting": "requests at once, at most",
    "seconds": "for an answer, at most",
    "idle": "seconds without a byte of a body, at most",
    "upload": "seconds for a whole body, at most",
}


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run, its detector.npz, or a folder of workdirs", type=Path)
    add_by(takes)
    takes.add_argument("--host", default="127.0.0.1", help="address to listen to")
    takes.add_argument("--port", type=int, default=8000, help="port to listen to; 0 for any free one")
    takes.add_argument("--loaded", type=int, default=8, help="of several products: detectors in memory, at most")
    takes.add_argument("--insecure", action="store_true", help="without a key, also where other machines can ask")
    for name, said in LIMITS.items():
        default = getattr(Limits, name)
        takes.add_argument(f"--{name}", type=type(default), default=default, help=said)
    takes.add_argument(
        "--drain", type=float, default=0.0, help="seconds that it still answers, not ready, when told to stop"
    )
    takes.add_argument("--watch", type=Path, help="a folder of this machine: its new pictures appear on the page")
    takes.add_argument(
        "--journal", type=Path, help="where --watch notes what it has judged (default: the run's watched.jsonl)"
    )
    takes.add_argument(
        "--queue", action="store_true", help="pictures may be marked on the page: they are copied to the run's queue/"
    )
    takes.add_argument("--log", choices=("plain", "json"), default="plain", help="json: all lines, one per request")
    options = begin(takes, arguments)
    console.write_json(options.log == "json")
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        limits = Limits(**{name: getattr(options, name) for name in LIMITS})
        if not 0 <= options.drain < math.inf:
            raise UserError(f"--drain={options.drain:g}: seconds, 0 or more")
        try:
            from mocca_jax.commands.service import app, keys, listening, looking, shelf
        except ImportError as error:
            raise UserError(f'{error}. Serving takes pip install "mocca_jax[serve]"') from error
        beside = looking.Beside(watch=options.watch, journal=options.journal, queue=options.queue)
        key = keys.from_environment()
        with listening.bound(options.host, options.port) as sockets:
            if not key and (options.queue or not options.insecure):
                listening.require_key(sockets)
            parallel.configure(0, str(cache.root() / "xla"))
            products, log = shelf.Shelf.at(run, options.by, options.loaded), options.log
            beside = replace(beside, runs=products.runs)
            made = app.make_app(products, limits, key, lines=log == "json", begin_cold=True, beside=beside)
            listening.serve(made, sockets, made.state.lifecycle, options.drain, log, bool(key))


def make_app(detector: Detector, limits: Limits | None = None) -> Any:
    """The service as an ASGI application, see `mocca_jax.commands.service.app`.

    Raises:
        ImportError: FastAPI or what belongs to it is not installed.
        UserError: a model of videos, which scores frames only when their neighbours are known.
    """
    from mocca_jax.commands.service import app, shelf

    return app.make_app(shelf.Shelf.of(detector), limits or Limits())
