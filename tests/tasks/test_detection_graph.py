"""A detector as one graph of fixed sizes, beside the network itself; its files; and how they are compared."""

import pytest
import torch
from test_detectors import DETECTORS, MASKED, SMALL, make_detector, spread
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_area

from maxvit import MaxViT, MaxViTConfig, MaxViTError
from maxvit.export.export import export_model
from maxvit.export.options import ExportOptions
from maxvit.export.runtimes import open_file
from maxvit.export.torch_export import program
from maxvit.export.verify import verify
from maxvit.tasks import task_for
from maxvit.tasks.detection import nms
from maxvit.tasks.detection.export import DetectionGraph, _pool, best, difference, proposals
from maxvit.tasks.detection.network import make_head
from maxvit.tasks.detection.settings import DetectionSettings
from maxvit.tasks.network import TaskNetwork

HW = (160, 224)
LARGE = {"strides": (4, 8, 16), "proposals": (60, 150), "anchor_sizes": (60, 150, 170, 190)}
BACKBONE = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, window_size=(2, 3), grid_size=(2, 3),
    image_size=(64, 96),
)  # fmt: skip


def agree(outputs, answers):
    """Every image's objects are the network's, in their order, and what is left of the places is 0."""
    names = ("boxes", "labels", "scores", "masks")[: len(outputs)]
    for i, answer in enumerate(answers):
        number = len(answer["scores"])
        assert set(answer) == set(names)
        for name, output in zip(names, outputs, strict=True):
            torch.testing.assert_close(output[i, :number], answer[name], rtol=1e-4, atol=1e-4)
            assert not output[i, number:].any(), name


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("few", [True, False])
def test_objects_are_those_of_the_network_and_absent_ones_are_0(detector, few):
    threshold = (0.9 if detector == "retinanet" else 0.3) if few else 0.05
    number = 300 if few else 11
    network = spread(make_detector(detector, score_threshold=threshold, detections=number, **LARGE))
    regions = []
    if detector != "retinanet":
        network.head.regions.register_forward_pre_hook(lambda _, given: regions.extend(given[1]))
    images = torch.randn(2, 3, *HW)
    with torch.inference_mode():
        answers, outputs = network(images), DetectionGraph(network, network.settings)(images)
    found = [len(answer["scores"]) for answer in answers]
    assert all(5 < n < 300 for n in found) if few else found == [11, 11]
    for boxes in regions:  # from a side of 112 pixels on they are pooled from another level
        assert box_area(boxes).min() < 112**2 < box_area(boxes).max()
    shapes = [(2, number, 4), (2, number), (2, number), (2, number, 28, 28)]
    assert [tuple(output.shape) for output in outputs] == shapes[: 4 if detector in MASKED else 3]
    assert outputs[1].dtype == torch.int64
    agree(outputs, answers)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_task_names_the_outputs_and_says_that_their_number_is_fixed(detector):
    network = make_detector(detector)
    graph = task_for(network).export_spec(network)
    assert graph.outputs == ("boxes", "labels", "scores") + ("masks",) * (detector in MASKED)
    assert not graph.any_batch
    assert graph.difference is difference


@pytest.mark.parametrize("detector", DETECTORS)
def test_there_are_no_more_places_than_boxes(detector):
    network = spread(make_detector(detector, score_threshold=0, detections=100, proposals=(9, 4)))
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        outputs = DetectionGraph(network, network.settings)(images)
        agree(outputs, network(images))
    assert outputs[0].shape == (2, 4 * 4 if detector == "retinanet" else 4 * 3, 4)  # of 4 levels, or of 3 classes


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_image_without_objects_gives_nothing_but_0(detector):
    network = spread(make_detector(detector, score_threshold=0.9999, detections=7))
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        outputs = DetectionGraph(network, network.settings)(images)
        agree(outputs, network(images))
    assert not any(output.any() for output in outputs)


def test_regions_are_torchvision_s_and_the_places_that_are_left_are_0():
    network = spread(make_detector("faster-rcnn", proposals=(60, 300)))
    proposer, images = network.head.proposer, torch.randn(2, 3, 64, 96)
    proposer.head.layer.bbox_pred.bias.data[0] = 50.0  # one anchor of three goes so far to the right that it is gone
    with torch.inference_mode():
        levels = network.head.pyramid(network.backbone.forward_pyramid(images, network.head.strides))
        theirs, _ = proposer(ImageList(images, [(64, 96)] * 2), levels)
        for boxes, other in zip(proposals(proposer, levels, (64, 96)), theirs, strict=True):
            assert boxes.shape == (300, 4)
            assert 50 < len(other) < 300
            torch.testing.assert_close(boxes[: len(other)], other)
            assert not boxes[len(other) :].any()


