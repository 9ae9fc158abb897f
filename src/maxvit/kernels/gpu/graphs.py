"""One launch instead of hundreds: a CUDA graph for each shape of images that a network has seen lately."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = 8  # that are kept; each holds the memory of a forward
WARM_UPS = 2  # before a capture, for what is compiled or allocated once


class _Graph(NamedTuple):
    images: Tensor
    answers: Tensor
    graph: torch.cuda.CUDAGraph


class Graphs:
    """Calls a function of images by CUDA graphs. Threads wait for one another, streams for the call before."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], _Graph] = OrderedDict()
        self._lock = threading.Lock()
        self._done: torch.cuda.Event | None = None

    def __deepcopy__(self, memo: object) -> "Graphs":
        """A copy of a network has other weights."""
        return Graphs()

    def __call__(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The function's result, in memory of its own.

        Args:
            function: The same in every call, its weights where they were: graphs hold their addresses.
            images: On a GPU.
        """
        key = (images.shape, images.dtype)
        with self._lock, torch.inference_mode(False), torch.no_grad(), torch.cuda.device(images.device):
            stream = torch.cuda.current_stream()
            if self._done is not None:
                stream.wait_event(self._done)
            if key not in self._kept:
                while len(self._kept) >= SHAPES:
                    self._kept.popitem(last=False)
                self._kept[key] = _capture(function, images)
            self._kept.move_to_end(key)
            graph = self._kept[key]
            graph.images.copy_(images)
            graph.graph.replay()
            answers = graph.answers.clone()
            self._done = stream.record_event()
        return answers


def _capture(function: Callable[[Tensor], Tensor], images: Tensor) -> _Graph:
    kept, side = images.clone(memory_format=torch.channels_last), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function(kept)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        answers = function(kept)
    return _Graph(kept, answers, graph)
