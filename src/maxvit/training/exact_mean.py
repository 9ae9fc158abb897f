"""Means over the images of an epoch, the same bits whatever was interrupted and whoever computed what."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from maxvit.layers.exact import widest

COUNTS = ("images", "infinite")  # the second: batches whose scores are no finite numbers
_ONE = 2.0**24  # sums of whole numbers are exact in any order


class Tally:
    """Sums of scores in fixed point, on the device that computed them: nobody waits for a GPU.

    Args:
        names: Of the scores.
        device: Of the scores.
        totals: To go on from, as `totals` gave them; one of the processes takes them, the others begin with nothing.
    """

    def __init__(self, names: Sequence[str], device: torch.device, totals: Mapping[str, int] | None = None) -> None:
        self.names = tuple(names)
        numbers = [(totals or {}).get(name, 0) for name in (*self.names, *COUNTS)]
        self.sums = torch.tensor(numbers, dtype=torch.int64, device=device)

    def add(self, scores: Mapping[str, Tensor], images: int) -> None:
        """Count the scores of a batch, each a mean over its images."""
        self.sums[-2] += images
        if not self.names:
            return
        means = torch.stack([widest(scores[name].detach()) for name in self.names])
        finite = means.isfinite().all()
        self.sums[:-2] += torch.where(finite, means * (images * _ONE), 0.0).round().long()
        self.sums[-1] += ~finite

    def totals(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, int]:
        """The sums over all processes; all must call it.

        Args:
            add_up: The sum of a tensor over all processes.
        """
        return dict(zip((*self.names, *COUNTS), add_up(self.sums.clone()).tolist(), strict=True))


def means(totals: Mapping[str, int]) -> dict[str, float]:
    """Scores from `Tally.totals`; not numbers where there were no images, or some scores were none."""
    images = totals["images"] if not totals["infinite"] else 0
    return {
        name: total / _ONE / images if images else float("nan") for name, total in totals.items() if name not in COUNTS
    }
