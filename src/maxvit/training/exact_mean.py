"""Means over the images of an epoch, the same bits whatever was interrupted and whoever computed what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from maxvit.layers.exact import widest

COUNTS = ("images", "infinite")  # the second: batches whose losses are not finite numbers
_ONE = 2.0**24  # sums of whole numbers are exact in any order


class Tally:
    """Sums of losses in fixed point, on the device that computed them: nobody waits for a GPU.

    Args:
        device: Device of the losses.
        totals: To go on from, as `totals` gave them; one of the processes takes them, the others begin with nothing.
    """

    def __init__(self, device: torch.device, totals: Mapping[str, int] | None = None) -> None:
        known = totals or {}
        self.names = tuple(name for name in known if name not in COUNTS)
        numbers = [known.get(name, 0) for name in (*self.names, *COUNTS)]
        self.sums = torch.tensor(numbers, dtype=torch.int64, device=device)

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Count the losses of a batch, each a mean over its images; all batches have the same ones."""
        self._begin(tuple(losses))
        self.sums[-2] += images
        if not self.names:
            return
        means = torch.stack([widest(losses[name].detach()) for name in self.names])
        finite = means.isfinite().all()
        self.sums[:-2] += torch.where(finite, means * (images * _ONE), 0.0).round().long()
        self.sums[-1] += ~finite

    def totals(self, add_up: Callable[[Tensor], Tensor], gather: Callable[[Any], Sequence[Any]]) -> dict[str, int]:
        """The sums over all processes; all must call it.

        Args:
            add_up: The sum of a tensor over all processes.
            gather: A value of each process, on all of them.
        """
        self._begin(next((names for names in gather(self.names) if names), ()))
        return dict(zip((*self.names, *COUNTS), add_up(self.sums.clone()).tolist(), strict=True))

    def _begin(self, names: tuple[str, ...]) -> None:
        """Learn what there is to count, from the first batch or from a process that had one."""
        if names and not self.names:
            self.names, self.sums = names, torch.cat([self.sums.new_zeros(len(names)), self.sums])


def means(totals: Mapping[str, int]) -> dict[str, float]:
    """The means from `Tally.totals`; NaN where there were no images, or some losses were not finite."""
    images = totals["images"] if not totals["infinite"] else 0
    return {
        name: total / _ONE / images if images else float("nan") for name, total in totals.items() if name not in COUNTS
    }
