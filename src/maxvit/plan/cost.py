"""What a training needs, before anything is spent: memory, operations, data and days, by formulae.

A pure function of a network's figures, a schedule and devices. It knows neither PyTorch nor Lightning; docs/plan.md
has the formulae and how far they are from what was measured.
"""

from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

from maxvit.errors import MaxViTError
from maxvit.plan.devices import Devices, Precision
from maxvit.plan.memory import Memory, memory

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
        images: Images of one epoch.
        batch_size: Images of one optimiser step, over all devices.
        epochs: Passes over the images.
        warmup_epochs: In how many of these the learning rate rises.
        gradient_checkpointing: Whether the recipe says so.
        image_bytes: Bytes of one stored image.
        device_batch_size: Most images of one forward on one device; None: as many as fit.
        sharded: Each device holds its share of the weights (FSDP2); else all of them (DDP).
    """

    images: int
    batch_size: int
    epochs: int
    warmup_epochs: float
    gradient_checkpointing: bool
    image_bytes: float
    device_batch_size: int | None = None
    sharded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to run the recipe. Pairs are (at best, at worst).

    Attributes:
        gradient_checkpointing: Whether blocks are computed again in backward.
        accumulation: Forwards and backwards of one optimiser step.
        images: Images of one forward, on one device.
        memory: On one device.
        fits: Whether that is within the usable memory.
        advice: What to do where it is not; else empty.
        step_flops: Operations of one step, all devices.
        step_s: Time of one step.
        days: Days of the whole training.
        images_per_s: To be fed, to all devices, at best.
        storage_bytes_per_s: The same in bytes, from storage.
        cores: Processor cores that decode and augment that.
    """

    gradient_checkpointing: bool
    accumulation: int
    images: int
    memory: Memory
    fits: bool
    advice: str
    step_flops: float
    step_s: tuple[float, float]
    days: tuple[float, float]
    images_per_s: float
    storage_bytes_per_s: float
    cores: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a training needs.

    Attributes:
        devices: As "64xH100".
        count: Number of devices.
        precision: "bf16", "fp16" or "fp32".
        peak_flops: Peak FLOP/s of one device.
        share_of_peak: Assumed, (lowest, highest).
        usable_bytes: Memory of one device that a way may fill.
        schedule: What is trained on, how often.
        steps: Steps of the optimiser.
        warmup_steps: The first of these.
        checkpoint_bytes: Bytes of the file of weights.
        state_bytes: Bytes of what is saved to resume: weights, their average, the optimiser's moments.
        ways: Without and with gradient checkpointing.
        assumptions: A sentence each.
    """

    devices: str
    count: int
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
        precision: Precision of the arithmetic: "bf16" or "fp16" under autocast, or "fp32".
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
    total = steps * schedule.epochs
    ways = tuple(_way(summary, schedule, devices, precision, images_per_core, total, again) for again in (False, True))
    state = memory(summary, 0, devices.device, precision, False)
    return Plan(
        devices=str(devices),
        count=devices.count,
        precision=precision,
        peak_flops=peak,
        share_of_peak=devices.device.share_of_peak,
        usable_bytes=USABLE * devices.device.memory_bytes,
        schedule=schedule,
        steps=total,
        warmup_steps=int(schedule.warmup_epochs * steps),
        checkpoint_bytes=summary.weight_bytes,
        state_bytes=state.weights + state.average + state.optimizer,
        ways=ways,
        assumptions=_assumptions(summary, devices, images_per_core, schedule.image_bytes),
    )


def _way(
    summary: "Summary",
    schedule: Schedule,
    devices: Devices,
    precision: Precision,
    images_per_core: float,
    steps: int,
    again: bool,
) -> Way:
    """One way, with the forwards a step that the schedule says, else as few as the memory allows."""
    n, device = devices.count, devices.device
    together, usable = schedule.batch_size // n, USABLE * device.memory_bytes
    if schedule.device_batch_size is None:
        parts = [k for k in range(1, together + 1) if together % k == 0]
    else:
        parts = [ceil(together / schedule.device_batch_size)]
    shards = n if schedule.sharded else 1
    for accumulation in parts:
        images = ceil(together / accumulation)
        needed = memory(summary, images, device, precision, again, shards)
        if needed.total <= usable:
            break
    advice = ""
    if needed.total > usable:
        what = "one image needs" if images == 1 else f"{images:,} images at once need"
        advice = f"{what} {needed.total / 1e9:.1f} of {usable / 1e9:.1f} GB: "
        if images > 1:
            advice += "lower data.device_batch_size, or leave it out for as many as fit"
        else:
            changes = {  # the least first
                "--set model.gradient_checkpointing=true": (True, shards),
                "--set engine.strategy=fsdp2": (again, n),
                "--set engine.strategy=fsdp2 and --set model.gradient_checkpointing=true": (True, n),
            }
            fitting = [
                change for change, how in changes.items() if memory(summary, 1, device, precision, *how).total <= usable
            ]
            advice += [*fitting, "take more memory a device, more devices with fsdp2, smaller images or model"][0]
    flops = 2.0 * summary.multiply_adds * PASSES[again] * schedule.batch_size
    low, high = device.share_of_peak
    fast, slow = (flops / (n * device.peak_flops(precision) * share) for share in (high, low))
    images_per_s = schedule.batch_size / fast
    return Way(
        gradient_checkpointing=again,
        accumulation=accumulation,
        images=images,
        memory=needed,
        fits=needed.total <= usable,
        advice=advice,
        step_flops=flops,
        step_s=(fast, slow),
        days=(steps * fast / DAY_S, steps * slow / DAY_S),
        images_per_s=images_per_s,
        storage_bytes_per_s=images_per_s * schedule.image_bytes,
        cores=ceil(images_per_s / images_per_core),
    )


def _assumptions(summary: "Summary", devices: Devices, images_per_core: float, image_bytes: float) -> tuple[str, ...]:
    """What the numbers rest on."""
    low, high = devices.device.share_of_peak
    speed = f"assumes that {low:.0%} to {high:.0%} of the peak is reached (MFU)"
    if devices.device.name == "cpu":
        speed += ", as measured for maxvit_tiny on two cores, plain and accelerated"
    else:
        speed = f"not measured on this hardware; {speed}; peak and memory are the data sheet's"
    left_out = "validation, and traffic between devices"
    return (
        f"not counted: {summary.not_counted}; {left_out}" if summary.not_counted else f"not counted: {left_out}",
        f"time: {speed}",
        "batch norm sees the images of one forward on one device, so fewer of them are another training",
        "operations: a step is 3 forwards, 4 with gradient checkpointing; a multiply-add is 2",
        f"memory: computed, and within {USABLE:.0%} of the device's; on a CPU that was 1.14 to 1.35 times what tensors "
        "held, and 0.67 (with checkpointing) to 1.05 times what was resident: docs/plan.md",
        f"data: {image_bytes / 1e3:.0f} kB an image, {images_per_core:g} images/s a core "
        f"(measured: {IMAGES_PER_CORE[0]:g} with PIL to {IMAGES_PER_CORE[1]:g} by tensors), at the best speed",
    )
