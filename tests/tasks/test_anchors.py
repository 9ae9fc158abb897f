"""Where anchors are, and what can be set of them."""

import pytest
import torch
from pydantic import ValidationError
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from maxvit.tasks.detection.anchors import Anchors
from maxvit.tasks.detection.settings import DetectionSettings


def test_anchors_of_a_level_are_those_computed_by_hand():
    (boxes,) = Anchors([8], [8.0], (1.0, 2.0), (4.0, 0.25)).levels([torch.zeros(1, 5, 2, 3)])
    assert boxes.shape == (2 * 3 * 4, 4)
    first = [[2, -4, 6, 12], [0, -12, 8, 20], [-4, 2, 12, 6], [-12, 0, 20, 8]]  # around (4, 4): high, then wide
    assert boxes[:4].tolist() == first
    second_row_third_column = torch.tensor(first) + torch.tensor([16, 8, 16, 8])
    assert torch.equal(boxes[-4:], second_row_third_column.float())


def test_anchors_are_torchvision_s_moved_to_the_middle_of_the_cell():
    maps = [torch.zeros(2, 7, 6, 10), torch.zeros(2, 7, 3, 5)]
    theirs = AnchorGenerator(((32, 64), (48, 96)), ((0.25, 1.0, 4.0),) * 2)
    expected = theirs(ImageList(torch.zeros(2, 3, 48, 80), [(48, 80)] * 2), maps)
    found = Anchors([8, 16], [32.0, 48.0], (1.0, 2.0), (0.25, 1.0, 4.0))(ImageList(maps[0], [(48, 80)] * 2), maps)
    half = torch.cat([torch.full((6 * 10 * 6, 1), 4.0), torch.full((3 * 5 * 6, 1), 8.0)])
    assert len(found) == 2
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other + half)


def test_anchors_stay_a_stride_apart_where_the_image_is_no_multiple_of_it():
    (boxes,) = Anchors([32], [10.0], (1.0,), (1.0,)).levels([torch.zeros(1, 5, 2, 2)])  # of 40 x 40 pixels
    assert boxes[:, 0].tolist() == [11, 43, 11, 43]


def test_anchors_are_in_the_order_of_what_is_said_of_them():
    anchors = Anchors([8, 16], [10.0, 20.0], (1.0, 2.0), (0.25, 1.0, 4.0))
    maps = [torch.zeros(1, 6, 3, 5), torch.zeros(1, 6, 2, 3)]
    maps[1][0, 3, 1, 2] = 1  # second level, ratio 1, scale 2, second row, third column
    said, _ = concat_box_prediction_layers(maps, [torch.zeros(1, 24, *m.shape[2:]) for m in maps])
    box = torch.cat(anchors.levels(maps))[said.flatten().argmax()]
    assert box.tolist() == [40 - 20, 24 - 20, 40 + 20, 24 + 20]


@pytest.mark.parametrize("strides", [(), (8, 32), (16, 8), (2, 4), (32, 64)])
def test_strides_that_are_no_neighbours_are_refused(strides):
    with pytest.raises(ValidationError, match=r"neighbours of \(4, 8, 16, 32\)"):
        DetectionSettings(strides=strides)


@pytest.mark.parametrize("strides", [(8,), (16, 32), (4, 8, 16, 32)])
def test_strides_that_are_neighbours_are_taken(strides):
    assert DetectionSettings(strides=strides).strides == strides


def test_anchor_sizes_are_one_a_level():
    assert DetectionSettings(strides=(8, 16), anchor_sizes=(10, 20, 40)).anchor_sizes == (10, 20, 40)
    with pytest.raises(ValidationError, match="each of the 4 levels"):
        DetectionSettings(anchor_sizes=(10, 20, 40))


@pytest.mark.parametrize(
    "wrong", [{"anchor_ratios": ()}, {"anchor_scales": (0.0,)}, {"proposals": (0, 5)}, {"samples": (5, 0)}]
)
def test_settings_that_leave_nothing_to_learn_from_are_refused(wrong):
    with pytest.raises(ValidationError):
        DetectionSettings(**wrong)
