"""Devices that a training may run on, as frozen data, and how many of them: "64xH100"."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from maxvit.config import check_known
from maxvit.errors import MaxViTError

Precision = Literal["bf16", "fp16", "fp32"]
OPERATIONS_PER_BYTE = (
    38.8  # of MaxViT-T at 224 in bf16: 11.1 GFLOP forward over 286 MB read and written, counted unfused
)
MOST_OF_THE_PEAK = 0.6
MEASURED_ON_CPU = (
    0.38,
    0.59,
)  # a step of maxvit_tiny in plain PyTorch and accelerated, see benchmarks/results/training_*


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One kind of device.

    Attributes:
        name: As a user writes it.
        memory_bytes: Published; a GB is taken as 1e9 bytes.
        half: The 16-bit type that it trains in by itself; "bf16": its products in fp16 are as fast. None: it has none.
        half_flops: Published peak of matrix products a second, dense, in that type.
        fp32_flops: The same of fp32, in TF32 where the device has it.
        share_of_peak: Lowest and highest share of the peak that training is assumed to reach (MFU).
        reserved_bytes: Held by the driver and by libraries. Assumed.
    """

    name: str
    memory_bytes: float
    half: Literal["bf16", "fp16"] | None
    half_flops: float | None
    fp32_flops: float
    share_of_peak: tuple[float, float]
    reserved_bytes: float

    def peak_flops(self, precision: Precision) -> float:
        """Operations a second at most. Raises `MaxViTError` where the device has no such products."""
        check_known("precision", [precision], get_args(Precision))
        if precision == "fp32":
            return self.fp32_flops
        if self.half_flops is None or (precision, self.half) == ("bf16", "fp16"):
            raise MaxViTError(f"{self.name} has no {precision} matrix products: use --precision {self.precision}")
        return self.half_flops

    @property
    def precision(self) -> Precision:
        """What engine.precision auto means on it."""
        return self.half or "fp32"


@dataclass(frozen=True, slots=True)
class Devices:
    """Several devices of one kind."""

    device: Device
    count: int

    def __str__(self) -> str:
        return f"{self.count}x{self.device.name}"


def _gpu(
    name: str,
    memory_gb: float,
    memory_tb_per_s: float,
    tflops: tuple[float, float],
    half: Literal["bf16", "fp16"] = "bf16",
) -> Device:
    """The highest share of the peak is where memory bandwidth ends it without fused kernels, the lowest half of it."""
    half_tflops, fp32 = tflops
    share = min(MOST_OF_THE_PEAK, OPERATIONS_PER_BYTE * memory_tb_per_s / half_tflops)
    return Device(
        name=name,
        memory_bytes=memory_gb * 1e9,
        half=half,
        half_flops=half_tflops * 1e12,
        fp32_flops=fp32 * 1e12,
        share_of_peak=(share / 2, share),
        reserved_bytes=1.5e9,
    )


# Published, in NVIDIA's data sheets (SXM forms where there are several): memory, its bandwidth, dense peaks (half of a
# figure "with sparsity"). Assumed: the share of the peak, 1.5 GB reserved.
DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        device.name: device
        for device in (
            #                  GB, TB/s, (half, fp32 or TF32)
            _gpu("B200", 180, 8.0, (2250, 1100)),
            _gpu("H200", 141, 4.8, (989, 494)),
            _gpu("H100", 80, 3.35, (989, 494)),
            _gpu("A100-80", 80, 2.039, (312, 156)),
            _gpu("A100-40", 40, 1.555, (312, 156)),
            _gpu("L4", 24, 0.3, (121, 60)),
            _gpu("RTX4090", 24, 1.008, (165.2, 82.6)),
            _gpu("V100", 32, 0.9, (125, 15.7), half="fp16"),
        )
    }
)


def this_cpu(peak_flops: float, memory_bytes: float) -> Device:
    """A CPU like this one, which trains in fp32.

    Args:
        peak_flops: Peak FLOP/s of products of fp32 matrices, a second.
        memory_bytes: Memory of the machine.

    Raises:
        MaxViTError: If the peak is not above 0.
    """
    if not 0 < peak_flops < float("inf"):
        raise MaxViTError(f"the peak is {peak_flops:g} operations a second; give what the CPU reaches, such as 2e11")
    return Device(
        name="cpu",
        memory_bytes=memory_bytes,
        half=None,
        half_flops=None,
        fp32_flops=peak_flops,
        share_of_peak=MEASURED_ON_CPU,
        reserved_bytes=0,
    )


def machine_memory_bytes() -> float:
    """Memory of this machine. Raises `MaxViTError` where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError) as error:
        raise MaxViTError("this system does not say how much memory it has: plan for a GPU by its name") from error


def parse_devices(text: str, cpu: Device | None = None) -> Devices:
    """Read "64xH100", "8xA100-80", or "H100" for one.

    Args:
        text: A number and a device, such as "64xH100".
        cpu: What "cpu" means; None: it is not known.

    Raises:
        MaxViTError: If it is no such text, the device is unknown, or there are none.
    """
    found = re.fullmatch(r"\s*(?:(\d+)\s*[x×*]\s*)?([^\s]+)\s*", text, re.IGNORECASE)
    if found is None:
        raise MaxViTError(f"devices are {text!r}; write COUNTxDEVICE, such as 64xH100, or H100 for one")
    known = {**DEVICES, **({"cpu": cpu} if cpu else {})}
    name = next((name for name in known if name.lower() == found[2].lower()), found[2])
    if name not in known:
        raise MaxViTError(f"unknown device {name!r}: known are {', '.join(known)}")
    count = int(found[1] or 1)
    if count < 1:
        raise MaxViTError(f"devices are {text!r}; one is the fewest")
    return Devices(known[name], count)
