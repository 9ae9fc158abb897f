"""What a training needs, before anything is spent: memory, operations, traffic, data and days, by formulae.

A pure function of a network's figures, a schedule and devices. It knows neither PyTorch nor Lightning; docs/plan.md
has the formulae and how far they are from what was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TYPE_CHECKING

from maxvit.errors import MaxViTError
from maxvit.plan.devices import Devices, Precision
from maxvit.plan.memory import FP32, Memory, Strategy, memory

if TYPE_CHECKING:
    from maxvit.summary import Summary

PASSES = {False: 3, True: 4}  # forwards' worth of operations a step, by gradient checkpointing: backward is two
USABLE = 0.9  # of the memory; the rest is lost to fragments (assumed)
IMAGES_PER_CORE = (133.0, 154.0)  # measured, decoding and augmenting 500 x 375 JPEGs with PIL and by tensors
DAY_S = 86400


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What of a recipe and its data decides the cost.

    Attributes:
        images: Of one epoch.
        batch_size: Images of one optimiser step, over all devices.
        epochs: Passes over the images.
        warmup_epochs: Of these, how many the learning rate rises.
        gradient_checkpointing: Whether the recipe says so.
        image_bytes: Of one stored image.
        device_batch_size: Most images of one forward on one device; None: as many as fit.
    """

    images: int
    batch_size: int
    epochs: int
    warmup_epochs: float
    gradient_checkpointing: bool
    image_bytes: float
    device_batch_size: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to run the recipe. Pairs are (at best, at worst).

    Attributes:
        strategy: "DDP": every device holds everything. "FSDP2": each holds its share, and gathers block by block.
        gradient_checkpointing: Whether blocks are computed again in backward.
        accumulation: Forwards and backwards of one optimiser step.
        images: Of one forward, on one device.
        memory: On one device.
        fits: Whether that is within the usable memory.
        advice: What to do where it is not; else empty.
        step_flops: Operations of one step, all devices.
        traffic_bytes: Sent by one device in one step.
        traffic_s: Time that takes.
        compute_s: Time of the operations of one step.
        days: Of the whole training.
        images_per_s: To be fed, to all devices, at best.
        storage_bytes_per_s: The same in bytes, from storage.
        cores: Processor cores that decode and augment that.
    """

    strategy: Strategy
    gradient_checkpointing: bool
    accumulation: int
    images: int
    memory: Memory
    fits: bool
    advice: str
    step_flops: float
    traffic_bytes: float
    traffic_s: float
    compute_s: tuple[float, float]
    days: tuple[float, float]
    images_per_s: float
    storage_bytes_per_s: float
    cores: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a training needs.

    Attributes:
        devices: As "64xH100".
        count: Of devices.
        nodes: Machines.
        precision: "bf16", "fp16" or "fp32".
        peak_flops: Of one device.
        share_of_peak: Assumed, (lowest, highest).
        usable_bytes: Memory of one device that a way may fill.
        schedule: What is trained on, how often.
        steps: Of the optimiser.
        warmup_steps: Of these, the first.
        checkpoint_bytes: Of the file of weights.
        state_bytes: Of what is saved to resume: weights, their average, the optimiser's moments.
        ways: DDP, FSDP2, each without and with gradient checkpointing.
        assumptions: A sentence each.
    """

    devices: str
    count: int
    nodes: int
    precision: Precision
    peak_flops: float
    share_of_peak: tuple[float, float]
    usable_bytes: float
    schedule: Schedule
    steps: int
    warmup_steps: int
    checkpoint_bytes: int
    state_bytes: int
    ways: tuple[Way, ...]
    assumptions: tuple[str, ...]


