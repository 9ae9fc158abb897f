"""The endpoint that the page opens with: a picture that the network has not learned from, and its label."""

import base64
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from maxvit.data.images import ImageLike
from maxvit.errors import MaxViTError
from maxvit.serve.client import file_of
from maxvit.serve.limits import Refusal
from maxvit.serve.service import Service

Examples = Callable[[], Iterable[tuple[str, ImageLike, str, str]]]  # name, source, truth and part of some pictures


class Opening(BaseModel):
    """A picture to begin with."""

    model: str
    image: Annotated[str | None, Field(description="An image file in base64; null: there is none.")] = None
    name: str = ""
    truth: Annotated[str, Field(description="Its label, in a line.")] = ""
    part: Annotated[str, Field(description="Of the run's data: test or validation.")] = ""


def example_routes(service: Service, examples: Mapping[str, Examples], problems: dict[int | str, Any]) -> APIRouter:
    """The route.

    Args:
        service: Has the threads that decode.
        examples: Pictures for networks, by name; they are looked for when they are first asked for.
        problems: OpenAPI's words for the ways in which a request may fail.
    """
    router = APIRouter(responses=problems, tags=["images"])

    @cache
    def find(name: str) -> Opening:
        served = service.models[name]
        try:
            for called, source, truth, part in examples[name]() if name in examples else ():
                content = file_of(source, 0)[1]
                if len(content) > service.limits.max_bytes:
                    continue
                try:
                    served.prepare(served.decode(content))
                except (Refusal, MaxViTError):
                    continue
                image = base64.b64encode(content).decode()
                return Opening(model=name, image=image, name=called, truth=truth, part=part)
        except (MaxViTError, ModuleNotFoundError):
            pass  # the data has gone, or its library is not here: the page has drawings of its own
        return Opening(model=name)

    @router.get("/v1/models/{name}/example", response_model=Opening)
    async def example(name: Annotated[str, Path(description="One of /v1/models.")]) -> Opening:
        """A picture to begin with: of the run's held-out data where it is to be had, else none."""
        return await service.beside(find, service.find(name).name)

    return router
