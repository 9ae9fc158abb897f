"""In how many bits a network computes, and what that changes in its answers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from maxvit.config import check_known
from maxvit.errors import MaxViTError

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "fp64")
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FEW = 8  # images of the first batch that are compared


def choose_precision(text: str, device: torch.device) -> str:
    """The precision that a user's word means on a device.

    Args:
        text: "auto": bf16 on a GPU that has it, fp16 on another; fp32 on the CPU and on Apple's GPUs, where neither has
            been tried. Or one of `PRECISIONS`, which is taken.
        device: Where it is computed.

    Raises:
        MaxViTError: If the word means nothing, or the device has no such type, or is many times slower with it.
    """
    check_known("precision", [text], PRECISIONS)
    if text == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if _has_bf16(device) else "fp16"
    if text == "bf16" and not _has_bf16(device):
        others = "fp16 or fp32" if device.type == "cuda" else "fp32"
        raise MaxViTError(f"precision is bf16, which {device} lacks, or computes many times slower: use {others}")
    if text == "fp64" and device.type == "mps":
        raise MaxViTError("precision is fp64, which Apple's GPUs lack: use fp32, or --device cpu")
    return text


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Where a network in float32 computes in this precision; in fp32 and fp64 nothing changes."""
    return torch.autocast(device.type, HALVES.get(precision, torch.bfloat16), enabled=precision in HALVES)


def _has_bf16(device: torch.device) -> bool:
    """Whether it computes in bf16 by itself."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    return bool(torch.cpu._is_avx512_bf16_supported())


class Arithmetic:
    """A precision on a device, whose first outputs are compared with those in fp32.

    Args:
        precision: As for `choose_precision`.
        like: A weight of the network: where it computes. A network in 16 bits computes in these.
        tell: Called with a sentence about the difference.

    Attributes:
        precision: "fp32" also where fp16 was found to overflow.
    """

    def __init__(self, precision: str, like: Tensor, tell: Callable[[str], object]) -> None:
        self.device, self._tell = like.device, tell
        chosen = choose_precision(precision, like.device)
        self.precision = chosen if like.dtype == torch.float32 else "fp32"
        self._compared = self.precision not in HALVES

    def autocast(self) -> torch.autocast:
        """Where it computes."""
        return autocast(self.device, self.precision)

    def compare(self, outputs: Callable[[Tensor], Sequence[Tensor]], images: Tensor) -> None:
        """On the first call with images that are not blank, tell how far outputs are from those in fp32.

        Args:
            outputs: What a network makes of images.
            images: Images of the batch to come, (B, C, H, W), where the network is.
        """
        if self._compared or not images.any():
            return
        few = images[:FEW]
        with self.autocast():
            ours = [output.float() for output in outputs(few)]
        whole = [output.float() for output in outputs(few)]
        self._compared = True
        if all(t.isfinite().all() for t in whole) and not all(t.isfinite().all() for t in ours):
            self._tell(f"{self.precision} overflows in this network: it computes in fp32")
            self.precision = "fp32"
            return
        difference = max(
            float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in zip(ours, whole, strict=True)
        )
        self._tell(f"{self.precision}: the first outputs differ from fp32 by {difference:.1e} of the largest")
