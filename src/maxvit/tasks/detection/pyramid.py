"""The feature pyramid: maps of one width at each stride, which know of what coarser maps have seen."""

from collections.abc import Mapping, Sequence
from math import gcd

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of about eight channels: it needs no large batch, and tames maps that no layer has normalised."""
    return nn.GroupNorm(gcd(channels, max(1, channels // 8)), channels)


class Coarser(ExtraFPNBlock):  # type: ignore[misc]
    """Levels above the backbone's, each by a 3 x 3 convolution of stride 2 on the one below (as in RetinaNet)."""

    def __init__(self, channels: int, number: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(number))

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:  # what `FeaturePyramidNetwork` asks for
        """The results with more at their end, and their names with the strides of those."""
        results, names = [*results], [*names]
        for i, step in enumerate(self.steps):
            results.append(step(results[-1].relu() if i else results[-1]))
            names.append(str(2 * int(names[-1])))
        return results, names


class Pyramid(nn.Module):
    """torchvision's feature pyramid network, with group normalisation and more levels at its top.

    Args:
        in_channels: Channels of the backbone's maps by stride, finest first.
        channels: Channels of each level.
        extra_levels: Levels above the backbone's.

    Attributes:
        strides: Strides of all levels.
    """

    def __init__(self, in_channels: Mapping[int, int], channels: int, extra_levels: int) -> None:
        super().__init__()
        self.base = list(in_channels)
        self.strides = [*self.base, *(self.base[-1] * 2 ** (i + 1) for i in range(extra_levels))]
        extra = Coarser(channels, extra_levels) if extra_levels else None
        self.network = FeaturePyramidNetwork(
            list(in_channels.values()), channels, extra_blocks=extra, norm_layer=group_norm
        )

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """From the backbone's maps (B, C, H, W), finest first, to the levels, each named by its stride."""
        levels: dict[str, Tensor] = self.network({str(s): x for s, x in zip(self.base, maps, strict=True)})
        return levels
