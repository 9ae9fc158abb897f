"""Batches are a function of the seed and the epoch; what cannot be read is told, and the rest still comes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import evaluation_loader, training_loader
from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import normalise, preprocess

SPEC = Preprocessing(image_size=(32, 41))


def images(count, broken=()):
    """Arrays in memory; those at `broken` are no images."""
    arrays = [np.random.default_rng(i).integers(0, 256, (37, 43, 3), dtype=np.uint8) for i in range(count)]
    sources = [b"broken" if i in broken else array for i, array in enumerate(arrays)]
    return LabelledImages(sources, [i % 3 for i in range(count)], ["a", "b", "c"], [f"image {i}" for i in range(count)])


def train(data, batch_size=4, workers=0, seed=5, epoch=0, augmentation="characters"):
    loader = training_loader(data, SPEC, augmentation, batch_size, workers, seed)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_evaluation_gives_every_image_once_in_order_as_prediction_sees_it():
    data = images(7)
    batches = list(evaluation_loader(data, SPEC, batch_size=3))
    assert [len(batch.targets) for batch in batches] == [3, 3, 1]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(7))
    assert torch.cat([batch.targets for batch in batches]).tolist() == data.labels
    wanted = torch.stack([preprocess(SPEC, source) for source in data.sources])
    assert torch.equal(torch.cat([batch.images for batch in batches]), wanted)
    assert all(batch.skipped == [] for batch in batches)


def test_training_batches_hold_every_image_once_and_none_is_a_small_rest():
    batches = train(images(11))
    assert [batch.images.shape for batch in batches] == [(4, 3, 32, 41), (4, 3, 32, 41), (3, 3, 32, 41)]
    assert sorted(i for batch in batches for i in batch.indices.tolist()) == list(range(11))


def test_an_image_that_cannot_be_read_gives_its_place_to_another():
    batches = train(images(11, broken=[4, 7]))
    assert [len(batch.targets) for batch in batches] == [4, 4, 3]
    seen = [i for batch in batches for i in batch.indices.tolist()]
    assert set(seen) == set(range(11)) - {4, 7}
    assert sum(len(batch.skipped) for batch in batches) >= 1


def test_fewer_images_than_a_batch_make_one_batch_of_all():
    (batch,) = train(images(3), batch_size=64)
    assert sorted(batch.indices.tolist()) == [0, 1, 2]


def test_labels_and_indices_belong_to_their_images():
    data = images(11)
    for batch in train(data, augmentation="none"):
        assert (batch.targets.dtype, batch.indices.dtype) == (torch.int64, torch.int64)
        for image, label, i in zip(batch.images, batch.targets.tolist(), batch.indices.tolist(), strict=True):
            assert label == data.labels[i]
            whole = Image.fromarray(data.sources[i]).resize((41, 32), Image.Resampling.BICUBIC)
            assert torch.equal(image, normalise(SPEC, np.asarray(whole)))


@pytest.mark.parametrize("augmentation", ["characters", "photos"])
def test_training_batches_are_the_same_with_and_without_workers(augmentation):
    alone, helped = (train(images(11, broken=[4]), workers=n, epoch=3, augmentation=augmentation) for n in (0, 2))
    assert len(alone) == len(helped) == 3
    for first, second in zip(alone, helped, strict=True):
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.indices, second.indices)
        assert first.skipped == second.skipped


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_in_every_epoch_whether_images_are_kept_or_not(workers):
    data = images(11, broken=[4])
    kept = training_loader(data, SPEC, "photos", 4, workers, 5, keep=100_000)  # eleven or so, in each process
    for epoch in range(3):
        kept.sampler.set_epoch(epoch)
        for first, second in zip(kept, train(data, augmentation="photos", epoch=epoch), strict=True):
            assert torch.equal(first.images, second.images)
            assert torch.equal(first.indices, second.indices)
            assert first.skipped == second.skipped


def test_evaluation_batches_are_the_same_with_and_without_workers():
    alone, helped = (list(evaluation_loader(images(7), SPEC, 3, workers=n)) for n in (0, 2))
    for first, second in zip(alone, helped, strict=True):
        assert torch.equal(first.images, second.images)


def test_augmentation_changes_with_the_epoch_and_repeats_with_it():
    def by_index(epoch):
        batches = train(images(4), epoch=epoch)
        return {i: image for batch in batches for i, image in zip(batch.indices.tolist(), batch.images, strict=True)}

    first, again, other = by_index(0), by_index(0), by_index(1)
    for i in range(4):
        assert torch.equal(first[i], again[i])
        assert not torch.equal(first[i], other[i])


def test_loading_leaves_the_random_numbers_of_the_model_alone():
    torch.manual_seed(3)
    wanted = torch.rand(5)
    torch.manual_seed(3)
    loader = training_loader(images(11), SPEC, "photos", 4, 0, 5)
    for keys in loader.sampler:
        loader.dataset[keys]
    assert torch.equal(torch.rand(5), wanted)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_become_sentences_and_the_others_still_come(workers):
    batches = list(evaluation_loader(images(7, broken=[1, 3, 4, 5]), SPEC, 3, workers))
    assert [batch.indices.tolist() for batch in batches] == [[0, 2], [], [6]]
    assert [len(batch.images) for batch in batches] == [2, 0, 1]
    assert [len(batch.skipped) for batch in batches] == [1, 3, 0]
    first, *_ = batches[0].skipped
    assert first == "image 1: the data is not an image that can be read"


def test_a_broken_file_is_named_in_training(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 43, 3), dtype=np.uint8)).save(buffer, "JPEG")
    (tmp_path / "half.jpg").write_bytes(buffer.getvalue()[:500])
    paths = [tmp_path / name for name in ("half.jpg", "gone.jpg")]
    (batch,) = train(LabelledImages(paths, [0, 1], ["a", "b"], ["half", "gone"]))
    assert len(batch.targets) == 0
    half, gone = sorted(batch.skipped, key=lambda sentence: "gone" in sentence)
    assert "half.jpg is damaged" in half
    assert "gone.jpg does not exist" in gone


def test_a_grey_model_gets_one_channel():
    spec = Preprocessing(image_size=(32, 41), mean=(0.5,), std=(0.5,))
    (batch,) = training_loader(images(3), spec, "characters", 3, 0, 5)
    assert batch.images.shape == (3, 1, 32, 41)
