"""The end points."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException

import maxvit
from maxvit.inference.answering import TaskPredictor
from maxvit.inference.predictor import Predictor
from maxvit.model import MaxViT
from maxvit.serve.explain_routes import explaining_routes
from maxvit.serve.limits import Limits, Refusal
from maxvit.serve.metrics import Metrics
from maxvit.serve.models import Classifier
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
    TaskPredicted,
    TaskPredictions,
    body_description,
    class_probabilities,
)
from maxvit.serve.service import Service

ModelName = Annotated[str, Path(description="One of /v1/models.")]
TopK = Annotated[int, Query(ge=1, le=1000, description="Classes to name for each image.")]
Picture = Annotated[bool, Query(description="Of other tasks: whether to draw the answer over the image.")]
_PROBLEMS: Mapping[int, str] = {
    408: "The body came too slowly.",
    413: "Too many bytes, pixels or images.",
    415: "Of no type that is taken.",
    422: "No image could be read, or a parameter is wrong.",
    503: "Too busy, or not ready: see Retry-After.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's words for the ways in which a request may fail."""
    known = {**_PROBLEMS, 401: "The key is missing or wrong.", 404: "There is no such model."}
    return {status: {"model": Problem, "description": known[status]} for status in statuses}


def create_app(
    models: Mapping[str, Predictor | TaskPredictor],
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    originals: Mapping[str, MaxViT] | None = None,
) -> FastAPI:
    """An ASGI application that answers with some networks.

    Args:
        models: By name; the first answers where no name is given.
        limits: None: the defaults.
        api_key: What clients have to send, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, for all but health,
            readiness and the documentation; None: nothing.
        originals: The classifiers among them, not optimised, by the same names: then there are a page at `/` and an
            end point that explains. None: neither.

    Returns:
        The application; `app.state.service` holds the networks, and `service.ready` says whether it wants requests.

    Raises:
        MaxViTError: If there is no network.
    """
    metrics = Metrics()
    service = Service(models, limits or Limits(), metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app: FastAPI = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="MaxViT",
        version=maxvit.__version__,
        description="Classes and embeddings of images, and answers of other tasks, by MaxViT networks.",
        lifespan=lifespan,
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.service = service
    guards = [Depends(_key_guard(api_key))] if api_key else []
    app.include_router(_open_routes(service))
    app.include_router(_guarded_routes(service, bool(api_key)), dependencies=guards)
    if originals is not None:
        said = problems(404, *_PROBLEMS, *([401] if api_key else []))
        app.include_router(explaining_routes(service, originals, said), dependencies=guards)
        app.mount("/page", StaticFiles(packages=[("maxvit.serve", "page")]), name="page")
        app.add_route("/", _page, include_in_schema=False)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_middleware(Watch, metrics=metrics)
    return app


def _open_routes(service: Service) -> APIRouter:
    """What needs no key."""
    router = APIRouter(tags=["state"])

    @router.get("/health", response_model=Status)
    async def health() -> Response:
        """The process lives."""
        return JSONResponse({"status": "alive"})

    @router.get("/ready", response_model=Status, responses=problems(503))
    async def ready() -> Response:
        """It wants requests; no longer, once it was told to end."""
        if not service.ready:
            raise Refusal(503, "not ready: starting or ending", 1)
        return JSONResponse({"status": "ready"})

    return router


def _guarded_routes(service: Service, keyed: bool) -> APIRouter:
    """What needs the key, if there is one."""
    always = problems(401) if keyed else {}
    router = APIRouter(responses=always)
    takes_images: dict[str, Any] = {
        "responses": problems(*_PROBLEMS),
        "openapi_extra": body_description(service.limits.max_images),
        "tags": ["images"],
    }
    of_model = takes_images | {"responses": problems(404, *_PROBLEMS)}

    async def predict(request: Request, model: str | None, top_k: int, picture: bool) -> Response:
        served = service.find(model)
        if not isinstance(served.model, Classifier):
            if "top_k" in request.query_params:
                raise Refusal(422, f"{served.name} is a network for {served.model.task}: leave top_k out")
            told = [
                TaskPredicted(image=name, error=row.sentence) if isinstance(row, Refusal) else row
                for name, row in await service.answer(request, served, "predict", picture)
            ]
            return _json(TaskPredictions(model=served.name, task=served.model.task, results=told))
        if picture:
            raise Refusal(422, f"{served.name} is a classifier, and its answers are not drawn: leave picture out")
        results = []
        for name, row in await service.answer(request, served, "predict"):
            if isinstance(row, Refusal):
                results.append(Predicted(image=name, error=row.sentence))
            else:
                found = served.model.predictor.answer(name, row, top_k)
                results.append(Predicted(image=name, classes=class_probabilities(found.classes, found.answered)))
        return _json(Predictions(model=served.name, results=results))

    async def embed(request: Request, model: str | None) -> Response:
        served = service.find(model)
        results = [
            Embedded(image=name, error=row.sentence)
            if isinstance(row, Refusal)
            else Embedded(image=name, embedding=row.tolist())
            for name, row in await service.answer(request, served, "embed")
        ]
        return _json(Embeddings(model=served.name, results=results))

    @router.post("/predict", response_model=Predictions | TaskPredictions, **takes_images)
    async def predict_by_the_first(request: Request, top_k: TopK = 5, picture: Picture = False) -> Response:
        """The most probable classes, or the answers of its task, by the first model."""
        return await predict(request, None, top_k, picture)

    @router.post("/embed", response_model=Embeddings, **takes_images)
    async def embed_by_the_first(request: Request) -> Response:
        """What the classifier sees, by the first model."""
        return await embed(request, None)

    @router.post("/v1/models/{name}/predict", response_model=Predictions | TaskPredictions, **of_model)
    async def predict_by_name(request: Request, name: ModelName, top_k: TopK = 5, picture: Picture = False) -> Response:
        """The most probable classes of each image, or the answers of the model's task."""
        return await predict(request, name, top_k, picture)

    @router.post("/v1/models/{name}/embed", response_model=Embeddings, **of_model)
    async def embed_by_name(request: Request, name: ModelName) -> Response:
        """What the classifier sees of each image: a vector for searching and comparing."""
        return await embed(request, name)

    @router.get("/v1/models", response_model=ModelList, tags=["models"])
    async def list_models() -> Response:
        """The models that answer here."""
        summaries = [
            ModelSummary(**served.model.describe(name).model_dump(exclude={"class_names"}))
            for name, served in service.models.items()
        ]
        return _json(ModelList(models=summaries))

    @router.get("/v1/models/{name}", response_model=ModelDetail, responses=problems(404), tags=["models"])
    async def describe_model(name: ModelName) -> Response:
        """One of them, with the names of its classes."""
        return _json(service.find(name).model.describe(name))

    @router.get("/metrics", response_class=Response, tags=["state"])
    async def metrics() -> Response:
        """Counters and times, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


async def _page(_: Request) -> Response:
    return RedirectResponse("/page/index.html")


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


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
