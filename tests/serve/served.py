"""A small network that answers differently for each image, and a server of it in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import uvicorn

from healthy import fill
from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.model import MaxViT
from maxvit.serve.process import _protocol, bind
from maxvit.tasks import make_network, make_task

NAMES = ["ant", "bee", "cat", "dog", "elk"]


def network(size=(32, 41), fit="crop", seed=0):
    torch.manual_seed(seed)
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=5,
        image_size=size,
    )
    return fill(MaxViT(config, Preprocessing(image_size=size, fit=fit, mean=(0.1, 0.2, 0.3)), NAMES))


def task_network(task, names, fit="aspect"):
    """Of another task, for images of about 64 x 64."""
    backbone = network((64, 64))
    backbone.preprocessing = Preprocessing(image_size=(64, 64), fit=fit, crop_pct=1.0)
    torch.manual_seed(0)
    return fill(make_network(make_task({"name": task}), backbone, names))


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