def make_plan(
    summary: "Summary",
    schedule: Schedule,
    devices: Devices,
    precision: Precision = "bf16",
    images_per_core: float = IMAGES_PER_CORE[0],
) -> Plan:
    """Work out every way to run a training.

    Args:
        summary: The network in figures, at the size it is trained at.
        schedule: On what it is trained, how often.
        devices: What on.
        precision: Of the arithmetic: "bf16" or "fp16" under autocast, or "fp32".
        images_per_core: That one core decodes and augments in a second.

    Raises:
        MaxViTError: If the devices do not share the batch evenly, lack the precision, or a number is not above 0.
    """
    for name, value in (("images", schedule.images), ("images per core", images_per_core)):
        if not 0 < value < inf:
            raise MaxViTError(f"{name}: {value:g} were given; the number must be above 0")
    if schedule.batch_size % devices.count:
        nearest = ceil(schedule.batch_size / devices.count) * devices.count
        raise MaxViTError(
            f"a batch of {schedule.batch_size} cannot be shared evenly by {devices.count} devices: "
            f"use --set data.batch_size={nearest}, or another number of devices"
        )
    steps = -(-schedule.images // schedule.batch_size)  # of an epoch
    peak = devices.device.peak_flops(precision)
    strategies: tuple[Strategy, ...] = ("DDP", "FSDP2")
    ways = [
        _way(summary, schedule, devices, precision, images_per_core, steps * schedule.epochs, strategy, again)
        for strategy in strategies
        for again in (False, True)
    ]
    state = memory(summary, 0, devices, precision, "DDP", False)
    return Plan(
        devices=str(devices),
        count=devices.count,
        nodes=devices.nodes,
        precision=precision,
        peak_flops=peak,
        share_of_peak=devices.device.share_of_peak,
        usable_bytes=USABLE * devices.device.memory_bytes,
        schedule=schedule,
        steps=steps * schedule.epochs,
        warmup_steps=int(schedule.warmup_epochs * steps),
        checkpoint_bytes=summary.weight_bytes,
        state_bytes=state.weights + state.average + state.optimizer,
        ways=tuple(replace(way, advice=_advice(way, ways, devices)) for way in ways),
        assumptions=_assumptions(summary, devices, images_per_core, schedule.image_bytes),
    )


def _way(
    summary: "Summary",
    schedule: Schedule,
    devices: Devices,
    precision: Precision,
    images_per_core: float,
    steps: int,
    strategy: Strategy,
    again: bool,
) -> Way:
    """One way, with the forwards a step that the schedule says, else as few as the memory allows."""
    n, device = devices.count, devices.device
    together = schedule.batch_size // n
    if schedule.device_batch_size is None:
        ways = [k for k in range(1, together + 1) if together % k == 0]
    else:
        ways = [ceil(together / schedule.device_batch_size)]
    for accumulation in ways:
        images = ceil(together / accumulation)
        needed = memory(summary, images, devices, precision, strategy, again)
        fits = needed.total <= USABLE * device.memory_bytes
        if fits:
            break
    flops = 2.0 * summary.multiply_adds * PASSES[again] * schedule.batch_size
    rounds = 2 if strategy == "DDP" else 3 * accumulation
    traffic = rounds * (n - 1) / n * FP32 * summary.parameters
    traffic_s = traffic / devices.ring_bytes_per_s
    low, high = device.share_of_peak
    fast, slow = (flops / (n * device.peak_flops(precision) * share) for share in (high, low))
    best = max(fast, traffic_s)  # all traffic while something is computed; at worst none of it
    images_per_s = schedule.batch_size / best
    return Way(
        strategy=strategy,
        gradient_checkpointing=again,
        accumulation=accumulation,
        images=images,
        memory=needed,
        fits=fits,
        advice="",
        step_flops=flops,
        traffic_bytes=traffic,
        traffic_s=traffic_s,
        compute_s=(fast, slow),
        days=(steps * best / DAY_S, steps * (slow + traffic_s) / DAY_S),
        images_per_s=images_per_s,
        storage_bytes_per_s=images_per_s * schedule.image_bytes,
        cores=ceil(images_per_s / images_per_core),
    )


def _advice(way: Way, ways: Sequence[Way], devices: Devices) -> str:
    """What to change so that it fits, the least first."""
    if way.fits:
        return ""
    what = "one image needs" if way.images == 1 else f"{way.images:,} images at once need"
    needs = f"{what} {way.memory.total / 1e9:.1f} of {USABLE * devices.device.memory_bytes / 1e9:.1f} GB: "
    if way.images > 1:
        return f"{needs}lower data.device_batch_size, or leave it out for as many as fit"
    others = [other for other in ways if other.fits]
    others.sort(key=lambda other: (other.strategy != way.strategy, other.gradient_checkpointing))
    if not others:
        return f"{needs}take more memory a device, more devices (FSDP2 shares the weights), smaller images or model"
    changes = [f"use {others[0].strategy}"] if others[0].strategy != way.strategy else []
    if others[0].gradient_checkpointing and not way.gradient_checkpointing:
        changes.append("--set model.gradient_checkpointing=true")
    return needs + " and ".join(changes)


def _assumptions(summary: "Summary", devices: Devices, images_per_core: float, image_bytes: float) -> tuple[str, ...]:
    """What the numbers rest on."""
    low, high = devices.device.share_of_peak
    speed = f"assumes that {low:.0%} to {high:.0%} of the peak is reached (MFU)"
    if devices.device.name == "cpu":
        speed += ", as measured for maxvit_tiny on two cores, plain and accelerated"
    else:
        speed = f"not measured on this hardware; {speed}; peak, memory and links are the data sheet's"
    counted = (f"not counted: {summary.not_counted}",) if summary.not_counted else ()
    return (
        *counted,
        f"time: {speed}; at best all traffic hides behind arithmetic, at worst none; without validation",
        "batch norm sees the images of one forward on one device, so fewer of them are another training",
        "operations: a step is 3 forwards, 4 with gradient checkpointing; a multiply-add is 2",
        f"memory: computed, and within {USABLE:.0%} of the device's; on a CPU that was 1.14 to 1.35 times what tensors "
        "held, and 0.67 (with checkpointing) to 1.05 times what was resident: docs/plan.md",
        "traffic: fp32; DDP 2 (n - 1) / n of the gradients once a step, FSDP2 3 (n - 1) / n of the weights for each "
        "forward and backward",
        f"data: {image_bytes / 1e3:.0f} kB an image, {images_per_core:g} images/s a core "
        f"(measured: {IMAGES_PER_CORE[0]:g} with PIL to {IMAGES_PER_CORE[1]:g} by tensors), at the best speed",
    )
