"""The endpoint that shows what a prediction rests on: a map, and what the token under a point attends to."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from maxvit.errors import MaxViTError
from maxvit.explain.draw import data_uri, picture_of
from maxvit.explain.methods import METHODS
from maxvit.explain.target import classes_of, find_class
from maxvit.explain.token_attention import TokenAttention, attention_at, check_point
from maxvit.inference.predictor import Prepared
from maxvit.serve.limits import Refusal
from maxvit.serve.models import ServedModel
from maxvit.serve.service import Service
from maxvit.tasks.network import Network


class Explained(BaseModel):
    """An image as the network sees it, what it predicts, and what it looks at."""

    model: str
    task: str
    picture: Annotated[str, Field(description="The preprocessed image, as a data URI.")]
    height: int
    width: int
    prediction: Annotated[dict[str, Any], Field(description="In the form of the task.")]
    summary: Annotated[str, Field(description="The prediction in a line.")]
    explained: Annotated[str | None, Field(description="The class of the map; null: a whole image has no class.")]
    method: str
    map: Annotated[list[list[float]], Field(description="Relevance of each part of the picture, row by row.")]
    layers: Annotated[list[TokenAttention], Field(description="For the point; empty where none was given.")]
    timings_ms: dict[str, float]


def explaining_routes(service: Service, originals: Mapping[str, Network], problems: dict[int | str, Any]) -> APIRouter:
    """The route.

    Args:
        service: Reads, checks and prepares what comes, and has the thread that computes.
        originals: The same networks, not optimised, by name: attention can be seen in them.
        problems: OpenAPI's words for the ways in which a request may fail.
    """
    router = APIRouter(responses=problems, tags=["images"])

    @router.post("/v1/models/{name}/explain", response_model=Explained)
    async def explain(
        request: Request,
        name: Annotated[str, Path(description="One of /v1/models.")],
        x: Annotated[int | None, Query(description="A point, from the left, in pixels of the picture.")] = None,
        y: Annotated[int | None, Query(description="And from the top.")] = None,
        of: Annotated[str | None, Query(description="A class, by name or number; the most probable one.")] = None,
        method: Annotated[str, Query(description=f"One of {', '.join(METHODS)}.")] = "rollout",
    ) -> Response:
        """One image: what the network predicts and looks at. It computes alone, between two batches."""
        if method not in METHODS:
            raise Refusal(422, f"there is no method {method[:40]!r}; choose {', '.join(METHODS)}")
        if (x is None) != (y is None):
            raise Refusal(422, "a point has two numbers: give x and y, or neither")
        point = None if x is None or y is None else (x, y)
        served = service.find(name)
        image, prepare_ms = await service.one_image(request, served)
        found = await service.compute(_explain, served, originals[served.name], image, point, of, method)
        found.timings_ms["read and prepare"] = prepare_ms
        return Response(found.model_dump_json(), media_type="application/json")

    return router


def _explain(
    served: ServedModel,
    network: Network,
    prepared: Prepared,
    point: tuple[int, int] | None,
    of: str | None,
    method: str,
) -> Explained:
    (image,), names, begin = prepared.images, served.predictor.class_names, time.perf_counter()
    try:
        if point is not None:
            check_point(point, image)
        target = None if of is None else find_class(network, of)
        (value,) = served.predict([prepared])
        predicted = time.perf_counter()
        classes = classes_of(network)
        if target is None and classes:
            target = int(value.argmax())
        relevance = METHODS[method](network, image, target)
        mapped = time.perf_counter()
        layers = [] if point is None else attention_at(network, image, point)
    except MaxViTError as error:
        raise Refusal(422, str(error)) from error
    moments = (
        ("predict", begin, predicted),
        (method, predicted, mapped),
        ("attention", mapped, time.perf_counter()),
    )
    return Explained(
        model=served.name,
        task=served.task.name,
        picture=data_uri(picture_of(served.preprocessing, image)),
        height=image.shape[1],
        width=image.shape[2],
        prediction=served.task.to_json(value, names),
        summary=served.task.summary(value, names),
        explained=None if target is None else classes[target],
        method=method,
        map=relevance.tolist(),
        layers=layers,
        timings_ms={what: 1000 * (end - start) for what, start, end in moments},
    )
