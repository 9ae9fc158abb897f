"""From logits to the class of each pixel of the image as it was decoded; windows that slide over it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from maxvit.config import Size
from maxvit.tasks.protocols import Forward
from maxvit.tasks.segmentation.masks import IGNORED

_CLASSES_AT_ONCE = 16  # of logits at the size of a photograph, where 150 would fill the memory


def covering_size(size: Size, window: Size) -> Size:
    """The size of an image, shape kept, that covers the window and fits one side."""
    factor = max(window[0] / size[0], window[1] / size[1])
    return max(window[0], round(size[0] * factor)), max(window[1], round(size[1] * factor))


def slide(network: Forward, images: Tensor, window: Size, stride: float) -> Tensor:
    """Logits (B, K, H, W), the mean over the windows that a pixel is in.

    Args:
        network: From (B, C, *window) to (B, K, *window).
        images: (B, C, H, W) of at least the window's size.
        window: (height, width).
        stride: From window to window, as a share of its side; the last is at the border.
    """
    total, number = None, torch.zeros(images.shape[2:], device=images.device)
    for top in _starts(images.shape[2], window[0], stride):
        for left in _starts(images.shape[3], window[1], stride):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            logits = network(images[:, :, rows, columns]).float()
            if total is None:
                total = logits.new_zeros(len(images), logits.shape[1], *images.shape[2:])
            total[:, :, rows, columns] += logits
            number[rows, columns] += 1
    assert total is not None
    return total / number


def _starts(side: int, window: int, stride: float) -> list[int]:
    """Where windows begin along a side."""
    return [*range(0, side - window, max(1, int(window * stride))), side - window]


def classes_at(logits: Tensor, size: Size) -> Tensor:
    """The class of each pixel of an image of `size`, (h, w) uint8: of logits (K, H, W), resized bilinearly."""
    return classes_and_loss_at(logits, size, None)[0]


def classes_and_loss_at(logits: Tensor, size: Size, truth: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same, and the mean cross-entropy to a truth (h, w) uint8; 0 if there is none, or all of it is ignored.

    A few classes at a time are resized.
    """
    best = torch.full(size, -torch.inf, device=logits.device)
    prediction = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    total, of_truth = best.clone(), torch.zeros_like(best)  # log of the sum of exponentials; the true class's logit
    for first in range(0, len(logits), _CLASSES_AT_ONCE):
        some = logits[None, first : first + _CLASSES_AT_ONCE].float()
        some = F.interpolate(some, size=size, mode="bilinear")[0]  # (<= 16, h, w)
        top, which = some.max(0)
        prediction = torch.where(top > best, (which + first).to(torch.uint8), prediction)
        best = torch.maximum(best, top)
        if truth is not None:
            total = torch.logaddexp(total, some.logsumexp(0))
            place = truth.long() - first
            here = (place >= 0) & (place < len(some))
            of_truth = torch.where(here, some.gather(0, place.clamp(0, len(some) - 1)[None])[0], of_truth)
    if truth is None:
        return prediction.cpu(), logits.new_zeros(())
    labelled = truth != IGNORED
    loss = torch.where(labelled, total - of_truth, 0).sum() / labelled.sum().clamp(min=1)
    return prediction.cpu(), loss


def classes_and_loss(logits: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Mean over the images of the loss at the size of each, and the predictions."""
    pairs = [
        classes_and_loss_at(one, size, truth.to(one.device))
        for one, size, truth in zip(logits, sizes, targets, strict=True)
    ]
    return torch.stack([loss for _, loss in pairs]).mean(), [prediction for prediction, _ in pairs]
