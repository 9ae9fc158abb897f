"""The networks behind the server: decoding in some threads, computing in one, and what a request is led through."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import torch
from starlette.requests import ClientDisconnect, Request

from maxvit.data.bands import black
from maxvit.errors import MaxViTError, is_out_of_memory
from maxvit.inference.predictor import Predictor, Prepared
from maxvit.search.index import ImageIndex
from maxvit.serve.batching import SMOOTHING
from maxvit.serve.limits import Limits, Refusal, Room
from maxvit.serve.metrics import Metrics
from maxvit.serve.models import ServedModel
from maxvit.serve.uploads import Upload, media_type, read_body, split

BODIES = 8  # as many full bodies may be in memory at once
GONE = (499, "the client went away")  # the status that proxies log for it
T = TypeVar("T")
Told = tuple[str, T | Refusal]  # the image's name; and what is said of it, or why nothing is


class Service:
    """Answers requests with the networks that it was given.

    Args:
        models: By name; the first answers where none is given.
        limits: See there.
        metrics: Where it counts.
        indexes: Of pictures, each made by the network of its name.

    Raises:
        MaxViTError: If there is no network.
    """

    def __init__(
        self,
        models: Mapping[str, Predictor],
        limits: Limits,
        metrics: Metrics,
        indexes: Mapping[str, ImageIndex] | None = None,
    ) -> None:
        if not models:
            raise MaxViTError("there is no network to serve: give one or more")
        self.limits, self.metrics = limits, metrics
        self.ready = False
        self.images = Room("places for images", limits.queue)
        self.memory = Room("bytes for bodies", BODIES * limits.max_bytes)
        metrics.in_hand.set_function(lambda: self.images.taken)
        metrics.body_bytes.set_function(lambda: self.memory.taken)
        self._decoders = ThreadPoolExecutor(limits.decoders, "decode")
        self._computer = ThreadPoolExecutor(1, "compute")
        of = indexes or {}
        self.models = {name: self._served(name, predictor, of.get(name)) for name, predictor in models.items()}

    def _served(self, name: str, predictor: Predictor, index: ImageIndex | None) -> ServedModel:
        def done(images: int, waited_s: float, seconds: float) -> None:
            self.images.seconds_each += SMOOTHING * (seconds / images - self.images.seconds_each)
            self.metrics.batch_images.labels(name).observe(images)
            self.metrics.batch_wait_seconds.labels(name).observe(waited_s)
            self.metrics.batch_seconds.labels(name).observe(seconds)

        return ServedModel(name, predictor, self.limits, self._computer, done, index)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compute what comes; at first one image by each network, so that the first client need not wait."""
        await self._share_cores()
        tasks = [asyncio.create_task(served.batcher.run()) for served in self.models.values()]
        try:
            for served in self.models.values():
                await served.batcher.compute("predict", [served.prepare(black(served.preprocessing))])
            self.ready = True
            yield
        finally:
            self.ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._decoders.shutdown(cancel_futures=True)
            self._computer.shutdown(cancel_futures=True)

    async def _share_cores(self) -> None:
        """One thread for each decoder, PyTorch's number for the network.

        PyTorch keeps the number for each thread, and for a library below it once for all: the network is told last.
        """
        threads, all_here = torch.get_num_threads(), Barrier(self.limits.decoders)

        def alone() -> None:
            torch.set_num_threads(1)
            all_here.wait()  # so that each thread of the pool gets one of these calls

        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._decoders, alone) for _ in range(self.limits.decoders)))
        await loop.run_in_executor(self._computer, torch.set_num_threads, threads)

    def find(self, name: str | None) -> ServedModel:
        """A network by name; None: the first. Raises `Refusal` (404)."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal(404, f"there is no model {name[:80]!r}; there are {', '.join(self.models)}")
        return self.models[name]

    async def answer(
        self, request: Request, served: ServedModel, kind: str, tell: Callable[[Upload, Any], T]
    ) -> list[Told[T]]:
        """What a network says of each image of a request.

        Args:
            request: Nothing of its body has been read.
            served: The network.
            kind: "predict", "embed" or "search".
            tell: Called in a thread that decodes, with each image and what the network computed for it.

        Raises:
            Refusal: If nothing can be answered.
        """
        deadline = asyncio.get_running_loop().time() + self.limits.timeout_s
        media = media_type(request)
        self.images.check()
        with served.batcher.expecting() as arrived:
            body = await self._read(request, deadline)
            try:
                uploads = await split(request, media, body, self.limits)
                rows = partial(self._rows, served, kind, tell, uploads, arrived)
                return await self._compute(request, served, rows, len(uploads), deadline)
            finally:
                self.memory.give_back(len(body))

    async def one_image(self, request: Request, served: ServedModel) -> tuple[Prepared, float]:
        """The one image of a request as the network takes it, and the milliseconds that reading took.

        Raises:
            Refusal: If there is not one image that can be read.
        """
        begin = asyncio.get_running_loop().time()
        media = media_type(request)
        self.images.check()
        body = await self._read(request, begin + self.limits.timeout_s)
        try:
            uploads = await split(request, media, body, self.limits)
            if len(uploads) != 1:
                raise Refusal(422, f"there are {len(uploads)} images in the request: send one")
            loop = asyncio.get_running_loop()
            image = await loop.run_in_executor(self._decoders, self._prepare, served, uploads[0].data)
        finally:
            self.memory.give_back(len(body))
        if isinstance(image, Refusal):
            raise image
        return image, 1000 * (loop.time() - begin)

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it between two batches, in the thread that computes. Raises `Refusal` (503) if it takes too long."""
        with self.images.holding(1):
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    return await asyncio.get_running_loop().run_in_executor(self._computer, function, *arguments)
            except TimeoutError as error:
                sentence = f"no answer within {self.limits.timeout_s:g} s: try again later"
                raise Refusal(503, sentence, self.images.wait_s) from error
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise Refusal(422, "the image is too much for the server's memory: send a smaller one") from error

    async def beside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in a thread that decodes, while networks compute."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def _read(self, request: Request, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                return await read_body(request, self.limits, self.memory)
        except TimeoutError as error:
            raise Refusal(408, f"the body did not arrive within {self.limits.timeout_s:g} s: send it faster") from error
        except ClientDisconnect as error:
            raise Refusal(*GONE) from error

    async def _compute(
        self,
        request: Request,
        served: ServedModel,
        rows: Callable[[], Coroutine[Any, Any, list[Told[T]]]],
        images: int,
        deadline: float,
    ) -> list[Told[T]]:
        with self.images.holding(images):
            try:
                async with asyncio.timeout_at(deadline):
                    answers = await _while_connected(request, rows())
            except TimeoutError as error:
                sentence = f"no answer within {self.limits.timeout_s:g} s: try again later, or send fewer images"
                raise Refusal(503, sentence, self.images.wait_s) from error
            except MaxViTError as error:  # of the engine or the task: no embeddings, or no images of this size
                raise Refusal(422, str(error)) from error
        refused = [row for _, row in answers if isinstance(row, Refusal)]
        self.metrics.images.labels(served.name, "refused").inc(len(refused))
        self.metrics.images.labels(served.name, "answered").inc(len(answers) - len(refused))
        if len(refused) == len(answers):
            raise refused[0]
        return answers

    async def _rows(
        self,
        served: ServedModel,
        kind: str,
        tell: Callable[[Upload, Any], T],
        uploads: list[Upload],
        arrived: Callable[[], None],
    ) -> list[Told[T]]:
        """The answer for each image; those that cannot be read get none, and the others are answered."""
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(self._decoders, self._prepare, served, upload.data) for upload in uploads]
        prepared = await asyncio.gather(*work)
        arrived()
        readable = [upload for upload, p in zip(uploads, prepared, strict=True) if not isinstance(p, Refusal)]
        computed = await served.batcher.compute(kind, [p for p in prepared if not isinstance(p, Refusal)])
        telling = [loop.run_in_executor(self._decoders, tell, *of) for of in zip(readable, computed, strict=True)]
        rows = iter(await asyncio.gather(*telling))
        return [
            (upload.name, p if isinstance(p, Refusal) else next(rows))
            for upload, p in zip(uploads, prepared, strict=True)
        ]

    def _prepare(self, served: ServedModel, data: bytes) -> Prepared | Refusal:
        with self.metrics.decode_seconds.time():
            try:
                return served.prepare(served.decode(data))
            except Refusal as refusal:
                return refusal
            except MaxViTError as error:  # the task's own, of an image that it cannot take
                return Refusal(422, str(error))


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do it, unless the client goes away before it is done: then raises `Refusal` (499, which nobody reads)."""
    doing, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Refusal(*GONE)
    finally:
        doing.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
