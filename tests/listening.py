"""A server in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from maxvit.serve.process import _protocol, bind


@contextmanager
def listening(app, timeout_s=30.0) -> Iterator[int]:
    """The port of a server in another thread, on connections as `run` makes them."""
    here = bind("127.0.0.1", 0)
    config = uvicorn.Config(app, http=_protocol(timeout_s), ws="none", log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([here],))
    thread.start()
    try:
        for _ in range(1000):
            if server.started:
                break
            thread.join(0.01)
        yield here.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
