"""Each detector, from the backbone's maps to losses and boxes."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from maxvit import create_model
from maxvit.tasks.detection.network import _pool, make_head, total
from maxvit.tasks.detection.settings import DetectionSettings
from maxvit.tasks.network import TaskNetwork

DETECTORS = ["faster-rcnn", "mask-rcnn", "retinanet", "cascade-mask-rcnn"]
MASKED = ["mask-rcnn", "cascade-mask-rcnn"]
CLASSES = ["disc", "frame", "bar"]
SMALL = {"pyramid_channels": 16, "head_channels": 32, "mask_channels": 16, "proposals": (60, 50), "samples": (32, 48)}
HW = (64, 96)
NOTHING = {
    "boxes": torch.zeros(0, 4),
    "labels": torch.zeros(0, dtype=torch.int64),
    "masks": torch.zeros(0, *HW, dtype=torch.uint8),
}
TWO = {
    "boxes": torch.tensor([[3.0, 4, 30, 40], [50, 20, 51, 21]]),  # the second is a single pixel
    "labels": torch.tensor([1, 3]),
    "masks": torch.zeros(2, *HW, dtype=torch.uint8),
}
TWO["masks"][0, 4:40, 3:30] = 1
TWO["masks"][1, 20, 50] = 1


def make_detector(detector, **values):
    settings = DetectionSettings(detector=detector, **{**SMALL, **values})
    backbone = create_model("maxvit_micro", image_size=64)
    return TaskNetwork(backbone, make_head(settings, backbone, len(CLASSES)), CLASSES, settings)


def make_maps(network, batch):
    channels = network.backbone.pyramid_channels
    return [torch.randn(batch, channels[s], HW[0] // s, HW[1] // s) for s in network.head.strides]


def spread(network):
    """Scores and boxes that differ, as if it had learnt something."""
    for name, parameter in network.head.named_parameters():
        if parameter.ndim > 1 and any(word in name for word in ("logits", "cls", "bbox", "classes", "offsets")):
            nn.init.normal_(parameter, std=0.3)
        if name.endswith("cls_logits.bias"):
            nn.init.zeros_(parameter)
    return network.eval()


@pytest.mark.parametrize("detector", DETECTORS)
def test_answers_are_within_the_image_and_what_the_settings_ask_for(detector):
    asked = {"score_threshold": 0.2, "nms_threshold": 0.3, "detections": 17}
    network = spread(make_detector(detector, **asked))
    with torch.inference_mode():
        answers = network(torch.randn(2, 3, *HW))
    assert len(answers) == 2
    for answer in answers:
        boxes, labels, scores = answer["boxes"], answer["labels"], answer["scores"]
        assert 1 < len(boxes) <= 17
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([96, 64])).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert boxes[:, 2].max() > 64  # x is what has 96
        assert labels.dtype == torch.int64
        assert set(labels.tolist()) <= {1, 2, 3}
        assert scores.min() > 0.2
        assert torch.equal(scores, scores.sort(descending=True).values)
        overlap = box_iou(boxes, boxes) * (labels[:, None] == labels)
        assert overlap.fill_diagonal_(0).max() <= 0.3
        assert ("masks" in answer) == (detector in MASKED)
        if "masks" in answer:
            assert answer["masks"].shape == (len(boxes), 28, 28)
            assert 0 <= answer["masks"].min() < answer["masks"].max() <= 1


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_answer_does_not_depend_on_the_other_images(detector):
    network = spread(make_detector(detector))
    images = torch.randn(3, 3, *HW)
    with torch.inference_mode():
        together, alone = network(images)[1], network(images[1:2])[0]
    for name, found in alone.items():
        torch.testing.assert_close(found, together[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_loss_is_a_sum_and_its_gradient_reaches_everything(detector):
    network = make_detector(detector).train()
    losses = total(network(torch.randn(2, 3, *HW), [TWO, NOTHING]))
    parts = [value for name, value in losses.items() if name != "loss"]
    assert len(parts) == {"retinanet": 2, "faster-rcnn": 4}.get(detector, 5)
    assert losses["loss"].item() == pytest.approx(sum(part.item() for part in parts))
    losses["loss"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # a stage whose own map is not used learns through those above it
    assert 4 not in network.head.strides
    assert all(p.grad.any() for p in network.backbone.stages[0].parameters() if p.ndim > 1)


@pytest.mark.parametrize("detector", DETECTORS)
def test_images_without_objects_teach_that_there_are_none(detector):
    network = make_detector(detector).train()
    losses = network(torch.randn(2, 3, *HW), [NOTHING, NOTHING])
    for name, loss in losses.items():
        learnt = name in ("loss_objectness", "loss_classifier", "classification")
        assert loss.isfinite()
        assert (loss > 0) == learnt, name
    total(losses)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("values", [{"strides": (16, 32), "extra_levels": 3}, {"strides": (4, 8), "extra_levels": 0}])
def test_the_pyramid_stands_on_the_strides_that_are_asked_for(detector, values):
    network = spread(make_detector(detector, anchor_scales=(0.5, 1.0), **values))
    levels = network.head.pyramid(network.backbone.forward_pyramid(torch.randn(2, 3, 70, 100), values["strides"]))
    strides = [*values["strides"], 64, 128, 256][: 2 + values["extra_levels"]]
    assert {name: x.shape[1:] for name, x in levels.items()} == {
        str(s): (16, -(-70 // s), -(-100 // s)) for s in strides
    }
    with torch.inference_mode():
        assert all(len(answer["boxes"]) for answer in network(torch.randn(2, 3, 70, 100)))


def test_levels_differ_only_by_what_their_own_pixels_and_coarser_maps_say():
    network = make_detector("retinanet", extra_levels=2)
    pyramid, maps = network.head.pyramid, make_maps(network, 1)
    before = pyramid([x.clone() for x in maps])
    finest, coarsest = pyramid([maps[0] + 1, *maps[1:]]), pyramid([*maps[:2], maps[2] + 1])
    assert [k for k, x in finest.items() if not torch.equal(x, before[k])] == ["8"]
    assert [k for k, x in coarsest.items() if not torch.equal(x, before[k])] == ["8", "16", "32", "64", "128"]


@pytest.mark.parametrize("detector", ["faster-rcnn", "cascade-mask-rcnn"])
def test_regions_are_as_many_as_the_settings_say(detector):
    network = spread(make_detector(detector, proposals=(7, 5)))
    seen = []
    network.head.regions.register_forward_pre_hook(lambda _, given: seen.append([len(b) for b in given[1]]))
    images = torch.randn(2, 3, *HW)
    network(images)
    network.train()(images, [TWO, NOTHING])
    assert seen == [[5, 5], [7, 7]]


def test_samples_are_as_many_as_the_settings_say():
    network = make_detector("faster-rcnn", samples=(11, 13)).train()
    seen = []
    network.head.regions.box_head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    network(torch.randn(2, 3, *HW), [TWO, NOTHING])
    assert seen == [26]
    assert network.head.proposer.fg_bg_sampler.batch_size_per_image == 11


@pytest.mark.parametrize("detector", ["faster-rcnn", "mask-rcnn", "cascade-mask-rcnn"])
def test_box_heads_are_of_the_kind_that_the_settings_say(detector):
    network = spread(make_detector(detector, box_head="four-convolutions", head_channels=24))
    boxes = network.head.regions.stages[0] if detector == "cascade-mask-rcnn" else network.head.regions
    head = boxes.head if detector == "cascade-mask-rcnn" else boxes.box_head
    assert [m.out_channels for m in head.modules() if isinstance(m, nn.Conv2d)] == [16] * 4
    assert [m.out_features for m in head.modules() if isinstance(m, nn.Linear)] == [24]
    with torch.inference_mode():
        assert all(len(answer["boxes"]) for answer in network(torch.randn(2, 3, *HW)))


@pytest.mark.parametrize("detector", ["retinanet", "mask-rcnn"])
@pytest.mark.parametrize(("sizes", "sides"), [(None, [32, 64, 128, 256]), ((10, 24, 70, 80), [10, 24, 70, 80])])
def test_anchors_are_of_the_sizes_that_the_settings_say(detector, sizes, sides):
    values = {"anchor_sizes": sizes, "anchor_scales": (1.0, 1.5), "anchor_ratios": (1.0,)}
    network = make_detector(detector, **values)
    anchors = network.head.anchors if detector == "retinanet" else network.head.proposer.anchor_generator
    levels = network.head.pyramid(make_maps(network, 1))
    for boxes, side in zip(anchors.levels(list(levels.values())), sides, strict=True):
        extent = boxes[:, 2:] - boxes[:, :2]
        torch.testing.assert_close(extent, torch.tensor([[side], [1.5 * side]]).repeat(len(boxes) // 2, 2).float())


def test_pooling_looks_where_the_box_is_at_every_level_whatever_shape_came_before():
    pool = _pool(DetectionSettings(), 7)

    def ramps(height, width):
        """Every cell says where it is, in pixels from the left."""
        return {
            str(s): (s * torch.arange(-(-width // s)).float()).repeat(1, 1, -(-height // s), 1) for s in (8, 16, 32)
        }

    pool(ramps(33, 45), [torch.tensor([[3.0, 4, 20, 30]])], [(33, 45)])
    boxes = torch.tensor([[33.0, 50, 93, 90], [200, 100, 500, 400], [100, 20, 800, 650]])  # of levels 8, 16 and 32
    found = pool(ramps(704, 960), [boxes], [(704, 960)])
    steps = (torch.arange(7) + 0.5) / 7
    expected = boxes[:, :1] + steps * (boxes[:, 2:3] - boxes[:, :1])
    torch.testing.assert_close(found, expected[:, None, None].expand(3, 1, 7, 7))


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_image_is_answered_alike_whatever_shape_came_before(detector):
    network = spread(make_detector(detector))
    fresh, image = copy.deepcopy(network), torch.randn(1, 3, *HW)
    with torch.inference_mode():
        network(torch.randn(1, 3, 33, 45))
        for name, found in network(image)[0].items():
            assert torch.equal(found, fresh(image)[0][name]), name


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_head_without_memory_answers_once_it_has_the_tensors(detector):
    network = spread(make_detector(detector))
    with torch.device("meta"):
        outline = make_head(network.settings, network.backbone, len(CLASSES))
    twin = TaskNetwork(network.backbone, outline, CLASSES, network.settings).take(network.state_dict(), "here")
    twin = pickle.loads(pickle.dumps(twin))
    image = torch.randn(1, 3, *HW)
    with torch.inference_mode():
        for name, found in network(image)[0].items():
            assert torch.equal(found, twin(image)[0][name]), name


@pytest.mark.parametrize("detector", DETECTORS)
def test_boxes_keep_single_precision_under_autocast(detector):
    network = spread(make_detector(detector))
    proposals = []
    if detector != "retinanet":
        network.head.regions.register_forward_pre_hook(lambda _, given: proposals.extend(given[1]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        answer = network(torch.randn(1, 3, *HW))[0]
    assert all(boxes.dtype == torch.float32 for boxes in proposals)
    assert all(x.dtype == torch.float32 for name, x in answer.items() if name != "labels")
    assert not torch.equal(answer["boxes"], answer["boxes"].bfloat16().float())
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.train()(torch.randn(1, 3, *HW), [TWO])
    assert all(x.dtype == torch.float32 and x.isfinite() for x in losses.values())


def make_torchvision_retinanet(head, settings):
    """Its arithmetic after the head, with the head's own classes counted from 0."""
    backbone = nn.Identity()
    backbone.out_channels = settings.pyramid_channels
    return TorchvisionRetinaNet(
        backbone,
        len(CLASSES),
        anchor_generator=AnchorGenerator(),  # not used: anchors are handed in
        head=head.head,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections,
        topk_candidates=settings.proposals[1],
    )


