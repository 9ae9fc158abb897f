"""How large a network is: parameters, multiply-adds and memory, stage by stage, without allocating it."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from maxvit.config import Size
from maxvit.model import MaxViT


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the network, for one image.

    Attributes:
        name: "stem", "stage 1" ... "stage 4", "head".
        blocks: How many MaxViT blocks.
        output: (C, H, W), or (classes,).
        parameters: Learned numbers.
        multiply_adds: Of convolutions and matrix products.
    """

    name: str
    blocks: int
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A network in figures, for one image.

    Attributes:
        image_size: (height, width).
        parts: Stem, stages, head.
        parameters: Learned numbers in all.
        multiply_adds: Of convolutions and matrix products.
        weight_bytes: Parameters and statistics, as stored.
        training_bytes: Activations that backward needs, float32, without gradient checkpointing.
        checkpointed_bytes: The same with it: the blocks' inputs, and the largest of the blocks, computed again.
        largest_bytes: The largest of these activations.
    """

    image_size: Size
    parts: list[Part]
    parameters: int
    multiply_adds: int
    weight_bytes: int
    training_bytes: int
    checkpointed_bytes: int
    largest_bytes: int


def summarize(model: MaxViT, image_size: Size | None = None) -> Summary:
    """Count, by running a copy on PyTorch's "meta" device, which computes shapes and no values.

    Args:
        model: Any MaxViT.
        image_size: (height, width); None: the size it is made for. Windows stay as they are.
    """
    size = image_size or model.config.image_size
    model = MaxViT.outline(model.config).to(next(model.parameters()).dtype).train()
    parts: dict[str, nn.Module] = {"stem": model.stem}
    parts |= {f"stage {i}": stage for i, stage in enumerate(model.stages, start=1)}
    parts["head"] = model.head
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in parts.items():
        last = module[-1] if isinstance(module, nn.Sequential) else module
        last.register_forward_hook(_shape_recorder(shapes, name))

    kept: dict[int, int] = {}  # by storage: one that two operations keep counts once
    alive: list[Tensor] = []  # so that no storage is freed and its address used again
    weights = {p.untyped_storage()._cdata for p in model.state_dict().values()}

    inputs: list[int] = []  # bytes of each block's input,
    blocks: list[int] = []  # and of what it keeps, its input included
    for block in (block for stage in model.stages for block in stage.children()):
        block.register_forward_pre_hook(lambda _, given: inputs.append(given[0].untyped_storage().nbytes()))
        block.register_forward_pre_hook(lambda *_: blocks.append(-sum(kept.values())))
        block.register_forward_hook(lambda *_: blocks.append(blocks.pop() + sum(kept.values())))

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    counter = FlopCounterMode(display=False)
    images = torch.empty(2, model.config.in_channels, *size, device="meta")  # batch norm wants more than one value
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model(images)
    operations: dict[str, int] = {}
    for path, counts in counter.get_flop_counts().items():
        if match := re.fullmatch(r"MaxViT\.(stem|head|stages\.(\d)\.\d+)", path):
            name = f"stage {int(match[2]) + 1}" if match[2] else match[1]
            operations[name] = operations.get(name, 0) + sum(counts.values())
    rows = [
        Part(
            name=name,
            blocks=len(module) if isinstance(module, nn.Sequential) else 0,
            output=shapes[name],
            parameters=sum(p.numel() for p in module.parameters()),
            multiply_adds=operations[name] // 4,  # two images; a multiply-add is two operations
        )
        for name, module in parts.items()
    ]
    again = max((own - given for own, given in zip(blocks, inputs, strict=True)), default=0)
    return Summary(
        image_size=size,
        parts=rows,
        parameters=sum(p.numel() for p in model.parameters()),
        multiply_adds=counter.get_total_flops() // 4,
        weight_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        training_bytes=sum(kept.values()) // 2,
        checkpointed_bytes=(sum(kept.values()) - sum(blocks) + sum(inputs) + again) // 2,
        largest_bytes=max(kept.values()) // 2,
    )


def _shape_recorder(shapes: dict[str, tuple[int, ...]], name: str) -> Any:
    def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])

    return record
