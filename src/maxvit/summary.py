"""How large a network is: parameters, multiply-adds and memory, stage by stage, without allocating it."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from maxvit.config import Sides
from maxvit.tasks import outline_of, task_for
from maxvit.tasks.network import Network, backbone_of


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the network, for one image.

    Attributes:
        name: "stem", "stage 1" ... "stage 4", "head".
        blocks: How many MaxViT blocks.
        output: (C, H, W), or (classes,); empty where the head gives no tensor.
        parameters: Learned numbers.
        multiply_adds: In convolutions and matrix products.
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
        multiply_adds: In convolutions and matrix products.
        weight_bytes: Parameters and statistics, as stored.
        training_bytes: Activations that backward needs, float32, without gradient checkpointing.
        checkpointed_bytes: The same with it: the blocks' inputs, and the largest of the blocks, computed again.
        largest_bytes: The largest of these activations.
        not_counted: What training computes besides, in words; empty: nothing that counts.
    """

    image_size: Sides
    parts: list[Part]
    parameters: int
    multiply_adds: int
    weight_bytes: int
    training_bytes: int
    checkpointed_bytes: int
    largest_bytes: int
    not_counted: str = ""


class _Step(nn.Module):
    """A training step as a module, from which the counter takes names."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.task = network, task_for(network)

    def forward(self, images: Tensor) -> None:
        self.task.rehearse(self.network, images)


def summarize(network: Network, image_size: Sides | None = None) -> Summary:
    """Count, by running a copy on PyTorch's "meta" device, which computes shapes and no values.

    Args:
        network: Any MaxViT, with its own head or that of a task.
        image_size: (height, width); None: the size it is made for. Windows stay as they are.
    """
    size = image_size or network.config.image_size
    network = outline_of(network)
    backbone = backbone_of(network)
    parts: dict[str, nn.Module] = {"stem": backbone.stem}
    parts |= {f"stage {i}": stage for i, stage in enumerate(backbone.stages, start=1)}
    parts["head"] = network.head
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in parts.items():
        last = module[-1] if isinstance(module, nn.Sequential) else module
        last.register_forward_hook(_shape_recorder(shapes, name))

    kept: dict[int, int] = {}  # by storage: one that two operations keep counts once
    alive: list[Tensor] = []  # so that no storage is freed and its address used again
    weights = {p.untyped_storage()._cdata for p in network.state_dict().values()}

    inputs: list[int] = []  # bytes of each block's input,
    blocks: list[int] = []  # and of what it keeps, its input included
    for block in (block for stage in backbone.stages for block in stage.children()):
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
    images = torch.empty(2, network.config.in_channels, *size, device="meta")  # batch norm wants more than one value
    step = _Step(network)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        step(images)
    operations = dict.fromkeys(parts, 0)
    for path, counts in counter.get_flop_counts().items():
        if match := re.fullmatch(r"_Step\.network\.(?:backbone\.)?(?:stem|stages\.(\d)\.\d+)", path):
            operations[f"stage {int(match[1]) + 1}" if match[1] else "stem"] += sum(counts.values())
    operations["head"] = counter.get_total_flops() - sum(operations.values())
    rows = [
        Part(
            name=name,
            blocks=len(module) if isinstance(module, nn.Sequential) else 0,
            output=shapes.get(name, ()),
            parameters=sum(p.numel() for p in module.parameters()),
            multiply_adds=operations[name] // 4,  # two images; a multiply-add is two operations
        )
        for name, module in parts.items()
    ]
    again = max((own - given for own, given in zip(blocks, inputs, strict=True)), default=0)
    return Summary(
        image_size=size,
        parts=rows,
        parameters=sum(p.numel() for p in network.parameters()),
        multiply_adds=counter.get_total_flops() // 4,
        weight_bytes=sum(t.numel() * t.element_size() for t in network.state_dict().values()),
        training_bytes=sum(kept.values()) // 2,
        checkpointed_bytes=(sum(kept.values()) - sum(blocks) + sum(inputs) + again) // 2,
        largest_bytes=max(kept.values()) // 2,
        not_counted=step.task.not_counted,
    )


def _shape_recorder(shapes: dict[str, tuple[int, ...]], name: str) -> Any:
    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape[1:])

    return record