def test_retinanet_answers_and_learns_as_torchvision_s_does():
    network = spread(make_detector("retinanet", proposals=(1, 7)))
    head, maps = network.head, make_maps(network, 2)
    nn.init.normal_(head.head.regression_head.bbox_reg.weight, std=0.03)  # theirs answers with empty boxes too
    theirs = make_torchvision_retinanet(head, network.settings)
    levels = list(head.pyramid(maps).values())
    said, anchors = head.head(levels), head.anchors.levels(levels)
    lengths = [len(level) for level in anchors]
    split = {name: list(x.split(lengths, 1)) for name, x in said.items()}
    answers = head(maps, HW)
    for answer, other in zip(answers, theirs.postprocess_detections(split, [anchors] * 2, [HW] * 2), strict=True):
        assert 7 < len(answer["boxes"]) <= 4 * 7  # levels
        torch.testing.assert_close(answer["boxes"], other["boxes"])
        torch.testing.assert_close(answer["scores"], other["scores"])
        assert torch.equal(answer["labels"], other["labels"] + 1)
    shifted = [{**truth, "labels": truth["labels"] - 1} for truth in (TWO, NOTHING)]
    expected = theirs.compute_loss(shifted, said, [torch.cat(anchors)] * 2)
    losses = head.train()(maps, HW, [TWO, NOTHING])
    assert {name: loss.item() for name, loss in losses.items()} == {n: loss.item() for n, loss in expected.items()}


