"""What a worker runs again and again: one forward pass, or one training step."""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from maxvit.benchmark.job import Array, Engine, Job

Answer = dict[str, Array]  # what is compared, by name; the first axis is that of images, if there is one


class Runner(Protocol):
    """A contender that is ready."""

    def run(self) -> None:
        """One forward pass or training step on the first batch; it has ended when this returns."""

    def answer(self, number: int) -> Answer:
        """What it computes of the first `number` images, a multiple of the batch."""


def make_runner(opened: nn.Module | Engine, job: Job) -> Runner:
    """Put images before what a contender opened."""
    data = load_file(job.folder / "images.safetensors")
    if not isinstance(opened, nn.Module):
        return _Engine(opened, data["images"], job.batch)
    images = _as_it_likes(data["images"], opened).to(job.device)
    if job.what == "training":
        return _Training(opened, images[: job.batch], data["labels"][: job.batch].to(job.device), job)
    return _Inference(opened, images, job)


def _as_it_likes(images: Tensor, module: nn.Module) -> Tensor:
    """Images in the layout of its convolutions: what a user of channels_last does before the clock starts."""
    weights = [p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    last = bool(weights) and not weights[0].is_contiguous()
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class _Inference:
    """Forward passes of a PyTorch module."""

    def __init__(self, module: nn.Module, images: Tensor, job: Job) -> None:
        self.module, self.images, self.job = module, images, job
        self.first = images[: job.batch]

    @torch.inference_mode()
    def run(self) -> None:
        self._forward(self.first)
        _wait(self.job)

    @torch.inference_mode()
    def answer(self, number: int) -> Answer:
        logits = [self._forward(batch) for batch in self.images[:number].split(self.job.batch)]
        return {"logits": torch.cat(logits).float().cpu().numpy()}

    def _forward(self, images: Tensor) -> Tensor:
        with _precision(self.job):
            return self.module(images)


class _Training:
    """Training steps without an optimiser, whose time is the same for all: forward, cross entropy, backward."""

    def __init__(self, module: nn.Module, images: Tensor, labels: Tensor, job: Job) -> None:
        self.module, self.images, self.labels, self.job = module, images, labels, job

    def run(self) -> None:
        self._step()
        _wait(self.job)

    def answer(self, number: int) -> Answer:
        """The loss, and the gradient of the first convolution, which all that comes after it goes into."""
        assert number == len(self.images)
        loss = self._step()
        gradient = next(self.module.parameters()).grad
        assert gradient is not None
        return {"loss": loss.detach().cpu().reshape(1).numpy(), "gradient": gradient.cpu().numpy()}

    def _step(self) -> Tensor:
        self.module.zero_grad(set_to_none=True)
        with _precision(self.job):
            loss = F.cross_entropy(self.module(self.images).float(), self.labels)
        loss.backward()
        return loss


class _Engine:
    """Forward passes of something that takes and gives arrays."""

    def __init__(self, call: Callable[[Array], Array], images: Tensor, batch: int) -> None:
        self.call, self.images, self.batch = call, images, batch
        self.first = images[:batch].numpy()

    def run(self) -> None:
        self.call(self.first)

    def answer(self, number: int) -> Answer:
        logits = [torch.from_numpy(self.call(batch.numpy())) for batch in self.images[:number].split(self.batch)]
        return {"logits": torch.cat(logits).numpy()}


def _precision(job: Job) -> torch.autocast:
    return torch.autocast(job.device, torch.bfloat16, enabled=job.precision == "bf16")


def _wait(job: Job) -> None:
    if job.device == "cuda":
        torch.cuda.synchronize()
