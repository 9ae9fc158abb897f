"""The stages of a cascade, by hand, and one stage beside torchvision's."""

from math import log

import pytest
import torch
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads

from maxvit.tasks.detection.cascade import BOX_SIDE, POSITIVE, BoxStage, Cascade, Step, make_steps
from maxvit.tasks.detection.network import _masks, _pool
from maxvit.tasks.detection.settings import DetectionSettings

SETTINGS = DetectionSettings(
    detector="cascade-mask-rcnn",
    strides=(8, 16),
    pyramid_channels=8,
    head_channels=12,
    mask_channels=8,
    samples=(16, 24),
    score_threshold=0.1,
)
CLASSES = 3
SIZE = (48, 80)
STEPS = [
    Step(0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    Step(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    Step(0.7, (30.0, 30.0, 15.0, 15.0), 0.25),
]


def make_cascade(**values):
    settings = SETTINGS.model_copy(update=values)
    cascade = Cascade(_pool(settings, BOX_SIDE), _masks(settings, CLASSES), settings, CLASSES)
    for stage in cascade.stages:
        nn.init.normal_(stage.offsets.weight, std=0.5)
    return cascade


def make_features(batch=2):
    return {"8": torch.randn(batch, 8, 6, 10), "16": torch.randn(batch, 8, 3, 5)}


def make_truth(boxes, labels):
    masks = torch.zeros(len(labels), *SIZE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": masks,
    }


def make_boxes(number):
    corners = torch.rand(number, 2) * torch.tensor([60.0, 30.0])
    return torch.cat([corners, corners + 3 + 15 * torch.rand(number, 2)], 1)


def say(stage, logits, offsets):
    """The stage says the same of every box."""
    for layer, words in ((stage.classes, logits), (stage.offsets, offsets)):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor(words)


def test_stages_are_those_of_the_cascade_s_paper():
    assert make_steps(SETTINGS.overlaps) == STEPS
    assert [stage.step for stage in make_cascade(overlaps=(0.6, 0.7)).stages] == make_steps((0.6, 0.7))


@pytest.mark.parametrize(("number", "found"), [(0, [0, 2, 2, 2, 2]), (1, [0, 0, 0, 2, 2]), (2, [0, 0, 0, 0, 2])])
def test_each_stage_asks_for_more_overlap_than_the_one_before(number, found):
    stage = BoxStage(STEPS[number], SETTINGS, CLASSES)
    truth = make_truth([[0, 0, 10, 10], [40, 20, 45, 40]], [2, 1])
    boxes = torch.tensor([[0, 0, 10, height] for height in (4.5, 5, 5.5, 6.5, 7.5)])  # a tenth of it is the overlap
    matched, labels = stage.match(boxes, truth)
    assert labels.tolist() == found
    assert matched[labels > 0].tolist() == [0] * sum(label > 0 for label in found)


def test_no_box_is_an_object_s_in_an_image_without_objects():
    matched, labels = BoxStage(STEPS[0], SETTINGS, CLASSES).match(make_boxes(7), make_truth([], []))
    assert matched.tolist() == labels.tolist() == [0] * 7


@pytest.mark.parametrize(("number", "scale"), [(0, (10, 5)), (1, (20, 10)), (2, (30, 15))])
def test_each_stage_codes_boxes_at_its_own_scale(number, scale):
    stage = BoxStage(STEPS[number], SETTINGS, CLASSES)
    box = torch.tensor([[10.0, 20, 30, 60]])  # 20 x 40 around (20, 40)
    wanted = torch.tensor([[14.0, 20, 34, 80]])  # 20 x 60 around (24, 50)
    code = torch.tensor([[0.2 * scale[0], 0.25 * scale[0], 0.0, log(1.5) * scale[1]]])
    torch.testing.assert_close(stage.coder.encode_single(wanted, box), code)
    torch.testing.assert_close(stage.refine(code, [box], [(100, 100)])[0], wanted)
    torch.testing.assert_close(stage.refine(code, [box], [(70, 33)])[0], torch.tensor([[14.0, 20, 33, 70]]))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_loss_of_a_stage_is_that_computed_by_hand(number):
    stage = BoxStage(STEPS[number], SETTINGS, 2)
    logits = torch.tensor([[0.0, 0.0, log(3)], [log(2), 0.0, 0.0]])  # 3/5 for class 2, 2/4 for the background
    offsets = torch.tensor([[0.05, 0.0, 1.0, -2.0], [7.0, 7.0, 7.0, 7.0]])  # nothing is asked of the background's
    boxes = torch.tensor([[1.0, 2, 11, 32], [50, 10, 60, 20]])
    classified, moved = stage.losses(logits, offsets, boxes, boxes, torch.tensor([2, 0]))
    weight = (1, 0.5, 0.25)[number]
    assert classified.item() == pytest.approx(weight * -(log(3 / 5) + log(2 / 4)) / 2)
    assert moved.item() == pytest.approx(weight * (0.5 * 0.05**2 * 9 + (1 - 1 / 18) + (2 - 1 / 18)) / 2)


def test_scores_are_means_over_the_stages_and_boxes_are_the_last_stage_s():
    cascade = make_cascade().eval()
    for stage, step, logits in zip(
        cascade.stages, STEPS, [[0, 0, log(3), 0], [log(2), log(2), 0, 0], [0, 0, log(6), log(2)]], strict=True
    ):
        say(stage, [float(x) for x in logits], [0.1 * step.coder[0], 0.0, 0.0, log(1.5) * step.coder[3]])
    box = torch.tensor([[10.0, 20, 30, 28]])  # each stage moves it by a tenth of its width, and stretches it by half
    (answer,) = cascade(make_features(1), [box], [SIZE])[0]
    assert answer["labels"].tolist() == [2, 1, 3]
    means = [(3 / 6 + 1 / 6 + 6 / 10) / 3, (1 / 6 + 2 / 6 + 1 / 10) / 3, (1 / 6 + 1 / 6 + 2 / 10) / 3]
    torch.testing.assert_close(answer["scores"], torch.tensor(means))
    torch.testing.assert_close(answer["boxes"], torch.tensor([[16.0, 24 - 13.5, 36, 24 + 13.5]] * 3))


class Tiled(nn.Module):
    """torchvision asks for offsets of each class: here they are all the same."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def forward(self, x):
        return self.stage.classes(x), self.stage.offsets(x).repeat(1, CLASSES + 1)


@pytest.mark.parametrize("box_head", ["two-layers", "four-convolutions"])
@pytest.mark.parametrize("training", [False, True])
def test_one_stage_computes_what_torchvision_s_heads_do(training, box_head):
    ours = make_cascade(overlaps=(0.5,), box_head=box_head).train(training)
    theirs = RoIHeads(
        ours.pool,
        ours.stages[0].head,
        Tiled(ours.stages[0]),
        0.5,
        0.5,
        SETTINGS.samples[1],
        POSITIVE,
        (10.0, 10.0, 5.0, 5.0),
        SETTINGS.score_threshold,
        SETTINGS.nms_threshold,
        SETTINGS.detections,
        ours.mask_pool,
        ours.mask_head,
        ours.mask_predictor,
    ).train(training)
    targets = [make_truth([[5, 6, 20, 30], [40, 10, 70, 33]], [3, 1]), make_truth([], [])]
    proposals = [torch.cat([make_boxes(40), targets[0]["boxes"] + 1]), make_boxes(33)]
    features = make_features()
    results = []
    for heads in (ours, theirs):
        torch.manual_seed(1)  # the same boxes are drawn
        results.append(heads(features, list(proposals), [SIZE] * 2, targets if training else None))
    assert results[0][1].keys() == results[1][1].keys()
    for name, loss in results[0][1].items():
        torch.testing.assert_close(loss, results[1][1][name])
    for answer, other in zip(results[0][0], results[1][0], strict=True):
        assert len(answer["boxes"]) > 20
        assert answer.keys() == other.keys()
        for name, found in answer.items():
            torch.testing.assert_close(found, other[name])


def test_objects_join_the_first_proposals_and_later_stages_see_refined_boxes(monkeypatch):
    cascade = make_cascade().train()
    for stage, step in zip(cascade.stages, STEPS, strict=True):
        say(stage, [0.0] * 4, [0.1 * step.coder[0], 0.0, 0.0, 0.0])  # a tenth of its width to the right
    seen = []
    for stage in cascade.stages:
        sample = stage.sample

        def spy(boxes, targets, sample=sample):
            seen.append((boxes, sample(boxes, targets)))
            return seen[-1][1]

        monkeypatch.setattr(stage, "sample", spy)
    truth = make_truth([[10, 10, 20, 20]], [2])
    proposals = torch.tensor([[7.0, 10, 17, 20], [40, 10, 60, 20]])  # two steps to the right, the first overlaps most
    cascade(make_features(1), [proposals], [SIZE], [truth])
    assert not any(boxes[0].requires_grad for boxes, _ in seen)  # a stage does not learn through the next one's targets
    xs = [boxes[0][:, 0].tolist() for boxes, _ in seen]
    assert xs[0] == [7, 40, 10]
    assert xs[1] == pytest.approx([8, 42, 11])
    assert xs[2] == pytest.approx([9, 44, 12])
    # overlaps are 7/13, 8/12 and 9/11, of the object's own box 1, 9/11 and 8/12
    assert [labels[0].tolist() for _, (_, _, labels) in seen] == [[2, 0, 2], [2, 0, 2], [2, 0, 0]]


@pytest.mark.parametrize("box_head", ["two-layers", "four-convolutions"])
def test_boxes_that_leave_the_image_are_no_longer_learnt_from(box_head):
    cascade = make_cascade(box_head=box_head).train()
    say(cascade.stages[0], [0.0] * 4, [1000.0, 0.0, 0.0, 0.0])  # a hundred widths to the right
    targets = [make_truth([[5, 6, 20, 30]], [3]), make_truth([], [])]
    losses = cascade(make_features(), [make_boxes(9), make_boxes(8)], [SIZE] * 2, targets)[1]
    assert losses["loss_classifier"].item() == pytest.approx(log(4))  # the first stage's alone
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()
    for stage in cascade.stages[1:]:
        assert all(p.grad is not None and not p.grad.any() for p in stage.parameters())


def test_boxes_that_leave_the_image_are_no_answer():
    cascade = make_cascade().eval()
    say(cascade.stages[0], [0.0, 0.0, 9.0, 0.0], [1000.0, 0.0, 0.0, 0.0])
    answers = cascade(make_features(), [make_boxes(9), make_boxes(0)], [SIZE] * 2)[0]
    assert [len(a[name]) for a in answers for name in ("boxes", "labels", "scores", "masks")] == [0] * 8


def test_gradients_reach_every_stage_and_are_finite_with_boxes_of_a_pixel():
    cascade = make_cascade().train()
    features = {name: x.requires_grad_() for name, x in make_features().items()}
    targets = [make_truth([[5, 6, 6, 7], [40, 10, 70, 33]], [3, 1]), make_truth([], [])]
    proposals = [torch.cat([make_boxes(9), torch.tensor([[5.0, 6, 6, 7], [39, 9, 71, 35]])]), make_boxes(5)]
    sum(cascade(features, proposals, [SIZE] * 2, targets)[1].values()).backward()
    for name, parameter in cascade.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert features["8"].grad[0].any()
    assert features["8"].grad[1].any()  # background is learnt from too
