"""How many bytes a training holds on one device."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from maxvit.plan.devices import Device, Precision

if TYPE_CHECKING:
    from maxvit.summary import Summary

FP32 = 4  # bytes of a weight, a gradient, one of AdamW's two moments: fp32 at either precision, as under autocast
SHARE_KEPT = {
    "fp32": 1.0,
    "bf16": 0.6,
    "fp16": 0.6,
}  # of fp32 activations; counted 0.55 under autocast on a CPU, CUDA keeps more
TRANSIENTS = 3  # of the largest activation's size live at once in backward: two gradients and a result


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: Parameters and statistics.
        gradients: One for each parameter.
        optimizer: AdamW's two moments.
        average: The exponential moving average of the weights.
        activations: What backward needs of the images of one forward.
        workspace: What comes and goes: gradients of activations, weights in 16 bits, libraries.
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
    summary: "Summary", images: int, device: Device, precision: Precision, gradient_checkpointing: bool, shards: int = 1
) -> Memory:
    """Bytes on one device.

    Args:
        summary: The network in figures.
        images: Images of one forward.
        device: It has memory of its own that libraries take.
        precision: Precision of the arithmetic.
        gradient_checkpointing: Whether blocks are computed again in backward.
        shards: How many devices share the weights, and what belongs to them (FSDP2); 1: each holds everything (DDP).
    """
    parameters, share = FP32 * summary.parameters, SHARE_KEPT[precision]
    weights = ceil(parameters / shards) + summary.weight_bytes - parameters  # statistics are not shared out
    kept = summary.checkpointed_bytes if gradient_checkpointing else summary.training_bytes
    in_16_bits = 0 if precision == "fp32" else 2 * summary.parameters
    found = {
        "weights": weights,
        "gradients": ceil(parameters / shards),
        "optimizer": ceil(2 * parameters / shards),
        "average": weights,
        "activations": ceil(share * kept * images),
        "workspace": ceil(TRANSIENTS * share * summary.largest_bytes * images + in_16_bits + device.reserved_bytes),
    }
    return Memory(**found, total=sum(found.values()))
