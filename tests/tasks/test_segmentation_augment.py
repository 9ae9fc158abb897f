"""Image and mask move together."""

import pickle

import pytest
import torch
from segmented import COLOURS, some_classes, write_folder
from torchvision import tv_tensors

from maxvit import MaxViTError, Preprocessing
from maxvit.data.transforms import denormalise
from maxvit.tasks import make_task
from maxvit.tasks.segmentation.augment import _Photometric

SPEC = Preprocessing(image_size=(64, 96), fit="squash", crop_pct=1.0)


def sample(folder, spec=SPEC, **settings):
    task = make_task({"name": "segmentation", **settings})
    images = task.load_eval(folder, ["red", "green", "blue"])
    image, truth = task.augment(spec, images.sources[0], images.labels[0])
    return denormalise(spec, image[None])[0], truth


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path, "images", "masks", 1)


def test_colours_stay_on_their_classes(folder):
    """Away from borders, where both are interpolated, each class has its colour, at every scale and place."""
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        pixels, truth = sample(folder)
        assert tuple(truth.shape) == SPEC.image_size
        assert truth.dtype == torch.uint8
        for k in range(3):
            inner = -torch.nn.functional.max_pool2d(-(truth == k)[None].float(), 9, 1, 4)[0] > 0
            if inner.any():
                seen.add(k)
                assert (pixels[inner].int() - torch.from_numpy(COLOURS[k]).int()).abs().max() <= 2
    assert seen == {0, 1, 2}


def test_what_is_outside_the_image_is_ignored_and_of_the_mean_colour(folder):
    pixels, truth = sample(folder, scale=(0.5, 0.5))  # 32 wide, in 96
    outside = (truth == 255).all(0)
    assert outside.sum() >= 96 - 33
    mean = torch.tensor([round(255 * m) for m in SPEC.mean])
    assert (pixels[:, outside][5:-5].int() - mean).abs().max() <= 1


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_scale_is_that_of_the_shorter_side(folder, factor):
    spec = Preprocessing(image_size=(290, 290), fit="squash", crop_pct=1.0)
    _, truth = sample(folder, spec, scale=(factor, factor), flip=False)
    widths = (truth[100] == 1).sum().item()  # a stripe 10 of 29 pixels wide
    assert widths == 100 * factor


def test_half_of_the_images_are_mirrored_unless_they_must_not(folder):
    spec = Preprocessing(image_size=(58, 58), fit="squash", crop_pct=1.0)

    def first_is_left(flip):
        _, truth = sample(folder, spec, scale=(1, 1), flip=flip)
        return int(truth[30, 2]) == 0

    assert 6 < sum(first_is_left(True) for _ in range(24)) < 18
    assert all(first_is_left(False) for _ in range(12))


def test_colours_vary_only_where_it_is_set(folder):
    def draw(photometric):
        torch.manual_seed(3)
        return sample(folder, scale=(1, 1), flip=False, photometric=photometric)

    plain, varied = draw(False), draw(True)
    assert (plain[0].int() - varied[0].int()).abs().max() > 10
    assert torch.equal(plain[1], varied[1])


def test_colours_are_not_exchanged():
    red, draw = tv_tensors.Image(torch.tensor([200, 60, 40], dtype=torch.uint8)[:, None, None]), _Photometric()
    for _ in range(60):
        assert draw(red)[:, 0, 0].argmax() == 0


def test_the_same_random_numbers_give_the_same_sample(folder):
    states = []
    for _ in range(2):
        torch.manual_seed(11)
        states.append(sample(folder, photometric=True))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_task_and_annotations_travel_to_other_processes(folder):
    task = make_task({"name": "segmentation"})
    images = task.load(write_folder(folder, "images", "masks", 3), 0.3, 0).train
    again, there = pickle.loads(pickle.dumps((task, images)))
    size = some_classes(0).shape
    assert again.settings == task.settings
    assert torch.equal(again.target(there.labels[1], size), task.target(images.labels[1], size))


def test_a_grey_network_gets_one_channel(folder):
    spec = Preprocessing(image_size=(64, 64), fit="squash", crop_pct=1.0, mean=(0.5,), std=(0.5,))
    task = make_task({"name": "segmentation"})
    images = task.load_eval(folder, ["a", "b", "c"])
    assert task.augment(spec, images.sources[0], images.labels[0])[0].shape == (1, 64, 64)


def test_a_damaged_image_is_named(folder):
    (folder / "images/0.png").write_bytes(b"no image")
    with pytest.raises(MaxViTError, match=r"0.png is not an image"):
        sample(folder)
