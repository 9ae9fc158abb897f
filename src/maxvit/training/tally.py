"""Means over the images of an epoch, the same bits whatever was interrupted and whoever computed what."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_ONE = 2.0**24  # sums of whole numbers are exact in any order


class Tally:
    """Sums of scores in fixed point, on the device that computed them: nobody waits for a GPU."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.images: int = 0

    def add(self, scores: Mapping[str, Tensor], images: int) -> None:
        """Count the scores of a batch, each a mean over its images."""
        for name, value in scores.items():
            amount = (value.detach().double() * images * _ONE).nan_to_num().round().long()
            self.sums[name] = self.sums[name] + amount if name in self.sums else amount
        self.images += images

    def totals(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, int]:
        """The sums over all processes, for `load`; all processes must call it.

        Args:
            add_up: The sum of a tensor over all processes.
        """
        if not self.sums:
            return {}
        device = next(iter(self.sums.values())).device
        together = add_up(torch.stack([*self.sums.values(), torch.tensor(self.images, device=device)]).clone())
        return dict(zip([*self.sums, "images"], together.tolist(), strict=True))

    @staticmethod
    def load(totals: Mapping[str, int], device: torch.device, is_first: bool) -> "Tally":
        """Undo `totals`: the first process has the sums, the others begin with nothing."""
        tally = Tally()
        own = {name: value if is_first else 0 for name, value in totals.items()}
        tally.images = own.pop("images", 0)
        tally.sums = {name: torch.tensor(value, dtype=torch.int64, device=device) for name, value in own.items()}
        return tally


def means(totals: Mapping[str, int]) -> dict[str, float]:
    """Scores from `Tally.totals`."""
    return {name: value / _ONE / totals["images"] for name, value in totals.items() if name != "images"}
