"""What goes over the wire, as OpenAPI describes it."""

import base64
import binascii
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


class Predicted(BaseModel):
    """What a network says of one image, or why it could not be read."""

    image: Annotated[str, Field(description="The name that came with it, or its place.")]
    prediction: Annotated[
        dict[str, Any] | None, Field(description="In the form of the task, in pixels of the image as it came.")
    ] = None
    summary: Annotated[str, Field(description="The prediction in a line.")] = ""
    picture: Annotated[
        str | None,
        Field(description="With `picture=true`: the prediction over the image, as a data URI of a PNG file."),
    ] = None
    error: str | None = None


class Predictions(BaseModel):
    """One prediction for each image, in order."""

    model: str
    task: str
    results: list[Predicted]


class Embedded(BaseModel):
    """The features of one image, or why it could not be read."""

    image: Annotated[str, Field(description="The name that came with it, or its place.")]
    embedding: list[float] = []
    error: str | None = None


class Embeddings(BaseModel):
    """One vector for each image, in order."""

    model: str
    results: list[Embedded]


class ModelSummary(BaseModel):
    """A network that is served."""

    name: str
    task: str
    variant: str | None
    classes: int
    image_size: tuple[int, int]
    engine: str
    tta: Annotated[str, Field(description="flip: predictions are the mean with the mirror image's; none.")] = "none"
    threshold: Annotated[
        float | None, Field(description="Of a multi-label classifier: the probability from which a class is predicted.")
    ] = None
    searched: Annotated[
        int | None, Field(description="Pictures in its index, which /similar searches; null: it has none.")
    ] = None


class ModelList(BaseModel):
    """All of them; the first predicts where no name is given."""

    models: list[ModelSummary]


class ModelDetail(ModelSummary):
    """The same with the names of its classes."""

    class_names: list[str]


class Status(BaseModel):
    """Whether the server lives, or is ready for more."""

    status: str


class Problem(BaseModel):
    """Why a request was refused."""

    error: str


def body_description(max_images: int) -> dict[str, Any]:
    """OpenAPI's words for what the endpoints take."""
    file = {"type": "string", "format": "binary"}
    forms = {"type": "object", "required": ["image"], "additionalProperties": False}
    forms["properties"] = {"image": {"type": "array", "items": file, "minItems": 1, "maxItems": max_images}}
    content: dict[str, Any] = {kind: {"schema": file} for kind in ("image/jpeg", "image/png", "image/*")}
    content["multipart/form-data"] = {"schema": forms}
    content["application/json"] = {"schema": JsonImages.model_json_schema()}
    return {"requestBody": {"required": True, "content": content}}
