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

METRICS = {"description": "in Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="what was found, what is wanted and what to do")


class Answer(BaseModel):
    """What is known of a picture."""

    score: float = Field(description="larger is more anomalous; the scale differs from model to model")
    p_value: float | None = Field(description="share of held-out normal pictures that look at least as anomalous")
    anomalous: bool | None = Field(description="the decision")
    threshold: float | None = Field(description="scores above it are anomalous")
    layers: dict[str, float] = Field(description="each layer's part of the score")
    map_png: str = Field(default="", description="with map=true: the picture under its anomaly map, a PNG in base64")


class Ready(BaseModel):
    """That requests should be sent."""

    status: str


class Health(BaseModel):
    """That it answers."""

    status: str
    waiting: int = Field(description="requests that are under way")


class Version(BaseModel):
    """Which model it is."""

    mocca_jax: str = Field(description="version of the program")
    trained_on: str
    sha256: str = Field(description="of everything that the model holds")


def problems(told: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Statuses of errors and why they come, as FastAPI describes them."""
    return {status: {"model": Problem, "description": words} for status, words in told.items()}
