"""A small network that answers differently for each image, and a server of it in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from every_task import backbone
from healthy import fill
from maxvit.serve.process import _protocol, bind

NAMES = ["ant", "bee", "cat", "dog", "elk"]


def network(size=(32, 41), fit="crop", seed=0):
    return fill(backbone(size, fit, NAMES, seed, crop_pct=0.875))


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
