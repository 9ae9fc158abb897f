"""What goes over the wire, as OpenAPI describes it."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from maxvit.serve.limits import Refusal

Base64 = Annotated[str, Field(description="An image file in base64, with or without `data:image/...;base64,`.")]


class JsonImages(BaseModel):
    """The body of a request in JSON: one image or several."""

    model_config = ConfigDict(extra="forbid")

    image: Base64 | None = None
    images: Annotated[list[Base64] | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.image is None) == (self.images is None):
            raise ValueError("give either image or images")
        return self

    def decoded(self) -> list[bytes]:
        """The files' contents. Raises `Refusal` (422) for what is not base64."""
        return [_bytes(text) for text in (self.images if self.image is None else [self.image]) or []]


def _bytes(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, f"an image is not in base64 ({error}): encode the file's bytes") from error


class ClassProbability(BaseModel):
    """One class of an answer."""

    name: Annotated[str, Field(serialization_alias="class")]
    probability: float
    answered: Annotated[
        bool | None, Field(description="Of a multi-label network: whether it reaches the threshold; else null.")
    ] = None


class Predicted(BaseModel):
    """The most probable classes of one image, most probable first, or why it could not be read."""

    image: Annotated[str, Field(description="The name that came with it, or its place.")]
    classes: Annotated[
        list[ClassProbability], Field(description="At most `top_k`, but all that a multi-label network answers.")
    ] = []
    error: str | None = None


def class_probabilities(classes: Sequence[tuple[str, float]], answered: int | None) -> list[ClassProbability]:
    """The classes of an answer, of which a multi-label network answers the first so many; None: it is none."""
    return [
        ClassProbability(name=name, probability=p, answered=None if answered is None else place < answered)
        for place, (name, p) in enumerate(classes)
    ]


class Predictions(BaseModel):
    """One answer for each image, in order."""

    model: str
    results: list[Predicted]


class TaskPredicted(BaseModel):
    """What a network of another task than classification says of one image, or why it could not be read."""

    image: Annotated[str, Field(description="The name that came with it, or its place.")]
    answer: Annotated[
        dict[str, Any] | None, Field(description="In the form of the task, in pixels of the image as it came.")
    ] = None
    sentence: Annotated[str, Field(description="The answer in a line.")] = ""
    picture: Annotated[
        str | None, Field(description="With `picture=true`: the answer over the image, as a data URI of a PNG file.")
    ] = None
    error: str | None = None


class TaskPredictions(BaseModel):
    """One answer for each image, in order."""

    model: str
    task: str
    results: list[TaskPredicted]


class Embedded(BaseModel):
    """What the classifier sees of one image, or why it could not be read."""

    image: Annotated[str, Field(description="The name that came with it, or its place.")]
    embedding: list[float] = []
    error: str | None = None


class Embeddings(BaseModel):
    """One answer for each image, in order."""

    model: str
    results: list[Embedded]


class ModelSummary(BaseModel):
    """A network that answers here."""

    name: str
    task: str
    variant: str | None
    classes: int
    image_size: tuple[int, int]
    engine: str
    threshold: Annotated[
        float | None, Field(description="Of a multi-label network: the probability from which a class is answered.")
    ] = None


class ModelList(BaseModel):
    """All of them; the first answers where no name is given."""

    models: list[ModelSummary]


class ModelDetail(ModelSummary):
    """The same with the names of its classes."""

    class_names: list[str]


class Status(BaseModel):
    """Whether the server lives, or is ready for more."""

    status: str


class Problem(BaseModel):
    """Why a request was not answered as wanted."""

    error: str


def body_description(max_images: int) -> dict[str, Any]:
    """OpenAPI's words for what the end points take."""
    file = {"type": "string", "format": "binary"}
    forms = {"type": "object", "required": ["image"], "additionalProperties": False}
    forms["properties"] = {"image": {"type": "array", "items": file, "minItems": 1, "maxItems": max_images}}
    content: dict[str, Any] = {kind: {"schema": file} for kind in ("image/jpeg", "image/png", "image/*")}
    content["multipart/form-data"] = {"schema": forms}
    content["application/json"] = {"schema": JsonImages.model_json_schema()}
    return {"requestBody": {"required": True, "content": content}}
