"""What goes in and comes out, as /openapi.json describes it."""

from typing import Any

from pydantic import BaseModel, Field

from mocca_jax.commands.service.asking import FIELD

BINARY = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "description": "A picture file as it is, or in a multipart form with one field.",
    "content": {
        "image/*": {"schema": BINARY},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {FIELD: {**BINARY, "description": "the picture file"}},
                "required": [FIELD],
                "additionalProperties": False,
            }
        },
    },
}

PRODUCT = "one of `/products`; where there is one, it is that"
METRICS = {"description": "in Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="what was found, what is wanted and what to do")


class Region(BaseModel):
    """A part of a picture whose map is above the threshold."""

    box: list[int] = Field(description="left, top, width, height in pixels of the picture as it came, upright")
    area: int = Field(description="in pixels of the picture as it came")
    peak: float = Field(description="the largest value of the map within")
    mean: float = Field(description="of the map within")
    weight: float = Field(description="what the map has above its threshold, summed over these pixels")


class Answer(BaseModel):
    """What is known of a picture."""

    product: str
    score: float = Field(description="larger is more anomalous; the scale differs from model to model")
    p_value: float | None = Field(description="share of held-out normal pictures that look at least as anomalous")
    anomalous: bool | None = Field(description="the decision")
    threshold: float | None = Field(description="scores above it are anomalous")
    layers: dict[str, float] = Field(description="each layer's part of the score")
    regions: list[Region] | None = Field(
        description="where an anomalous picture is so, the weightiest first: `box` (left, top, width, height) and "
        "`area` in pixels of the picture as it came, `peak`, `mean` and `weight` of the map within; empty where it is "
        "not anomalous, null where the model has no maps"
    )
    map_png: str = Field(default="", description="with map=true: the picture under its anomaly map, a PNG in base64")
    overlay_png: str = Field(
        default="", description="with overlay=true: the map alone, to be laid over the picture, a PNG in base64"
    )
    overlay_box: list[int] = Field(
        default=[], description="with overlay=true: left, top, width, height of where it lies on the picture"
    )
    explanation: dict[str, Any] = Field(
        default={},
        description="with explain=true: `sentences` that say why the picture has its score, and the numbers that they "
        "are made of: by region the measures there, and the nearest good picture, whose `number` /good takes",
    )
    sides: list[int] = Field(default=[], description="with overlay=true: width and height of the picture, upright")


class Place(BaseModel):
    """Where a picture waits."""

    digest: str = Field(description="SHA-256 of the file's bytes")
    kind: str | None = Field(description="good, bad, or null where it does not wait any more")


class Waiting(BaseModel):
    """All that wait."""

    good: list[str] = Field(description="digests of the pictures that were called good")
    bad: list[str] = Field(description="digests of the pictures that were called bad")
    command: str = Field(description="what learns the good ones")


class Item(BaseModel):
    """A picture of the watched folder."""

    number: int
    name: str = Field(description="of the file, within the folder")
    digest: str = Field(description="SHA-256 of the file's bytes")
    time: float = Field(description="when it was judged, seconds since 1970")
    answer: Answer | None = Field(default=None, description="what is known of it")
    fault: str | None = Field(default=None, description="why nothing is")


class News(BaseModel):
    """What was judged in the watched folder."""

    folder: str = Field(description="its name")
    items: list[Item] = Field(description="`number`, `name`, `digest`, `time`, and `answer` or `fault` of each picture")
    next: int = Field(description="to be sent as `after`")
    coming: int = Field(description="files that are there and not judged yet")
    fault: str = Field(description="why the folder cannot be looked into, else empty")


class About(BaseModel):
    """What a page has to know besides `/products`."""

    watch: str | None = Field(description="the name of the watched folder")
    queue: bool = Field(description="whether pictures may be marked")


class Ready(BaseModel):
    """That requests should be sent."""

    status: str


class Health(BaseModel):
    """That it answers."""

    status: str
    waiting: int = Field(description="requests that are under way")


class Version(BaseModel):
    """Which program and which model it is."""

    mocca_jax: str = Field(description="version of the program")
    trained_on: str | None = Field(None, description="null where there are several products")
    sha256: str | None = Field(None, description="of everything that the model holds; null as above")


class Row(BaseModel):
    """A product."""

    product: str
    threshold: float | None = Field(description="scores above it are anomalous; null where nothing was held out")
    alpha: float | None = Field(description="the share of good pictures that may be flagged")
    by: str = Field(description="what decides, score or map")
    maps: bool = Field(description="whether it has anomaly maps")
    explains: bool = Field(description="whether it can say why a picture has its score")
    heldout: int = Field(description="how many good pictures were held out, or left out, to compare with")
    ordinary: float | None = Field(description="the median of their scores; null where there are none")
    trained_on: str
    sha256: str = Field(description="of everything that the model holds")
    loaded: bool = Field(description="whether its detector is in memory; others are loaded when asked for")


class Products(BaseModel):
    """All products."""

    products: list[Row]


def problems(told: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Statuses of errors and why they come, as FastAPI describes them."""
    return {status: {"model": Problem, "description": words} for status, words in told.items()}
