"""The run of an evaluation: every image once, at any size, with its mirror image, whole or in shares."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError
from maxvit.inference.engines import TorchEngine
from maxvit.inference.evaluate import evaluate, evaluate_sizes, mean, merge
from maxvit.inference.predictor import Predictor
from maxvit.model import MaxViT

FORKS = pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # how workers start on Linux, from Python 3.12 on
NAMES = ["ant", "bee", "cat"]


def tiny(class_names=NAMES):
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=3,
        image_size=(32, 41),
        drop_path_rate=0.5,
    )
    return MaxViT(config, Preprocessing(image_size=(32, 41)), class_names)


def different(fit="crop"):
    """A network whose answers differ from image to image."""
    model = tiny()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    model.preprocessing = dataclasses.replace(model.preprocessing, fit=fit)
    return model.eval()


def images(count, broken=(), class_names=NAMES):
    arrays = [np.random.default_rng(i).integers(0, 256, (37, 43, 3), dtype=np.uint8) for i in range(count)]
    sources = [b"broken" if i in broken else array for i, array in enumerate(arrays)]
    labels = [i % len(class_names) for i in range(count)]
    return LabelledImages(sources, labels, class_names, [str(i) for i in range(count)])


def probabilities(result):
    return np.array([sample.prediction.numpy() for sample in result.samples]).reshape(-1, 3)


def labels(result):
    return [int(sample.target) for sample in result.samples]


def indices(result):
    return [sample.index for sample in result.samples]


def test_evaluate_gives_what_prediction_gives():
    model, data = tiny(), images(7)
    found = evaluate(model, data, batch_size=3)
    predicted = [p.value.numpy() for p in Predictor(model)(data.sources)]
    np.testing.assert_allclose(probabilities(found), predicted, rtol=1e-5)
    assert labels(found) == data.labels
    assert indices(found) == list(range(7))
    assert found.metrics["accuracy"] == np.mean(np.argmax(predicted, 1) == data.labels)
    assert found.class_names == NAMES


def test_a_list_is_read_by_the_columns_that_are_named_and_images_that_are_there_are_not(tmp_path):
    lines = ["photo,kind,other", *(f"{i},{NAMES[i % 3]},{NAMES[0]}" for i in range(6))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    for i in range(6):
        Image.new("RGB", (43, 37), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    found = evaluate(tiny(), tmp_path / "list.csv", image_column="photo", label_column="kind")
    assert labels(found) == [0, 1, 2, 0, 1, 2]
    with pytest.raises(MaxViTError, match="data is images that are read already, and not a list: leave --image-column"):
        evaluate(tiny(), images(3), label_column="kind")


def test_unreadable_images_are_told_and_do_not_count():
    found = evaluate(tiny(), images(7, broken=[0, 1, 2, 4]), batch_size=3)  # a whole batch, and one of the next
    assert indices(found) == [3, 5, 6]
    assert labels(found) == [0, 2, 0]
    assert probabilities(found).shape == (3, 3)
    assert found.skipped == [f"{i}: the data is not an image that can be read" for i in (0, 1, 2, 4)]


def test_no_readable_image_at_all_is_an_error():
    model = tiny().train()
    with pytest.raises(MaxViTError, match=r"none of the 3 images can be read; the first: 0: the data is not"):
        evaluate(model, images(3, broken=[0, 1, 2]))
    assert model.training


def test_another_number_of_classes_is_refused():
    with pytest.raises(MaxViTError, match="the model has 3 classes and the data 2"):
        evaluate(tiny(), images(4, class_names=["ant", "bee"]))


@pytest.mark.parametrize("names", [["ant", "bee", "dog"], ["bee", "ant", "cat"]])
def test_other_classes_or_another_order_are_refused(names):
    with pytest.raises(MaxViTError, match="the model's classes are ant, bee, cat"):
        evaluate(tiny(), images(4, class_names=names))


def test_a_model_without_class_names_takes_the_data_s():
    assert evaluate(tiny(None), images(3)).class_names == NAMES


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = tiny().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, images(5))
    assert model.training is training
    assert model.head.training is training
    for name, tensor in model.state_dict().items():  # the statistics of batch norm among them
        assert torch.equal(tensor, before[name])


def test_the_model_is_left_in_its_mode_when_evaluation_fails(monkeypatch):
    model = tiny().train()

    def fail(images):
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        evaluate(model, images(3))
    assert model.training


# the mirror image


def one_by_one(model, data, size=(32, 41), mirrored=False):
    """Probabilities, an image a forward, with the preprocessing spelled out."""
    spec = dataclasses.replace(model.preprocessing, image_size=size)
    tensors = [preprocess(spec, source)[None] for source in data.sources]
    with torch.inference_mode():
        rows = [model.eval()(torch.from_numpy(t.numpy()[..., ::-1].copy()) if mirrored else t)[0] for t in tensors]
    return np.stack([np.exp(row) / np.exp(row).sum() for row in torch.stack(rows).numpy().astype(np.float64)])


def test_flip_is_the_mean_of_two_separate_forward_passes():
    model, data = different(), images(5)
    plain, mirrored = one_by_one(model, data), one_by_one(model, data, mirrored=True)
    assert np.abs(plain - mirrored).max() > 1e-3
    found = evaluate(model, data, batch_size=2, tta="flip")
    np.testing.assert_allclose(probabilities(found), (plain + mirrored) / 2, rtol=1e-4)
    np.testing.assert_allclose(probabilities(evaluate(model, data, tta="none")), plain, rtol=1e-4)


@pytest.mark.parametrize("tta", ["rotate", "Flip", "", "ten-crop"])
def test_other_augmentation_is_refused_before_any_image_is_read(tta):
    with pytest.raises(MaxViTError, match=f"unknown test-time augmentation '{tta}'"):
        evaluate(tiny(), images(3, broken=[0, 1, 2]), tta=tta)


# sizes


def test_a_size_changes_the_size_and_nothing_else():
    model, data = different(), images(5)
    before = model.preprocessing, model.config
    found = evaluate(model, data, batch_size=3, size=(53, 37))
    np.testing.assert_allclose(probabilities(found), one_by_one(model, data, (53, 37)), rtol=1e-4)
    assert (model.preprocessing, model.config) == before
    assert not np.allclose(probabilities(found), probabilities(evaluate(model, data)), rtol=1e-3)


def test_each_size_is_measured_and_together_is_the_mean_of_their_probabilities():
    model, data = different(), images(7)
    sizes = [(32, 41), (53, 37), (64, 64)]
    found = evaluate_sizes(dict.fromkeys(sizes, model), data, batch_size=3)
    assert list(found) == ["32 x 41", "53 x 37", "64 x 64", "together"]
    rows = [one_by_one(model, data, size) for size in sizes]
    for result, wanted in zip(found.values(), [*rows, sum(rows) / 3], strict=True):
        np.testing.assert_allclose(probabilities(result), wanted, rtol=1e-4)
        assert labels(result) == data.labels


def test_sizes_and_mirror_images_go_together():
    model, data = different(), images(4)
    sizes = [(32, 41), (53, 37)]
    found = evaluate_sizes(dict.fromkeys(sizes, model), data, tta="flip")["together"]
    wanted = sum(one_by_one(model, data, size, mirrored) for size in sizes for mirrored in (False, True)) / 4
    np.testing.assert_allclose(probabilities(found), wanted, rtol=1e-4)


def test_one_size_is_not_put_together():
    model, data = different(), images(4)
    (name, found), *others = evaluate_sizes({(53, 37): model}, data).items()
    assert (name, others) == ("53 x 37", [])
    assert np.array_equal(probabilities(found), probabilities(evaluate(model, data, size=(53, 37))))


def test_unreadable_images_count_once_for_all_sizes():
    data = images(7, broken=[0, 4])
    found = evaluate_sizes(dict.fromkeys([(32, 41), (53, 37)], different()), data)
    assert [len(result.skipped) for result in found.values()] == [2, 2, 2]
    assert indices(found["together"]) == [1, 2, 3, 5, 6]


def test_images_that_keep_their_shapes_have_the_pixels_of_the_size():
    """An image of 37 x 43 is nearly square; one of 37 x 86 is nearer to 32 x 96 than to 32 x 128 or 64 x 64."""
    model = different(fit="aspect")
    data = LabelledImages([images(1).sources[0], np.tile(images(1).sources[0], (1, 2, 1))], [0, 1], NAMES, ["a", "b"])
    seen = []
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    evaluate(model, data, size=(64, 64))
    hook.remove()
    assert sorted(seen) == [(32, 96), (64, 64)]


@pytest.mark.parametrize("size", [(0, 0), (31, 64), (64, -1), (64,), (64.0, 64)])
def test_a_size_that_cannot_be_is_refused_before_any_image_is_read(size):
    for refused in (lambda d: evaluate(tiny(), d, size=size), lambda d: evaluate_sizes({size: tiny()}, d)):
        with pytest.raises(MaxViTError, match=r"image_size is .*; it takes \(height, width\) from 32 up"):
            refused(images(3, broken=[0, 1, 2]))


def test_no_size_at_all_is_refused():
    with pytest.raises(MaxViTError, match="there are no sizes to evaluate at"):
        evaluate_sizes({}, images(3))


def test_an_engine_that_refuses_the_second_size_does_so_before_the_first_is_measured():
    class Fixed(TorchEngine):
        def __call__(self, given):
            if given.shape[2:] != (32, 41):
                raise MaxViTError("another size")
            return super().__call__(given)

    broken = images(3, broken=[0, 1, 2])  # reading them would fail otherwise
    with pytest.raises(MaxViTError, match="another size"):
        evaluate_sizes(dict.fromkeys([(32, 41), (64, 64)], Fixed(tiny())), broken)


# shares of several processes


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # how workers start on Linux, from Python 3.12 on
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # where there are fewer cores
@pytest.mark.parametrize("fit", ["crop", "aspect"])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_image_is_in_one_share_whatever_the_ranks_and_workers(world, workers, fit):
    model, data = different(fit=fit), images(11, broken=[4])
    wide = [source if i == 4 else np.tile(source, (1, 1 + i % 2, 1)) for i, source in enumerate(data.sources)]
    data = dataclasses.replace(data, sources=wide)  # every second is twice as wide
    whole = evaluate(model, data, batch_size=3)
    parts = [evaluate(model, data, 2, workers, part=(rank, world)) for rank in reversed(range(world))]
    seen = sorted(i for part in parts for i in indices(part))
    assert seen == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    merged = merge(parts)
    assert indices(merged) == seen
    assert labels(merged) == [data.labels[i] for i in seen]
    assert merged.skipped == whole.skipped
    np.testing.assert_allclose(probabilities(merged), probabilities(whole), rtol=1e-5)


def test_a_share_without_images_is_empty_and_does_no_harm():
    parts = [evaluate(different(), images(2), part=(rank, 3)) for rank in range(3)]
    assert [indices(part) for part in parts] == [[0], [1], []]
    assert probabilities(parts[2]).shape == (0, 3)
    assert indices(merge(parts)) == [0, 1]


def test_a_share_of_unreadable_images_says_so_and_does_no_harm():
    parts = [evaluate(different(), images(4, broken=[1, 3]), part=(rank, 2)) for rank in range(2)]
    assert [len(part.skipped) for part in parts] == [0, 2]
    assert indices(merge(parts)) == [0, 2]


@pytest.mark.parametrize("part", [(1, 1), (-1, 2), (3, 2), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(part):
    with pytest.raises(MaxViTError, match=r"part is .*; it takes \(rank, world\)"):
        evaluate(tiny(), images(3), part=part)


# shares of classes


@pytest.mark.parametrize("make", [np.array, lambda rows: rows], ids=["numpy", "lists"])
def test_the_largest_share_is_the_true_class(make):
    rows = [[0.1, 0.7, 0.2], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.3, 0.3, 0.4]]
    model, data = different(), images(4)
    soft = evaluate(model, dataclasses.replace(data, labels=make(rows)), part=(0, 1))
    hard = evaluate(model, dataclasses.replace(data, labels=[1, 0, 2, 2]))
    assert soft.metrics == hard.metrics
    assert soft.rows == hard.rows


@pytest.mark.parametrize(
    ("row", "total"), [([1.0, 1.0, 0.0], "2"), ([0.0, 0.0, 0.0], "0"), ([0.4, 0.4, 0.4], "1.2"), ([np.nan] * 3, "nan")]
)
def test_an_image_with_several_labels_is_named(row, total):
    data = dataclasses.replace(images(3), labels=np.array([[1.0, 0, 0], [0, 1, 0], row]))
    with pytest.raises(
        MaxViTError, match=f"^the labels of 2 sum to {total}, and shares of classes sum to 1: .*loss=sigmoid"
    ):
        evaluate(tiny(), data)


@pytest.mark.parametrize("shape", [(3, 2), (3, 3, 1)])
def test_shares_of_another_number_of_classes_are_refused(shape):
    data = dataclasses.replace(images(3), labels=np.full(shape, 1 / shape[1]))
    with pytest.raises(MaxViTError, match=r"labels have shape .*: give one number an image, or \(images, 3\) shares"):
        evaluate(tiny(), data)


# several results as one


def parts(count=7, world=3, **options):
    model = different()
    return [evaluate(model, images(count, **options), part=(rank, world)) for rank in range(world)]


def test_parts_survive_the_way_from_process_to_process():
    model = different()
    found = [evaluate(model, images(7), part=(rank, 3)) for rank in range(3)]
    whole = evaluate(model, images(7)).metrics
    assert merge([pickle.loads(pickle.dumps(part)) for part in found]).metrics == pytest.approx(whole, rel=1e-5)


def test_an_image_in_two_parts_is_refused():
    first, second, _ = parts()
    with pytest.raises(MaxViTError, match="image 0 is in two parts: give each image to one"):
        merge([first, second, first])


def test_parts_of_other_classes_are_refused():
    other = evaluate(tiny(["dog", "eel", "fox"]), images(3, class_names=["dog", "eel", "fox"]))
    with pytest.raises(MaxViTError, match=r"parts have other classes \(ant, bee, cat and dog, eel, fox\)"):
        merge([parts()[0], other])


def test_nothing_to_merge_is_an_error_that_says_why_the_first_image_could_not_be_read():
    with pytest.raises(MaxViTError, match="none of the 0 parts holds a prediction"):
        merge([])
    with pytest.raises(MaxViTError, match="nothing to merge; the first: 0: the data is not an image"):
        merge(parts(3, broken=[0, 1, 2]))


def test_predictions_for_different_images_have_no_mean():
    first, second, _ = parts()
    with pytest.raises(MaxViTError, match="the predictions are for different images"):
        mean([first, second])
