"""The end point that shows what an answer rests on: a map for a class, and what the token under a point attends to."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.explain.capture import one_image
from maxvit.explain.draw import data_uri, picture_of
from maxvit.explain.methods import METHODS
from maxvit.explain.target import class_name, find_class
from maxvit.explain.token_attention import attended, check_point
from maxvit.layers.modes import evaluating
from maxvit.model import MaxViT
from maxvit.serve.limits import Refusal
from maxvit.serve.schemas import ClassProbability, class_probabilities
from maxvit.serve.service import Service

CLASSES = 5  # that are named, and all that a multi-label network answers
Corner = Annotated[list[int], Field(description="left, top, right, bottom, in pixels of the picture")]


class Attended(BaseModel):
    """Where one token looks in one attention layer; see `maxvit.explain.token_attention.AttendedMap`."""

    stage: int
    block: int
    axis: Literal["block", "grid"]
    height: int
    width: int
    values: Annotated[list[list[float]], Field(description="Each token's share; 0 outside of the group.")]
    cells: list[Corner]
    own: Corner


class Explained(BaseModel):
    """An image as the network sees it, what it answers, and what it looks at."""

    model: str
    picture: Annotated[str, Field(description="The preprocessed image, as a data URI.")]
    height: int
    width: int
    classes: list[ClassProbability]
    explained: Annotated[str, Field(description="The class that the map is for.")]
    method: str
    map: Annotated[list[list[float]], Field(description="Relevance of each part of the picture, row by row.")]
    layers: Annotated[list[Attended], Field(description="For the point; empty where none was given.")]
    timings_ms: dict[str, float]


def explaining_routes(service: Service, originals: Mapping[str, MaxViT], problems: dict[int | str, Any]) -> APIRouter:
    """The route.

    Args:
        service: Reads, checks and prepares what comes, and has the thread that computes.
        originals: The classifiers, not optimised, by name: attention can be seen in them.
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
    ) -> Explained:
        """One image: what the network answers and looks at. It computes alone, between two batches."""
        if method not in METHODS:
            raise Refusal(422, f"there is no method {method[:40]!r}; choose {', '.join(METHODS)}")
        if (x is None) != (y is None):
            raise Refusal(422, "a point has two numbers: give x and y, or neither")
        point = None if x is None or y is None else (x, y)
        served = service.find(name)
        if served.name not in originals:
            raise Refusal(422, f"{name} is a network for {served.model.task}, and classifiers are explained: predict")
        image, prepare_ms = await service.one_image(request, served)
        found = await service.compute(_explain, served.name, originals[served.name], image, point, of, method)
        found.timings_ms["read and prepare"] = prepare_ms
        return found

    return router


def _explain(
    name: str, model: MaxViT, image: Tensor, point: tuple[int, int] | None, of: str | None, method: str
) -> Explained:
    begin = time.perf_counter()
    try:
        if point is not None:
            check_point(point, image)
        wanted = None if of is None else find_class(model, of)
        with evaluating(model), torch.inference_mode():
            probabilities = model.config.probabilities(model(one_image(model, image))[0].float()).cpu()
        classified = time.perf_counter()
        target = int(probabilities.argmax()) if wanted is None else wanted
        relevance = METHODS[method](model, image, target)
        mapped = time.perf_counter()
        layers = [] if point is None else attended(model, image, point)
    except MaxViTError as error:
        raise Refusal(422, str(error)) from error
    answered = len(model.config.answered(probabilities))
    best = probabilities.topk(min(max(CLASSES, answered), len(probabilities)))
    named = [(class_name(model, c), p) for p, c in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
    moments = (
        ("classify", begin, classified),
        (method, classified, mapped),
        ("attention", mapped, time.perf_counter()),
    )
    return Explained(
        model=name,
        picture=data_uri(picture_of(model.preprocessing, image)),
        height=image.shape[1],
        width=image.shape[2],
        classes=class_probabilities(named, answered if model.config.multi_label else None),
        explained=class_name(model, target),
        method=method,
        map=relevance.tolist(),
        layers=[Attended.model_validate(_plain(layer)) for layer in layers],
        timings_ms={what: 1000 * (end - start) for what, start, end in moments},
    )


def _plain(layer: Any) -> dict[str, Any]:
    found = dataclasses.asdict(layer)
    return found | {"cells": [list(c) for c in found["cells"]], "own": list(found["own"])}
