"""The endpoint that finds similar pictures in an index."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.explain.draw import data_uri
from maxvit.search.index import ImageIndex
from maxvit.serve.limits import Refusal
from maxvit.serve.models import ServedModel
from maxvit.serve.service import Service
from maxvit.serve.uploads import Upload

MOST = 100  # pictures for an image
K = Annotated[int, Query(ge=1, le=MOST, description="Pictures to find for each image.")]
Thumbnails = Annotated[bool, Query(description="Whether to send the pictures, small.")]


class SimilarPicture(BaseModel):
    """A picture of the index."""

    image: Annotated[str, Field(description="Its path, relative to the folder that was indexed.")]
    similarity: Annotated[float, Field(description="Cosine of the angle between both embeddings.")]
    note: Annotated[str, Field(description="changed or gone: since it was indexed; else nothing.")] = ""
    thumbnail: Annotated[
        str | None, Field(description="With `thumbnails=true`: a data URI of a PNG file; null: it has changed or gone.")
    ] = None


class Similar(BaseModel):
    """What is similar to one image, or why it could not be read."""

    image: Annotated[str, Field(description="The name that came with it, or its place.")]
    pictures: list[SimilarPicture] = []
    error: str | None = None


class SimilarAnswers(BaseModel):
    """One answer for each image, in order."""

    model: str
    results: list[Similar]


def similar_routes(service: Service, described: dict[str, Any]) -> APIRouter:
    """The routes.

    Args:
        service: Has networks, and indices of some of them.
        described: OpenAPI's words for what the routes take and how they may fail.
    """
    router = APIRouter()

    @router.post("/similar", response_model=SimilarAnswers, **described)
    @router.post("/v1/models/{name}/similar", response_model=SimilarAnswers, **described)
    async def similar(
        request: Request,
        name: Annotated[str | None, Field(description="One of /v1/models; left out: the first with an index.")] = None,
        k: K = 10,
        thumbnails: Thumbnails = False,
    ) -> Response:
        """The pictures of the index that the network sees most like each image."""
        first = next(served.name for served in service.models.values() if served.index is not None)
        served = service.find(name or first)
        if served.index is None:
            raise Refusal(404, f"{served.name} has no index: ask {first}")
        tell = partial(_tell, served, k, service.limits.max_pixels if thumbnails else 0)
        told = await service.answer(request, served, "search", tell)
        results = [
            Similar(image=called, error=one.sentence) if isinstance(one, Refusal) else one for called, one in told
        ]
        answer = SimilarAnswers(model=served.name, results=results)
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


def _tell(served: ServedModel, k: int, max_pixels: int, upload: Upload, row: Tensor) -> Similar:
    """What is similar to one image; with thumbnails of pictures of at most so many pixels, unless it is 0."""
    assert served.index is not None
    try:
        served.index = index = served.index.fresh()
        (matches,) = index.nearest(row[None].numpy(), k)
    except MaxViTError as error:  # it is being changed, or is not there any more
        raise Refusal(503, f"the index cannot be searched now: {error}", 1) from error
    return Similar(
        image=upload.name,
        pictures=[
            SimilarPicture(
                image=match.name,
                similarity=match.similarity,
                note=match.note,
                thumbnail=None if match.note or not max_pixels else _thumbnail(index, match.name, max_pixels),
            )
            for match in matches
        ],
    )


def _thumbnail(index: ImageIndex, name: str, max_pixels: int) -> str | None:
    try:
        return data_uri(index.thumbnail(name, max_pixels))
    except MaxViTError:
        return None  # it has too many pixels, or has gone this very moment
