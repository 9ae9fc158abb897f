"""What an exported file answers beside what the network answers, before it is given out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from maxvit.data.images import ImageLike
from maxvit.data.transforms import denormalise, normalise, preprocess
from maxvit.errors import MaxViTError
from maxvit.export.options import ExportOptions
from maxvit.export.runtimes import open_file
from maxvit.layers.sharing import sharing_copy
from maxvit.model import MaxViT

NOISE = 2  # images of random numbers
MOST = 4  # real images
ALLOWED = 1e-4  # relative difference in fp32
ROUNDING = 4  # times the difference that the network itself has in the file's type: the largest of few numbers varies


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a file's answers are from the network's.

    Attributes:
        largest: Difference of two numbers that are given out (logits or probabilities).
        relative: The same over the root mean square of the network's numbers.
        allowed: What `relative` may be; None: there is no bound, as of int8, whose answers are counted instead.
        random: Images of random numbers.
        real: Real images.
        engine: What computed the file.
    """

    largest: float
    relative: float
    allowed: float | None
    random: int
    real: int
    engine: str


def verify(model: MaxViT, path: Path, form: ExportOptions, images: Sequence[ImageLike] = ()) -> Verification:
    """Run a file and the network in PyTorch, in fp32, on the same images, random and real, and compare.

    Args:
        model: What the file was made of.
        path: `.onnx`, `.xml` or `.pt2`.
        form: What it takes and gives. For any size, two sizes are tried.
        images: Real ones; four are used.

    Raises:
        MaxViTError: If the file cannot be run, or answers otherwise than it may.
    """
    network = sharing_copy(model).float().cpu().eval()
    batches = _batches(model, form, images[:MOST])
    expected = [_answers(network, model, form, batch) for batch in batches]
    allowed = _allowed(model, form, batches, expected)
    file = open_file(path)
    found = [file(batch) for batch in batches]
    largest = max(float((f - e).abs().max()) for f, e in zip(found, expected, strict=True))
    size = torch.cat([e.flatten() for e in expected]).square().mean().sqrt()
    relative = largest / max(float(size), 1e-30)
    if not all(f.isfinite().all() for f in found) or (allowed is not None and not relative <= allowed):
        raise MaxViTError(
            f"the file answers otherwise than the network: the relative difference is {relative:.1e} in {file.name}, "
            f"where {allowed or 1:.1e} is allowed; nothing was written: try another precision, and please report this"
        )
    real = min(MOST, len(images))
    return Verification(largest, relative, allowed, len(torch.cat(expected)) - real, real, file.name)


def _batches(model: MaxViT, form: ExportOptions, images: Sequence[ImageLike]) -> list[Tensor]:
    """What is given to the file: preprocessed images, or pixels."""
    size, random = form.size(model), torch.Generator().manual_seed(0)
    sizes = [size, (size[0] + 13, size[1] + 50)] if form.any_size else [size]
    batches = [torch.randn(NOISE, model.config.in_channels, *s, generator=random) for s in sizes]
    for image in images:
        one = preprocess(form.spec(model), image)[None]
        if not form.any_size:
            batches[0] = torch.cat([batches[0], one])
        elif min(one.shape[2:]) > 32:
            batches.append(one)
    return [denormalise(model.preprocessing, batch) for batch in batches] if form.from_pixels else batches


def _answers(network: MaxViT, model: MaxViT, form: ExportOptions, batch: Tensor) -> Tensor:
    """The network's, in its own type; pixels are normalised as prediction does it, one by one."""
    if form.from_pixels:
        batch = torch.stack([normalise(model.preprocessing, pixels.numpy()) for pixels in batch])
    with torch.inference_mode():
        logits = network(batch.to(next(network.parameters()).dtype)).float()
    return model.config.probabilities(logits) if form.from_pixels else logits


def _allowed(model: MaxViT, form: ExportOptions, batches: list[Tensor], expected: list[Tensor]) -> float | None:
    """The relative difference that the file may have."""
    if form.precision == "int8":
        return None
    if form.precision == "fp32":
        return ALLOWED
    network = sharing_copy(model).to("cpu", form.dtype).eval()
    rounded = [_answers(network, model, form, batch) for batch in batches]
    largest = max(float((r - e).abs().max()) for r, e in zip(rounded, expected, strict=True))
    return ALLOWED + ROUNDING * largest / max(float(torch.cat(expected).square().mean().sqrt()), 1e-30)
