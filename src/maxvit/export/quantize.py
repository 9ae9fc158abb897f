"""int8 after training: ranges from a few hundred images, and as many products in 8 bits as keep the predictions."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.images import ImageLike
from maxvit.data.transforms import denormalise, preprocess
from maxvit.errors import MaxViTError
from maxvit.export.int8 import Range, find_range, quantize_weight, rounded
from maxvit.export.onnx import check_packages
from maxvit.export.options import ExportOptions
from maxvit.export.runtimes import Opener, in_onnxruntime
from maxvit.export.verify import ALLOWED
from maxvit.kernels.folding import fold_for_inference
from maxvit.model import MaxViT

if TYPE_CHECKING:
    from onnx import ModelProto

AT_ONCE = 8  # images in a forward
FEWEST = 20  # images


@dataclass(frozen=True, slots=True)
class Quantization:
    """What was quantised, and what that did to the predictions.

    Attributes:
        agreement: Share of images whose prediction is that of the network in fp32, 0 to 1: the first class; of a
            multi-label network all that reach its threshold.
        compared_on: Images that say so; none of them gave ranges.
        calibrated_on: Images that gave ranges.
        damage: For each product: the relative error (root mean square) of its output when it alone is in 8 bits.
        kept: Products that stayed in fp32, the most damaged first.
    """

    agreement: float
    compared_on: int
    calibrated_on: int
    damage: dict[str, float]
    kept: list[str]


def quantized(
    model: MaxViT,
    options: ExportOptions,
    images: Sequence[ImageLike],
    agreement: float,
    open_graph: Opener = in_onnxruntime,
) -> tuple["ModelProto", Quantization]:
    """An ONNX model that computes its products of matrices in 8 bits, and how well it does.

    Every second image gives the ranges; the file and the network predict for the others. Where too few predictions
    agree, the products that suffer most go back to fp32, until enough do. The result is part of the file's metadata.

    Args:
        model: It is left as it is.
        options: What goes in and comes out; its precision is "int8".
        images: A few hundred, of the kind that will come.
        agreement: Share of the predictions that must be those in fp32, 0 to 1.
        open_graph: Opens the model where it will run.

    Raises:
        MaxViTError: If there are too few images or one cannot be read, `agreement` is out of range, or a package is
            missing.
    """
    if not 0 <= agreement <= 1:
        raise MaxViTError(f"agreement is {agreement}; it takes a share from 0 to 1")
    if len(images) < FEWEST:
        raise MaxViTError(f"{len(images)} images were given to calibrate on; give some hundred, at least {FEWEST}")
    options.check(model)
    check_packages()
    from maxvit.export.onnx_network import check_unchanged, deployed

    check_unchanged(model)
    network = fold_for_inference(model).float().cpu()
    spec = options.spec(model)
    batches = _batches(spec, images[::2])
    ranges = _ranges(network, batches)
    damage = _damage(network, batches, ranges)
    worst = sorted(damage, key=lambda name: -damage[name])
    others = _batches(spec, images[1::2])
    with torch.inference_mode():
        wanted = [_predicted(network(batch), model.config) for batch in others]
    shown = [denormalise(spec, batch) for batch in others] if options.from_pixels else others
    _check_whole(open_graph(deployed(model, options, {}).SerializeToString())(shown[0]), others[0], network, options)
    kept = 0
    while True:
        chosen = {name: ranges[name] for name in worst[kept:]}
        made = deployed(model, options, chosen)
        run = open_graph(made.SerializeToString())
        found = [_predicted(run(batch), model.config, options.from_pixels) for batch in shown]
        share = _agreement(torch.cat(found), torch.cat(wanted))
        if share >= agreement or not chosen:
            break
        kept += max(1, len(worst) // 16)
    result = Quantization(share, len(images[1::2]), len(images[::2]), damage, worst[:kept])
    made.metadata_props.add(key="quantization", value=json.dumps(dataclasses.asdict(result)))
    return made, result


def _check_whole(found: Tensor, images: Tensor, network: MaxViT, options: ExportOptions) -> None:
    """Refuse a graph that is wrong before a product is in 8 bits: predictions may agree by chance."""
    with torch.inference_mode():
        expected = network(images)
    expected = network.config.probabilities(expected) if options.from_pixels else expected
    if found.shape != expected.shape or not (found - expected).abs().max() <= ALLOWED * expected.abs().max():
        raise MaxViTError(
            "the graph gives other numbers than the network, in fp32 too; nothing was written: please report this"
        )


def _batches(spec: Preprocessing, images: Sequence[ImageLike]) -> list[Tensor]:
    return list(torch.stack([preprocess(spec, image) for image in images]).split(AT_ONCE))


def _products(network: MaxViT) -> dict[str, nn.Module]:
    """What gains from 8 bits, by name. MBConv's expansion does not: as a product it would have to change the layout."""
    ends = ("mbconv.project", "attention.qkv", "attention.proj", "ffn.expand", "ffn.project")
    return {name: module for name, module in network.named_modules() if name.endswith(ends)}


def _watch(network: MaxViT, batches: Sequence[Tensor], watch: Callable[[str, nn.Module, Tensor, Tensor], None]) -> None:
    """Run the network, and call `watch` with each product's name, module, input and output."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        return lambda module, inputs, output: watch(name, module, inputs[0], output)

    handles = [module.register_forward_hook(hook(name)) for name, module in _products(network).items()]
    try:
        with torch.inference_mode():
            for batch in batches:
                network(batch)
    finally:
        for handle in handles:
            handle.remove()


def _ranges(network: MaxViT, batches: Sequence[Tensor]) -> dict[str, Range]:
    """Range of each product's inputs, over all images."""
    found: dict[str, Range] = {}

    def widen(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        seen, new = found.get(name, Range(0.0, 0.0)), find_range(x)
        found[name] = Range(min(seen.low, new.low), max(seen.high, new.high))

    _watch(network, batches, widen)
    return found


def _damage(network: MaxViT, batches: Sequence[Tensor], ranges: dict[str, Range]) -> dict[str, float]:
    """See `Quantization.damage`."""
    error, size = dict.fromkeys(ranges, 0.0), dict.fromkeys(ranges, 0.0)

    def compare(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        assert isinstance(module, nn.Linear | nn.Conv2d)
        levels, steps = quantize_weight(module.weight.flatten(1))
        weight, x = (levels * steps[:, None]).reshape(module.weight.shape), rounded(x, ranges[name])
        again = F.linear(x, weight, module.bias) if isinstance(module, nn.Linear) else F.conv2d(x, weight, module.bias)
        error[name] += float((again - y).square().sum())
        size[name] += float(y.square().sum())

    _watch(network, batches, compare)
    return {name: (error[name] / max(size[name], 1e-30)) ** 0.5 for name in ranges}


def _predicted(scores: Tensor, config: MaxViTConfig, are_probabilities: bool = False) -> Tensor:
    """What is predicted for each image, as rows to compare: the first class, or of each class whether it is there."""
    if not config.multi_label:
        return scores.argmax(1, keepdim=True)
    return (scores if are_probabilities else config.probabilities(scores)) >= config.threshold


def _agreement(found: Tensor, wanted: Tensor) -> float:
    """Share of images whose rows are the same."""
    return float((found == wanted).all(1).float().mean())