def test_boxes_are_pooled_from_the_level_that_torchvision_takes():
    pool = make_detector("faster-rcnn").head.regions.box_roi_pool
    maps = {str(s): torch.randn(1, 5, -(-704 // s), -(-960 // s)) for s in (8, 16, 32)}
    corners, sides = torch.rand(40, 2) * torch.tensor([300.0, 100]), torch.rand(40, 2) * 600
    boxes = torch.cat([torch.cat([corners, corners + sides], 1), torch.zeros(1, 4)])
    assert set(pool.map_levels([boxes]).tolist()) == {0, 1, 2}
    torch.testing.assert_close(_pool(pool, maps, boxes), pool(maps, [boxes], [(704, 960)]))


def make_candidates():
    """A hundred boxes in five heaps, some of them without area, of three classes."""
    centre = 20 + 40 * torch.randint(0, 5, (100, 1)) + 3 * torch.randn(100, 2)
    sides = 12 + 2 * torch.randn(100, 2)
    sides[::9, 1] = 0.005
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], 1)
    return boxes, torch.rand(100), torch.randint(1, 4, (100,))


@pytest.mark.parametrize("number", [10, 100])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_the_best_boxes_are_those_that_the_network_chooses(number, threshold):
    settings = DetectionSettings(detections=number, score_threshold=threshold, nms_threshold=0.4)
    for _ in range(20):
        boxes, scores, labels = make_candidates()
        expected = nms.best(boxes, scores, labels, settings)
        found = best(boxes, scores, labels, settings)
        kept = len(expected["scores"])
        assert 10 <= kept < 100
        assert len(found.scores) == number
        assert torch.equal(found.scores[:kept], expected["scores"])
        assert torch.equal(found.labels[:kept], expected["labels"])
        assert torch.equal(found.boxes[:kept], expected["boxes"])
        assert not any(values[kept:].any() for values in found)


def test_a_heap_of_ten_times_the_objects_hides_what_comes_after_it():
    settings = DetectionSettings(detections=2)
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(21, 1)
    boxes[-1] += 50
    scores, labels = torch.linspace(0.9, 0.5, 21), torch.ones(21, dtype=torch.int64)
    assert best(boxes, scores, labels, settings).scores.tolist() == [pytest.approx(0.9), 0]
    assert best(boxes[1:], scores[1:], labels[1:], settings).scores.tolist() == [
        pytest.approx(0.88),
        pytest.approx(0.5),
    ]


def test_boxes_without_area_take_no_place_of_others():
    boxes = torch.tensor([[5.0, 5, 5, 90]]).repeat(41, 1)
    boxes[0] = torch.tensor([10.0, 20, 30, 40])
    scores, labels = torch.tensor([0.5] + 40 * [0.9]), torch.ones(41, dtype=torch.int64)
    found = best(boxes, scores, labels, DetectionSettings(detections=2))
    assert found.boxes.tolist() == [[10, 20, 30, 40], [0, 0, 0, 0]]
    assert found.scores.tolist() == [0.5, 0]


class Best(nn.Module):
    """Boxes, and in a fifth column their scores; all of one class."""

    def forward(self, values):
        labels = torch.ones(len(values), dtype=torch.int64)
        return tuple(best(values[:, :4], values[:, 4], labels, DetectionSettings(detections=3)))


def test_a_program_answers_where_all_boxes_but_one_go():
    apart = torch.cat([torch.tensor([[0.0, 0, 8, 8]]) + 20 * torch.arange(5)[:, None], torch.rand(5, 1) + 0.1], 1)
    traced = program(Best(), apart, free=[]).module()
    heap = torch.cat([apart[:1, :4].repeat(5, 1), apart[:, 4:]], 1)
    for values, number in ((apart, 3), (heap, 1), (apart * torch.tensor([1, 1, 1, 1, 0.0]), 0)):
        found, expected = traced(values), Best()(values)
        assert (expected[2] > 0).sum() == number
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


# files


def make_small(detector, **values):
    """A detector that is exported in seconds."""
    settings = DetectionSettings(
        detector=detector, **{**SMALL, "strides": (8, 16), "extra_levels": 0, "score_threshold": 0.3, **values}
    )
    backbone = MaxViT(BACKBONE)
    return spread(TaskNetwork(backbone, make_head(settings, backbone, 3), ["disc", "frame", "bar"], settings))


def answered(network, file):
    """The file, opened anew, gives of other images what the network gives."""
    images = torch.randn(file.shape)
    with torch.inference_mode():
        expected = DetectionGraph(network, network.settings)(images)
        agree(expected, network(images))
    found = file(images)
    assert [(f.shape, f.dtype) for f in found] == [(e.shape, e.dtype) for e in expected]
    assert (expected[2] > 0).sum() > 1
    assert difference(found, expected) < 1e-4


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A network, and its file for two images at once."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network, path = make_small("mask-rcnn"), tmp_path_factory.mktemp("onnx") / "a.onnx"
    done = export_model(network, path, options=ExportOptions(batch=2))
    assert done.verification.relative < 1e-4
    assert (done.verification.random, done.verification.engine) == (2, "ONNX Runtime")
    return network, path


@pytest.mark.full
def test_an_onnx_file_gives_the_objects_of_the_network_under_their_names(written):
    import onnxruntime

    network, path = written
    file = open_file(path)
    assert file.shape == [2, 3, 64, 96]
    assert file.metadata["task"] == network.settings.model_dump(mode="json")
    answered(network, file)
    names = [output.name for output in onnxruntime.InferenceSession(path).get_outputs()]
    assert names == ["boxes", "labels", "scores", "masks"]


@pytest.mark.full
def test_a_file_of_another_network_is_noticed(written):
    _, path = written
    torch.manual_seed(1)
    other = make_small("mask-rcnn")
    with pytest.raises(MaxViTError, match="gives other numbers than the network: the relative difference is inf"):
        verify(other, path, ExportOptions(batch=2))


@pytest.mark.full
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(("to", "ending"), [("onnx", "onnx"), ("torch", "pt2"), ("openvino", "xml")])
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_files_of_all_kinds_give_the_objects_of_the_network_one_image_at_once(detector, to, ending, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    network, path = make_small(detector), tmp_path / f"a.{ending}"
    export_model(network, path, to)
    file = open_file(path)
    assert file.shape == [1, 3, 64, 96]
    answered(network, file)


# the difference


def make_objects(masks=False):
    """Two images with two and three objects, in four places."""
    corners = 50 * torch.rand(2, 4, 2)
    boxes = torch.cat([corners, corners + 10 + 20 * torch.rand(2, 4, 2)], 2)
    boxes[0, 1, 3] = 80  # the largest coordinate
    scores = 0.3 + 0.6 * torch.rand(2, 4)
    there = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    labels = torch.tensor([[1, 2, 3, 1], [2, 2, 1, 1]])
    outputs = [boxes * there[..., None], labels * there, scores * there]
    return [*outputs, torch.rand(2, 4, 28, 28) * there[..., None, None]] if masks else outputs


def changed(outputs, which, place, value):
    """The same with another value in a place."""
    other = [values.clone() for values in outputs]
    other[which][place] = value
    return other


def without(outputs, place):
    """The same without an object."""
    for i in range(len(outputs)):
        outputs = changed(outputs, i, place, 0)
    return outputs


@pytest.mark.parametrize("masks", [True, False])
def test_there_is_no_difference_between_the_same_objects_in_whatever_order(masks):
    expected = make_objects(masks)
    assert difference(expected, expected) == 0
    order = torch.tensor([[1, 0, 2, 3], [2, 0, 1, 3]])
    swapped = [torch.stack([v[o] for v, o in zip(values, order, strict=True)]) for values in expected]
    assert difference(swapped, expected) == 0


def test_a_difference_is_that_of_the_farthest_box_score_or_mask():
    expected = make_objects(masks=True)
    box, score, mask = expected[0][1, 2, 0], expected[2][0, 0], expected[3][1, 0, 5, 7]
    moved = changed(expected, 0, (1, 2, 0), box - 2)
    assert difference(moved, expected) == pytest.approx(2 / 80)  # a share of the largest coordinate
    surer = changed(expected, 2, (0, 0), score + 0.04)
    assert difference(surer, expected) == pytest.approx(0.04)
    fuller = changed(expected, 3, (1, 0, 5, 7), mask + 0.05)
    assert difference(fuller, expected) == pytest.approx(0.05)
    assert difference(changed(moved, 2, (0, 0), score + 0.01), expected) == pytest.approx(2 / 80)


def test_objects_that_have_none_of_their_class_are_infinitely_far_away():
    expected = make_objects()
    assert difference(changed(expected, 1, (0, 0), 3), expected) == torch.inf
    for place, away in (
        ((0, 0), torch.inf),
        ((1, 2), torch.inf),
        ((1, 1), 0.1),
    ):  # the last has one of its class beside
        assert difference(without(expected, place), expected) >= away
        assert difference(expected, without(expected, place)) >= away
    nothing = [torch.zeros_like(values) for values in expected]
    assert difference(nothing, expected) == torch.inf
    assert difference(expected, nothing) == torch.inf


def test_objects_of_one_image_are_not_looked_for_in_another():
    expected = make_objects()
    assert difference([values.flip(0) for values in expected], expected) > 0.1


def test_nothing_is_no_other_than_nothing():
    nothing = [torch.zeros_like(values) for values in make_objects(masks=True)]
    assert difference(nothing, nothing) == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("which", [0, 2, 3])
def test_what_is_no_number_is_an_infinite_difference(value, which):
    expected = make_objects(masks=True)
    assert difference(changed(expected, which, (1, 1), value), expected) == torch.inf


def test_of_every_fifty_objects_one_may_be_another():
    corners = 20.0 * torch.arange(50)[:, None].repeat(1, 2)
    boxes = torch.cat([corners, corners + 10], 1)[None]
    labels, scores = torch.ones(1, 50, dtype=torch.int64), torch.linspace(0.9, 0.5, 50)[None]
    for number, allowed in ((49, False), (50, True)):
        expected = [boxes[:, :number], labels[:, :number], scores[:, :number]]
        assert (difference(changed(expected, 0, (0, 3), boxes[0, 3] + 7), expected) == 0) == allowed
