"""Windows over the image, and answers at its own size."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maxvit import Preprocessing, create_model
from maxvit.tasks import make_task
from maxvit.tasks.segmentation.predictions import classes_and_loss_at, classes_at, covering_size, slide


class Slope(nn.Module):
    """Logits that depend on where a pixel lies in its window, and on the window."""

    def forward(self, images):
        rows = torch.arange(images.shape[2], dtype=images.dtype)[:, None]
        columns = torch.arange(images.shape[3], dtype=images.dtype)
        return torch.stack([images[:, 0] + rows * 3, images[:, 1] * columns, images.mean(1) + images.mean()], 1)


@pytest.mark.parametrize(("side", "stride"), [((5, 7), 0.5), ((5, 7), 1.0), ((11, 7), 2 / 3), ((11, 17), 0.3)])
def test_a_pixel_has_the_mean_of_its_windows(side, stride):
    images, window = torch.randn(1, 3, 11, 17), side
    sums, number = torch.zeros(3, 11, 17), torch.zeros(11, 17)
    steps = [max(1, int(s * stride)) for s in window]
    tops = sorted({min(i * steps[0], 11 - window[0]) for i in range(20)})
    lefts = sorted({min(i * steps[1], 17 - window[1]) for i in range(20)})
    for top in tops:
        for left in lefts:
            piece = Slope()(images[:, :, top : top + window[0], left : left + window[1]])[0]
            for i in range(window[0]):
                for j in range(window[1]):
                    sums[:, top + i, left + j] += piece[:, i, j]
                    number[top + i, left + j] += 1
    assert number.min() > 0
    torch.testing.assert_close(slide(Slope(), images, window, stride)[0], sums / number)


@pytest.mark.parametrize("classes", [2, 16, 37])
def test_answer_and_loss_are_those_of_logits_at_the_size_of_the_image(classes):
    logits, size = torch.randn(classes, 13, 11) * 3, (29, 41)
    truth = torch.randint(0, classes, size, dtype=torch.uint8)
    truth[:5] = 255
    whole = F.interpolate(logits[None], size=size, mode="bilinear")
    answer, loss = classes_and_loss_at(logits, size, truth)
    assert answer.dtype == torch.uint8
    assert torch.equal(answer.long(), whole[0].argmax(0))
    assert torch.equal(classes_at(logits, size), answer)
    torch.testing.assert_close(loss, F.cross_entropy(whole, truth.long()[None], ignore_index=255))


def test_a_truth_of_ignored_pixels_only_has_no_loss():
    assert classes_and_loss_at(torch.randn(3, 5, 7), (9, 8), torch.full((9, 8), 255, dtype=torch.uint8))[1] == 0


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 300), (64, 192)), ((333, 100), (213, 64)), ((20, 20), (64, 64)), ((64, 64), (64, 64))]
)
def test_an_image_covers_the_window_and_keeps_its_shape(size, expected):
    assert covering_size(size, (64, 64)) == expected


def test_an_image_covers_a_window_that_is_no_square():
    assert covering_size((100, 300), (64, 96)) == (64, 192)
    assert covering_size((300, 100), (64, 96)) == (288, 96)


@pytest.mark.parametrize("inference", ["whole", "slide"])
def test_answers_have_the_size_of_each_image_and_agree_with_judge(inference):
    task = make_task(
        {"name": "segmentation", "decoder": "fpn", "decoder_channels": 64, "inference": inference, "slide_stride": 0.5}
    )
    network = task.make_network(create_model("maxvit_micro", image_size=64), ["a", "b", "c"]).eval()
    spec = Preprocessing(image_size=(64, 64), fit="squash", crop_pct=1.0)
    network.backbone.preprocessing = spec
    sizes = [(50, 75), (100, 150)]
    pictures = [torch.randint(0, 256, (*size, 3), dtype=torch.uint8).numpy() for size in sizes]
    prepared = [task.prepare(spec, picture) for picture in pictures]
    assert [p.shape[1:] for p in prepared] == [task.prepared_size(spec, size) for size in sizes]
    targets = [torch.randint(0, 3, size, dtype=torch.uint8) for size in sizes]
    with torch.inference_mode():
        answers = task.predict(network, torch.stack(prepared), sizes)
        scores, same = task.evaluate(network, torch.stack(prepared), sizes, targets)
        alone = task.evaluate(network, prepared[1][None], sizes[1:], targets[1:])[0]["loss"]
        first = task.evaluate(network, prepared[0][None], sizes[:1], targets[:1])[0]["loss"]
    assert [tuple(a.shape) for a in answers] == sizes
    assert all(torch.equal(a, b) for a, b in zip(answers, same, strict=True))
    assert set(scores) == {"loss"}
    torch.testing.assert_close(scores["loss"], (alone + first) / 2)
