"""The moments of a run's videos that are worth a look, on its page."""

import html
from pathlib import Path

from mocca_jax.files import whole
from mocca_jax.outputs import events
from mocca_jax.outputs.events import Event
from mocca_jax.report.samples import figure
from mocca_jax.scoring import moving

TABLE, FOLDER, LIST = "events.csv", "moments", "moments.json"
MOST = 12
EVENTS, HIGHEST, NORMAL = "events", "highest of the test videos", "highest of the normal videos"
SAID = {
    EVENTS: "Above the threshold, the most anomalous event first. {count} event(s) of the test videos are in {table}.",
    HIGHEST: "Nothing in the test videos is above the threshold, if there is one. These are their highest scores.",
    NORMAL: "These are the highest scores of the normal videos, from a detector that had not seen them: look whether "
    "these are really normal. What is not, take out of the training videos. There are no test videos, so nothing is "
    "said about how well anything unusual is found.",
}
LABELS = {1: "labelled anomalous", 0: "labelled normal"}
PARTS = (
    "The score is the largest of its parts for cells, and what is slower than usual on top. Cells are squares of so "
    "many pixels whose movement is looked at: small ones see what is small and fast, large ones what is large (films "
    "with a side over 640 pixels are halved first, until none is). Slower than usual is the picture as a whole, so no "
    "place is framed."
)


def picture(rank: int) -> str:
    """The name of the file with the moment of this rank, from 0."""
    return f"{rank + 1:02d}.jpg"


def keep(run: Path, kind: str, shown: list[Event], labels: list[int], count: int) -> None:
    """Writes what the page is made of, beside the pictures.

    Args:
        run: its folder.
        kind: `EVENTS`, `HIGHEST` or `NORMAL`.
        shown: moments, in order.
        labels: of these: 1 anomalous, 0 normal, -1 not known.
        count: of all events.
    """
    (run / FOLDER).mkdir(exist_ok=True)
    labelled = [event.as_dict() | {"label": label} for event, label in zip(shown, labels, strict=True)]
    whole.write_json(run / FOLDER / LIST, {"kind": kind, "count": count, "shown": labelled})


def section(run: Path, result: dict) -> list[str]:
    """A sheet of these moments, as HTML; nothing where the run left none."""
    if not (run / FOLDER / LIST).is_file():
        return []
    found = whole.read_json(run / FOLDER / LIST)
    by_movement = moving.is_used(result["config"])
    cards = []
    for rank, moment in enumerate(found["shown"]):
        said = _says(moment, found["kind"], by_movement)
        path = run / FOLDER / picture(rank)
        cards.append(
            figure(path, said) if path.is_file() else f"<figure><figcaption>{html.escape(said)}</figcaption></figure>"
        )
    lead = SAID[found["kind"]].format(count=found["count"], table=TABLE)
    boxed = any(moment["box"] for moment in found["shown"])
    lead += " Framed in red: where the frame is most unusual." if boxed else ""
    explained = [f"<p>{PARTS}</p>"] if by_movement else []
    return [
        "<h2>Moments worth a look</h2>",
        f"<p>{lead}</p>",
        '<div class="cards stills">',
        *cards,
        "</div>",
        *explained,
    ]


def _says(moment: dict, kind: str, by_movement: bool) -> str:
    """The caption: which video, when, how unusual, what it was called, what spoke loudest."""
    parts = [moment["video"], f"frame {moment['peak']}"]
    if moment["peak_seconds"] is not None:
        parts.append(f"at {events.moment_of(moment['peak'], moment['peak_seconds'])}")
    if moment["end"] > moment["start"]:
        start = events.moment_of(moment["start"], moment["start_seconds"])
        end = events.moment_of(moment["end"], moment["end_seconds"])
        parts.append(f"event from {start} to {end}")
    parts.append(f"score {moment['score']:.4g}")
    if moment["p_value"] is not None:
        parts.append(f"p-value {moment['p_value']:.3g}")
    if kind != NORMAL and moment["label"] in LABELS:
        parts.append(LABELS[moment["label"]])
    if moment["part"]:
        parts.append(f"loudest: {moving.called(moment['part']) if by_movement else moment['part']}")
    return ", ".join(parts)
