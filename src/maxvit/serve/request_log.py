"""One JSON object a line on standard error; and around each request its name, its time and its line."""

import json
import logging
import re
import secrets
import sys
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maxvit.serve.metrics import Metrics

logger = logging.getLogger("maxvit.serve")
GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}


class JsonLines(logging.Formatter):
    """A record as one line; what is in its `fields` is put beside."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        line = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def log_as_json() -> None:
    """Have the server's log, and that of the library below it, in JSON on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("maxvit.serve", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == "maxvit.serve" else logging.WARNING)


class Watch:
    """Gives each request an id, counts it, and writes its line.

    An id that the client sent in `X-Request-ID` is kept, if it is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        notes: dict[str, Any] = {}
        scope.setdefault("state", {})["notes"] = notes  # what handlers want to have in the line

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = name
            await send(message)

        try:
            await self.app(scope, receive, named)
        except Exception:
            logger.exception("internal server error", extra={"fields": {"request_id": name}})
            if not status:
                await JSONResponse({"error": f"internal server error; please report it with request id {name}"}, 500)(
                    scope, receive, named
                )
        finally:
            seconds = time.perf_counter() - begin
            self._write(scope, name, status, seconds, notes)

    def _write(self, scope: Scope, name: str, status: int, seconds: float, notes: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path", "other")  # of the pattern: paths are endless
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        client = scope["client"][0] if scope.get("client") else None
        fields = {"request_id": name, "method": method, "path": scope["path"][:200], "status": status}
        fields |= {"ms": round(seconds * 1000, 1), "client": client} | notes
        logger.info("request", extra={"fields": fields})