def make_scene():
    """Two images: a red disc and a blue bar; a green frame."""
    images = torch.zeros(2, 3, 64, 64)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = (x - 20) ** 2 + (y - 24) ** 2 < 14**2
    bar = (x >= 40) & (x < 58) & (y >= 34) & (y < 60)
    frame = (x >= 12) & (x < 50) & (y >= 16) & (y < 54) & ~((x >= 22) & (x < 40) & (y >= 26) & (y < 44))
    images[0, 0, disc], images[0, 2, bar], images[1, 1, frame] = 2.0, 2.0, 2.0
    pairs = [([disc, bar], [1, 3]), ([frame], [2])]
    return images, [
        {
            "boxes": torch.stack([_around(mask) for mask in masks]),
            "labels": torch.tensor(labels),
            "masks": torch.stack(masks).to(torch.uint8),
        }
        for masks, labels in pairs
    ]


def _around(mask):
    y, x = mask.nonzero(as_tuple=True)
    return torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()


def paste(mask, box):
    """The mask in the image, a pixel at a time."""
    x1, y1, x2, y2 = box.tolist()
    whole = torch.zeros(64, 64, dtype=torch.bool)
    for y in range(64):
        for x in range(64):
            u, v = (x + 0.5 - x1) / (x2 - x1), (y + 0.5 - y1) / (y2 - y1)
            if 0 <= u < 1 and 0 <= v < 1:
                whole[y, x] = mask[int(v * 28), int(u * 28)] > 0.5
    return whole


@pytest.mark.full
@pytest.mark.parametrize("detector", DETECTORS)
def test_each_detector_learns_two_images_by_heart(detector):
    network = make_detector(detector, extra_levels=0, anchor_sizes=(16, 32, 48)).train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.3  # the network's own would need far more steps to know its images
    images, targets = make_scene()
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=120)
    for _ in range(120):
        optimizer.zero_grad()
        total(network(images, targets))["loss"].backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        answers = network.eval()(images)
    for answer, truth in zip(answers, targets, strict=True):
        number = len(truth["labels"])
        order = answer["labels"][:number].argsort()
        assert answer["labels"][:number][order].tolist() == truth["labels"].tolist()  # they come before all others
        assert box_iou(answer["boxes"][:number][order], truth["boxes"]).diag().min() > 0.7
        if "masks" in answer:
            for i, mask in zip(order, truth["masks"].bool(), strict=True):
                found = paste(answer["masks"][i], answer["boxes"][i])
                assert (found & mask).sum() / (found | mask).sum() > 0.7
