"""What an exported file gives, compared with what the network gives, before it is put in place."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from maxvit.data.images import ImageLike
from maxvit.data.transforms import denormalise, normalise, preprocess
from maxvit.errors import MaxViTError
from maxvit.export.options import ExportOptions
from maxvit.export.runtimes import open_file
from maxvit.export.torch_export import graph_of
from maxvit.tasks.network import Network

NOISE = 2  # images of random numbers
MOST = 4  # real images
ALLOWED = 1e-4  # relative difference in fp32
ROUNDING = 4  # times the difference that the network itself has in the file's type: the largest of few numbers varies
MOST_ROUNDING = 0.5  # of that difference; above it nothing can be compared


@dataclass(frozen=True, slots=True)
class Verification:
    """How far what a file gives is from what the network gives.

    Attributes:
        largest: Difference of two numbers that are given out, such as logits.
        relative: The same over the root mean square of the network's numbers; or what the task takes for it.
        allowed: What `relative` may be; None: there is no bound, as of int8, whose predictions are counted instead.
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


def verify(network: Network, path: Path, options: ExportOptions, images: Sequence[ImageLike] = ()) -> Verification:
    """Run a file and the network in PyTorch, in fp32, on the same images, random and real, and compare.

    Args:
        network: What the file was made of.
        path: `.onnx`, `.xml`, `.pt2` or `.pte`.
        options: What it takes and gives. For any size, two sizes are tried.
        images: Real ones; four are used.

    Raises:
        MaxViTError: If the file cannot be run, or its numbers are farther from the network's than they may be.
    """
    graph = graph_of(network, dataclasses.replace(options, precision="fp32"))
    measure = graph.difference or relative_difference
    batches = _batches(network, options, images[:MOST])
    prepared = [_prepared(network, batch) for batch in batches] if options.from_pixels else batches
    expected = _outputs(graph.module, prepared)
    allowed: float | None = None
    if options.precision != "int8":
        allowed = ALLOWED
    if options.precision in ("fp16", "bf16"):
        rounding = measure(_outputs(graph_of(network, options).module, prepared), expected)
        if not rounding <= MOST_ROUNDING:
            raise MaxViTError(
                f"in {options.precision} the network itself is {rounding:.1e} from fp32, too far to compare a file "
                "with it: use fp32"
            )
        allowed = ALLOWED + ROUNDING * rounding
    file = open_file(path)
    try:
        found = _joined([file(batch) for batch in batches])
    except Exception as error:  # each runtime has errors of its own
        reason = str(error).splitlines()[0]
        raise MaxViTError(
            f"{file.name} cannot run the file ({reason}); nothing was written: please report this"
        ) from error
    if shapes := [f.shape for f, e in zip(found, expected, strict=True) if f.shape != e.shape]:
        raise MaxViTError(
            f"the file gives the shape {tuple(shapes[0])}, unlike the network; nothing was written: please report this"
        )
    largest = max(float((f - e).abs().max()) for f, e in zip(found, expected, strict=True))
    relative = measure(found, expected)
    if not all(f.isfinite().all() for f in found) or (allowed is not None and not relative <= allowed):
        raise MaxViTError(
            f"the file gives other numbers than the network: the relative difference is {relative:.1e} in {file.name}, "
            f"where {allowed or 1:.1e} is allowed; nothing was written: try another precision, and please report this"
        )
    real = min(MOST, len(images))
    return Verification(largest, relative, allowed, sum(map(len, batches)) - real, real, file.name)


def relative_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference over the root mean square of what is expected."""
    pairs = zip(found, expected, strict=True)
    return max(float((f - e).abs().max()) / max(float(e.square().mean().sqrt()), 1e-30) for f, e in pairs)


def _batches(network: Network, options: ExportOptions, images: Sequence[ImageLike]) -> list[Tensor]:
    """What is given to the file: prepared images, or pixels."""
    size, random = options.size(network), torch.Generator().manual_seed(0)
    sizes = [size, (size[0] + 13, size[1] + 50)] if options.any_size else [size]
    batches = [torch.randn(NOISE, network.config.in_channels, *s, generator=random) for s in sizes]
    spec = options.spec(network)
    if not options.any_size and spec.fit == "aspect":
        spec = dataclasses.replace(spec, fit="squash")  # a piece
    for image in images:
        one = preprocess(spec, image)[None]
        if not options.any_size:
            batches[0] = torch.cat([batches[0], one])
        elif min(one.shape[2:]) > 32:
            batches.append(one)
    return [denormalise(network.preprocessing, batch) for batch in batches] if options.from_pixels else batches


def _prepared(network: Network, pixels: Tensor) -> Tensor:
    """Pixels as prediction normalises them, one by one."""
    return torch.stack([normalise(network.preprocessing, one.numpy()) for one in pixels])


def _outputs(module: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    """Each output of a module for all images."""
    with torch.inference_mode():
        made = [module(batch) for batch in batches]
    return _joined([[outputs] if isinstance(outputs, Tensor) else list(outputs) for outputs in made])


def _joined(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]
