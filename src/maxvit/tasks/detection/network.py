"""The detectors: a feature pyramid on the backbone's maps, and what torchvision's detectors put on it.

The paper's is Cascade Mask R-CNN on strides 8, 16 and 32 (appendix, object detection and instance segmentation).
"""

from collections.abc import Mapping, Sequence
from math import log2

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from maxvit.model import MaxViT
from maxvit.tasks.detection.anchors import Anchors
from maxvit.tasks.detection.cascade import BOX_SIDE, POSITIVE, Cascade, make_box_head
from maxvit.tasks.detection.pyramid import Pyramid
from maxvit.tasks.detection.retinanet import RetinaNet
from maxvit.tasks.detection.settings import DetectionSettings
from maxvit.tasks.network import TaskNetwork

MASK_SIDE = 14  # cells of a box that is pooled for its mask, which is twice as fine


def make_head(settings: DetectionSettings, backbone: MaxViT, num_classes: int) -> nn.Module:
    """A detector without its backbone, freshly initialised.

    It is called as `head(maps, (height, width), targets)`, maps of its `strides`. In training it returns losses by
    torchvision's names, and takes a dictionary an image: boxes (n, 4) xyxy in pixels, labels (n,) from 1, masks
    (n, H, W) uint8 where there is a mask head; n may be 0. In evaluation it returns such dictionaries: boxes, labels,
    scores (n,), the best first, and masks (n, 28, 28), probabilities within the box.

    Args:
        settings: Which detector.
        backbone: Tells the channels of its maps; it is not kept.
        num_classes: Without the background, which is class 0.
    """
    channels = {stride: backbone.pyramid_channels[stride] for stride in settings.strides}
    pyramid = Pyramid(channels, settings.pyramid_channels, settings.extra_levels)
    sizes = settings.anchor_sizes or [4.0 * stride for stride in pyramid.strides]
    anchors = Anchors(pyramid.strides, sizes, settings.anchor_scales, settings.anchor_ratios)
    if settings.detector == "retinanet":
        return RetinaNet(pyramid, anchors, settings, num_classes)
    if settings.detector == "cascade-mask-rcnn":
        pool, masks = _pool(settings, BOX_SIDE), _masks(settings, num_classes)
        regions: nn.Module = Cascade(pool, masks, settings, num_classes)
    else:
        regions = _regions(settings, num_classes)
    return TwoStage(pyramid, _proposer(settings, anchors), regions)


class Precise(nn.Module):
    """A layer whose tensors come out in single precision under autocast too: box coordinates need it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor | list[Tensor]) -> tuple[Tensor, ...] | tuple[list[Tensor], ...]:
        """Two tensors, or two lists of them."""
        return tuple([t.float() for t in said] if isinstance(said, list) else said.float() for said in self.layer(x))


class TwoStage(nn.Module):
    """The head of a detector that proposes regions, and then looks at each.

    Args:
        pyramid: From the backbone's maps to the levels.
        proposer: torchvision's `RegionProposalNetwork`.
        regions: torchvision's `RoIHeads`, or what is called in the same way.

    Attributes:
        strides: Strides of the maps that it takes.
    """

    def __init__(self, pyramid: Pyramid, proposer: RegionProposalNetwork, regions: nn.Module) -> None:
        super().__init__()
        self.strides = tuple(pyramid.base)
        self.pyramid, self.proposer, self.regions = pyramid, proposer, regions

    def forward(
        self, maps: Sequence[Tensor], size: tuple[int, int], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training, predictions in evaluation. See `make_head`."""
        levels = self.pyramid(maps)
        sizes = [size] * len(maps[0])
        # of the list of images, only the sizes are used
        proposals, losses = self.proposer(ImageList(maps[0], sizes), levels, targets)
        predictions, more = self.regions(levels, proposals, sizes, targets)
        if self.training:
            return {**losses, **more}
        return [{**a, "masks": a["masks"].squeeze(1).float()} if "masks" in a else a for a in predictions]


def _proposer(settings: DetectionSettings, anchors: Anchors) -> RegionProposalNetwork:
    """Two convolutions, as in the paper's code; torchvision's thresholds."""
    head = RPNHead(settings.pyramid_channels, anchors.num_anchors_per_location()[0], conv_depth=2)
    training, testing = settings.proposals
    return RegionProposalNetwork(
        anchors,
        Precise(head),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=settings.samples[0],
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * training, "testing": testing},
        post_nms_top_n={"training": training, "testing": testing},
        nms_thresh=0.7,
    )


def _pool(settings: DetectionSettings, side: int) -> MultiScaleRoIAlign:
    """It picks the level by the box's size, from those that the backbone has a map for."""
    pool = MultiScaleRoIAlign([str(stride) for stride in settings.strides], side, sampling_ratio=2)
    # torchvision would guess them from the first image that it sees, and keep that
    pool.scales = [1 / stride for stride in settings.strides]
    pool.map_levels = initLevelMapper(int(log2(settings.strides[0])), int(log2(settings.strides[-1])))
    return pool


def _masks(settings: DetectionSettings, num_classes: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Pool, four convolutions, and a mask for each class."""
    width = settings.mask_channels
    head = MaskRCNNHeads(settings.pyramid_channels, [width] * 4, dilation=1)
    return _pool(settings, MASK_SIDE), head, MaskRCNNPredictor(width, width, num_classes + 1)


def _regions(settings: DetectionSettings, num_classes: int) -> RoIHeads:
    """torchvision's, of Faster R-CNN or Mask R-CNN."""
    masks = _masks(settings, num_classes) if settings.detector == "mask-rcnn" else (None, None, None)
    return RoIHeads(
        _pool(settings, BOX_SIDE),
        make_box_head(settings),
        Precise(FastRCNNPredictor(settings.head_channels, num_classes + 1)),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=settings.samples[1],
        positive_fraction=POSITIVE,
        bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections,
        mask_roi_pool=masks[0],
        mask_head=masks[1],
        mask_predictor=masks[2],
    )


def total(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts of a detector's loss, which are scalars, after their sum, "loss"."""
    return {"loss": sum(losses.values(), next(iter(losses.values())).new_zeros(())), **losses}


def rehearse(network: TaskNetwork, settings: DetectionSettings, images: Tensor) -> None:
    """What training computes of images (B, C, H, W), but for what depends on values.

    Each image has `samples` regions, and of these the share of objects that is aimed at.
    """
    head = network.head
    levels = list(head.pyramid(network.maps(images)).values())  # type: ignore[operator]
    if isinstance(head, RetinaNet):
        head.head(levels)
        return
    assert isinstance(head, TwoStage)
    head.proposer.head(levels)
    regions, number = head.regions, len(images) * settings.samples[1]
    boxes = levels[0].new_empty(number, levels[0].shape[1], BOX_SIDE, BOX_SIDE)
    if isinstance(regions, Cascade):
        for stage in regions.stages:
            stage(boxes)
    else:
        regions.box_predictor(regions.box_head(boxes))  # type: ignore[operator]
    if regions.mask_head is not None:
        objects = levels[0].new_empty(int(POSITIVE * number), levels[0].shape[1], MASK_SIDE, MASK_SIDE)
        regions.mask_predictor(regions.mask_head(objects))  # type: ignore[operator]
