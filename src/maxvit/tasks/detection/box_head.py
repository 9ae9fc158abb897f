"""What looks at a pooled box before its class and its place are told."""

from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead

from maxvit.tasks.detection.pyramid import group_norm
from maxvit.tasks.detection.settings import DetectionSettings

BOX_SIDE = 7  # cells of a pooled box


def make_box_head(settings: DetectionSettings) -> nn.Module:
    """From pooled boxes (n, C, 7, 7) to (n, head_channels): `box_head` says how."""
    channels = settings.pyramid_channels
    if settings.box_head == "two-layers":
        return TwoMLPHead(channels * BOX_SIDE**2, settings.head_channels)
    shape = (channels, BOX_SIDE, BOX_SIDE)
    return FastRCNNConvFCHead(shape, [channels] * 4, [settings.head_channels], norm_layer=group_norm)
