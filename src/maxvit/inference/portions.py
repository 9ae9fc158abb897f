"""As many images at once as a device's memory takes."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from maxvit.errors import MaxViTError, is_out_of_memory

T = TypeVar("T")


class Portions:
    """Computes batches whole, until one is too much for the memory; from then on in portions of half, and so on.

    Args:
        device: Where it is computed.
        tell: Called with a sentence when portions become smaller.

    Attributes:
        most: Images at once; None: a whole batch.
    """

    def __init__(self, device: torch.device, tell: Callable[[str], object]) -> None:
        self.device, self.tell = device, tell
        self.most: int | None = None

    def __call__(self, compute: Callable[[slice], T], images: Tensor) -> list[T]:
        """The results of a batch's portions, in order.

        Args:
            compute: From which images of the batch to a result, without a trace where it raises.
            images: The batch, (B, C, H, W).

        Raises:
            MaxViTError: If one image is too much.
        """
        results: list[T] = []
        start, end = 0, len(images)
        while start < end or not results:  # a batch of nothing has a result too
            part = slice(start, min(end, start + (self.most or end)))
            try:
                results.append(compute(part))
                start = part.stop
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._take_less(part.stop - part.start, images)  # out here, nothing holds on to what was computed
        return results

    def _take_less(self, images: int, batch: Tensor) -> None:
        if images < 2:
            raise MaxViTError(
                f"one image of {batch.shape[2]} x {batch.shape[3]} is too much for the memory of {self.device}"
                f"{free_memory(self.device)}: take smaller images, a smaller network, or another --device"
            )
        self.most = -(-images // 2)
        self.tell(f"out of memory with {images} images at once: going on with {self.most}")
        give_back(self.device)


def free_memory(device: torch.device) -> str:
    """How much of a GPU's memory is left, in brackets; nothing for other devices."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" ({free / 2**30:.1f} of {total / 2**30:.1f} GiB are free)"


def give_back(device: torch.device) -> None:
    """Let go of what PyTorch keeps for later, which may lie in pieces that are too small."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
