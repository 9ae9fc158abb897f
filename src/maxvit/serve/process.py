"""The server as a process: a socket, uvicorn, and a graceful shutdown."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from maxvit.errors import MaxViTError
from maxvit.serve.request_log import log_as_json

LINGER_S = 5.0  # beyond the time of a request, for its head and its answer to pass


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `MaxViTError` if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol by name: asyncio switches Nagle's algorithm off for sockets that say so alone, and answers would wait
    # 40 ms for the client's acknowledgement
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        raise MaxViTError(f"cannot listen on {host}, port {port} ({error}): choose others; port 0 finds one") from error


def run(app: FastAPI, listening: socket.socket, drain_s: float = 0.0, tell: Callable[[str], object] = print) -> None:
    """Serve until SIGTERM or Ctrl-C, then end gracefully.

    At the signal `/ready` turns to 503. After `drain_s`, in which a load balancer may notice and requests are still
    taken, no connection is accepted any more; requests in hand are answered. A second signal ends at once.

    Args:
        app: From `create_app`.
        listening: From `bind`.
        drain_s: See above.
        tell: Called with the address once clients may come.

    Raises:
        KeyboardInterrupt: After the end, if it was Ctrl-C.
    """
    timeout_s = app.state.service.limits.timeout_s
    config = uvicorn.Config(
        app,
        http=_protocol(timeout_s + LINGER_S),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(timeout_s + LINGER_S),
    )
    log_as_json()
    server = _Server(config, app, drain_s, lambda: tell(f"serving on {_url(listening)}, documentation at /docs"))
    server.run([listening])
    if server.interrupted:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Uvicorn that turns unready at a signal, and does not send the signal to itself again at the end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_s: float, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._app, self._drain_s, self._started = app, drain_s, started
        self.interrupted = self._ending = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.service.ready = False
        self.interrupted |= sig == signal.SIGINT
        if self._ending:
            self.should_exit = self.force_exit = True
        self._ending = True

    async def on_tick(self, counter: int) -> bool:
        if self._ending and not self.should_exit:
            self._drain_s -= 0.1  # between two ticks
            self.should_exit = self._drain_s < 0
        return await super().on_tick(counter)


def _protocol(limit_s: float) -> type[H11Protocol]:
    """HTTP on connections that are cut if for so long they stay before a request, or within one.

    A client that sends its head a byte at a time, or does not read its answer, would stay for ever.
    """

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._look(None)

        def connection_lost(self, exc: Exception | None) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

        def _look(self, before: object) -> None:
            now = (self.cycle, self.cycle is not None and self.cycle.response_complete)
            if now == before:
                self.transport.abort()
            self._next_look = self.loop.call_later(limit_s, self._look, now)

    return Impatient


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
