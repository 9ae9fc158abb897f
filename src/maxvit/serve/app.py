"""The HTTP endpoints."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

import maxvit
from maxvit.errors import MaxViTError
from maxvit.inference.predictor import Predictor
from maxvit.search.index import ImageIndex
from maxvit.serve.example_routes import Examples, example_routes
from maxvit.serve.explain_routes import explaining_routes
from maxvit.serve.limits import Limits, Refusal
from maxvit.serve.metrics import Metrics
from maxvit.serve.models import tell_embedding
from maxvit.serve.request_log import Watch
from maxvit.serve.schemas import (
    Embedded,
    Embeddings,
    ModelDetail,
    ModelList,
    ModelSummary,
    Predicted,
    Predictions,
    Problem,
    Status,
    body_description,
)
from maxvit.serve.service import Service, Told
from maxvit.serve.similar_routes import similar_routes
from maxvit.tasks import with_settings
from maxvit.tasks.network import Network

ModelName = Annotated[str, Path(description="One of /v1/models.")]
PathOrQuery = Annotated[str | None, Field(description="One of /v1/models; left out of the query: the first.")]
TopK = Annotated[int | None, Query(ge=1, le=1000, description="Of a classifier: classes to name for each image.")]
Coverage = Annotated[
    float | None, Query(description="Of a classifier: how often the set of classes to name holds the true one, as 0.9.")
]
Picture = Annotated[bool, Query(description="Whether to draw the prediction over the image.")]
Result = TypeVar("Result", Predicted, Embedded)
_PROBLEMS: Mapping[int, str] = {
    408: "The body came too slowly.",
    413: "Too many bytes, pixels or images.",
    415: "Of no type that is taken.",
    422: "No image could be read, or a parameter is wrong.",
    503: "Too busy, or not ready: see Retry-After.",
    404: "There is no such model.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's words for the ways in which a request may fail."""
    known = {**_PROBLEMS, 401: "The key is missing or wrong."}
    return {status: {"model": Problem, "description": known[status]} for status in statuses}


