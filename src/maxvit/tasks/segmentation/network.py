"""The head: a decoder of segmentation_models_pytorch on the backbone's maps, and a classifier of each pixel."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import Size
from maxvit.errors import EXTRAS, MaxViTError, require
from maxvit.tasks.segmentation.settings import SegmentationSettings

COARSEST = 32  # stride of the last map
_STRIDES = {  # of the maps that a decoder takes, by the finest that is asked for; FPN takes four, whichever
    ("unet", 4): (2, 4, 8, 16, 32),
    ("unet", 2): (2, 4, 8, 16, 32),
    ("upernet", 4): (4, 8, 16, 32),
    ("upernet", 2): (2, 4, 8, 16, 32),
    ("fpn", 4): (4, 8, 16, 32),
    ("fpn", 2): (2, 4, 8, 16),
}


class SegmentationHead(nn.Module):
    """From maps to logits (B, classes, H, W) at the size of the images.

    Images of odd sizes have maps of ceil(side / stride). Each is padded by its last row and column to what an image of
    the next multiple of 32 has, so that all are exactly over one another, and the logits are cut to the image.

    Args:
        channels: Channels of the backbone's map at each stride.
        num_classes: How many classes.
        settings: Which decoder, and how wide.

    Attributes:
        strides: Strides of the maps that it takes.
    """

    def __init__(self, channels: dict[int, int], num_classes: int, settings: SegmentationSettings) -> None:
        super().__init__()
        self.strides = _STRIDES[settings.decoder, settings.finest_stride]
        self.stride = 1 if settings.decoder == "unet" else settings.finest_stride  # of what the decoder gives
        self.unread = 1 if settings.decoder == "unet" else 2  # decoders count image and stem, but take no channel
        self.pools_to_one_pixel = settings.decoder == "upernet"
        levels = [0] * self.unread + [channels[s] for s in self.strides]
        self.decoder, self.classifier = _make_decoder(levels, num_classes, settings)
        self.dropout = nn.Dropout2d(settings.dropout)

    def forward(self, maps: Sequence[Tensor], size: Size, targets: object = None) -> Tensor:
        """Logits (B, classes, H, W) from maps of `strides`; targets are the loss's business.

        Raises:
            MaxViTError: If UPerNet is to be trained on a batch of one image.
        """
        batch = maps[0].shape[0]
        if self.training and self.pools_to_one_pixel and batch == 1:
            raise MaxViTError(
                "a batch of 1 image cannot train UPerNet, whose batch norm then sees one pixel: "
                "set data.device_batch_size to 2 or more, or task.decoder to unet or fpn"
            )
        height, width = (-(-side // COARSEST) * COARSEST for side in size)
        levels = [_pad(x, height // s, width // s) for x, s in zip(maps, self.strides, strict=True)]
        unread = levels[0].new_empty((batch, 0, height, width))
        x = self.decoder([unread] * self.unread + levels)  # (B, decoder_channels, H/stride, W/stride)
        logits = self.classifier(self.dropout(x))  # (B, classes, H/stride, W/stride)
        if self.stride > 1:
            logits = F.interpolate(logits, scale_factor=self.stride, mode="bilinear")
        return logits[:, :, : size[0], : size[1]]


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column up to a size."""
    below, right = height - x.shape[2], width - x.shape[3]
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _make_decoder(levels: list[int], num_classes: int, settings: SegmentationSettings) -> tuple[nn.Module, nn.Module]:
    """The decoder of maps with these channels, and what makes logits of its channels."""
    require("segmentation", *EXTRAS["segmentation"])
    from segmentation_models_pytorch.base import initialization
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
    from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    wide = settings.decoder_channels
    decoder: nn.Module
    if settings.decoder == "upernet":
        decoder, out = UPerNetDecoder(levels, decoder_channels=wide), wide
    elif settings.decoder == "unet":
        halving = [wide // 2**i for i in range(5)]
        decoder, out = UnetDecoder(levels, halving), halving[-1]
    else:
        decoder, out = FPNDecoder(levels, pyramid_channels=wide, segmentation_channels=wide // 2, dropout=0), wide // 2
    classifier = nn.Conv2d(out, num_classes, 3, padding=1)
    initialization.initialize_decoder(decoder)
    nn.init.normal_(classifier.weight, std=0.01)  # as in mmsegmentation: at the start all classes are as likely
    nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]
    return decoder, classifier
