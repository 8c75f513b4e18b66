"""The part of the report that says why pictures are flagged."""

import html
from pathlib import Path

from mocca_jax.files import whole
from mocca_jax.report.samples import figure

FILE, FOLDER = "explanations.json", "explanations"
MOST = 4  # that are shown
BESIDE = "Region 1, outlined, and the same place of the good picture that is nearest there"
PLACE, BESIDE_PLACE = (
    "nearest good place",
    "Region 1, outlined, and the good place that is nearest to where it is highest",
)
INTRODUCTION = (
    "Regions have the numbers that they have on the maps above. Their places are in pixels of the pictures as they are "
    "judged, from the left and from the top. The first layers see little of a picture at once, such as texture, the "
    "later ones larger shapes."
)


def section(run: Path) -> list[str]:
    """Nothing where the run has explained nothing, or no picture was flagged."""
    if not (run / FILE).is_file():
        return []
    body = []
    for told in whole.read_json(run / FILE)["pictures"][:MOST]:
        body.append(f"<h3>{html.escape(told['sample'])}</h3>")
        if (path := run / FOLDER / told["picture"]).is_file():
            is_place = any((of.get("nearest") or {}).get("at") for of in told.get("regions", [])[:1])
            body.append(figure(path, BESIDE_PLACE if is_place else BESIDE))
        body += ["<ul>", *(f"<li>{html.escape(sentence)}</li>" for sentence in told["sentences"]), "</ul>"]
    if not body:
        return []
    heading = "<h2>Why the most anomalous pictures are flagged</h2>"
    return [heading, f"<p>{html.escape(INTRODUCTION)}</p>", *body]
