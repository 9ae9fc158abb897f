"""How many bytes a training holds on one device."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

from maxvit.plan.devices import Devices, Precision

if TYPE_CHECKING:
    from maxvit.summary import Summary

Strategy = Literal["DDP", "FSDP2"]
FP32 = 4  # bytes of a weight, a gradient, one of AdamW's two moments: fp32 at either precision, as under autocast
SHARE_KEPT = {
    "fp32": 1.0,
    "bf16": 0.6,
    "fp16": 0.6,
}  # of fp32 activations; counted 0.55 under autocast on a CPU, CUDA keeps more
TRANSIENTS = 3  # of the largest activation's size live at once in backward: two gradients and a result
UNITS = 3  # blocks that FSDP2 holds whole: one in use, the next one on its way, one's gradient


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: Parameters and statistics.
        gradients: One for each parameter.
        optimizer: AdamW's two moments.
        average: The exponential moving average of the weights.
        activations: What backward needs of the images of one forward.
        workspace: What comes and goes: gradients of activations, weights in 16 bits, DDP's buckets or FSDP2's whole
            blocks, libraries.
        total: All of these.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    workspace: int
    total: int


def memory(
    summary: "Summary",
    images: int,
    devices: Devices,
    precision: Precision,
    strategy: Strategy,
    gradient_checkpointing: bool,
) -> Memory:
    """Bytes on one device.

    Args:
        summary: The network in figures.
        images: Of one forward.
        devices: All that train together.
        precision: Of the arithmetic.
        strategy: Whether every device holds everything ("DDP") or its share ("FSDP2").
        gradient_checkpointing: Whether blocks are computed again in backward.
    """
    n = devices.count
    shards = n if strategy == "FSDP2" else 1
    parameters = FP32 * summary.parameters
    weights = ceil(parameters / shards) + summary.weight_bytes - parameters  # statistics are not shared out
    kept = summary.checkpointed_bytes if gradient_checkpointing else summary.training_bytes
    workspace = TRANSIENTS * SHARE_KEPT[precision] * summary.largest_bytes * images + devices.device.reserved_bytes
    if precision != "fp32":
        workspace += 2 * summary.parameters
    if n > 1 and strategy == "DDP":
        workspace += parameters
    if n > 1 and strategy == "FSDP2":
        workspace += UNITS * FP32 * max(ceil(part.parameters / max(1, part.blocks)) for part in summary.parts)
    found = {
        "weights": weights,
        "gradients": ceil(parameters / shards),
        "optimizer": ceil(2 * parameters / shards),
        "average": weights,
        "activations": ceil(SHARE_KEPT[precision] * kept * images),
        "workspace": ceil(workspace),
    }
    return Memory(**found, total=sum(found.values()))