def create_app(
    models: Mapping[str, Predictor],
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    originals: Mapping[str, Network] | None = None,
    examples: Mapping[str, Examples] | None = None,
    indexes: Mapping[str, ImageIndex] | None = None,
) -> FastAPI:
    """An ASGI application that predicts with some networks.

    Args:
        models: By name; the first predicts where no name is given.
        limits: None: the defaults.
        api_key: The key that clients send, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, for all but health,
            readiness and the documentation; None: nothing.
        originals: The same networks, not optimised, by the same names: then there are a page at `/` and an endpoint
            that explains. None: neither.
        examples: Pictures that the page begins with, for each network that has some, by the same names.
        indexes: Of pictures, each made by the network of its name: then there is an endpoint that searches them.

    Returns:
        The application; `app.state.service` holds the networks, and `service.ready` says whether it wants requests.

    Raises:
        MaxViTError: If there is no network, one of `originals` is missing, or an index is of none.
    """
    if originals is not None and (missing := models.keys() - originals.keys()):
        raise MaxViTError(f"the originals of {', '.join(sorted(missing))} are missing: give one for each model")
    if indexes and (unknown := indexes.keys() - models.keys()):
        raise MaxViTError(f"there are indexes of {', '.join(sorted(unknown))}, and no such models: name them alike")
    metrics = Metrics()
    service = Service(models, limits or Limits(), metrics, indexes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app: FastAPI = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="MaxViT",
        version=maxvit.__version__,
        description="Predictions and embeddings of images by MaxViT networks.",
        lifespan=lifespan,
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.service = service
    guards = [Depends(_key_guard(api_key))] if api_key else []
    app.include_router(_open_routes(service))
    app.include_router(_guarded_routes(service, bool(api_key)), dependencies=guards)
    said = problems(*_PROBLEMS, *([401] if api_key else []))
    if indexes:
        app.include_router(similar_routes(service, _takes_images(service, said)), dependencies=guards)
    if originals is not None:
        app.include_router(explaining_routes(service, originals, said), dependencies=guards)
        app.include_router(example_routes(service, examples or {}, said), dependencies=guards)
        app.mount("/page", StaticFiles(packages=[("maxvit.serve", "page")]), name="page")
        app.add_route("/", _page, include_in_schema=False)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_middleware(Watch, metrics=metrics)
    return app


def _takes_images(service: Service, said: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI's words for an endpoint that takes images, and the ways in which it may fail."""
    return {"responses": said, "openapi_extra": body_description(service.limits.max_images), "tags": ["images"]}


def _open_routes(service: Service) -> APIRouter:
    """What needs no key."""
    router = APIRouter(tags=["state"])

    @router.get("/health", response_model=Status)
    async def health() -> Response:
        """The process lives."""
        return JSONResponse({"status": "alive"})

    @router.get("/ready", response_model=Status, responses=problems(503))
    async def ready() -> Response:
        """Ready for requests; 503 while it starts or shuts down."""
        if not service.ready:
            raise Refusal(503, "not ready: starting or ending", 1)
        return JSONResponse({"status": "ready"})

    return router


def _guarded_routes(service: Service, keyed: bool) -> APIRouter:
    """What needs the key, if there is one."""
    always = problems(401) if keyed else {}
    router = APIRouter(responses=always)
    takes_images = _takes_images(service, problems(*_PROBLEMS))

    @router.post("/predict", response_model=Predictions, **takes_images)
    @router.post("/v1/models/{name}/predict", response_model=Predictions, **takes_images)
    async def predict(
        request: Request,
        name: PathOrQuery = None,
        top_k: TopK = None,
        coverage: Coverage = None,
        picture: Picture = False,
    ) -> Response:
        """What a network says of each image, in the form of its task: classes, objects, a mask."""
        served = service.find(name)
        asked = {"top_k": top_k, "coverage": coverage}
        try:
            task = with_settings(served.task, {name: value for name, value in asked.items() if value is not None})
        except MaxViTError as error:
            raise Refusal(422, str(error)) from error
        told = await service.answer(request, served, "predict", partial(served.tell, task, picture))
        return _json(Predictions(model=served.name, task=served.task.name, results=_results(Predicted, told)))

    @router.post("/embed", response_model=Embeddings, **takes_images)
    @router.post("/v1/models/{name}/embed", response_model=Embeddings, **takes_images)
    async def embed(request: Request, name: PathOrQuery = None) -> Response:
        """The features that a network sees of each image: a vector for searching and comparing."""
        served = service.find(name)
        told = await service.answer(request, served, "embed", tell_embedding)
        return _json(Embeddings(model=served.name, results=_results(Embedded, told)))

    @router.get("/v1/models", response_model=ModelList, tags=["models"])
    async def list_models() -> Response:
        """The models that are served."""
        summaries = [
            ModelSummary(**served.describe().model_dump(exclude={"class_names"})) for served in service.models.values()
        ]
        return _json(ModelList(models=summaries))

    @router.get("/v1/models/{name}", response_model=ModelDetail, responses=problems(404), tags=["models"])
    async def describe_model(name: ModelName) -> Response:
        """One of them, with the names of its classes."""
        return _json(service.find(name).describe())

    @router.get("/metrics", response_class=Response, tags=["state"])
    async def metrics() -> Response:
        """Counters and times, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


async def _page(_: Request) -> Response:
    return RedirectResponse("/page/index.html")


def _results(kind: type[Result], told: Sequence[Told[Result]]) -> list[Result]:
    """With the reason where nothing could be said."""
    return [kind(image=name, error=one.sentence) if isinstance(one, Refusal) else one for name, one in told]


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _key_guard(api_key: str) -> Callable[..., Awaitable[None]]:
    """Refuses requests without the key, before their body is read; the comparison takes as long for any wrong one."""
    wanted = hashlib.sha256(api_key.encode()).digest()
    bearer = HTTPBearer(auto_error=False, description="The server's API key.")
    header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, in a header of its own.")

    async def guard(
        token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
        key: Annotated[str | None, Depends(header)],
    ) -> None:
        given = token.credentials if token else key or ""
        if not hmac.compare_digest(hashlib.sha256(given.encode()).digest(), wanted):
            raise Refusal(401, "the API key is missing or wrong: send Authorization: Bearer KEY, or X-API-Key: KEY")

    return guard


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": refusal.sentence}, refusal.status, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)


async def _no_such_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}: see /docs"}, error.status_code, error.headers)
