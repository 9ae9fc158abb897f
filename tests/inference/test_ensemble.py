"""Several networks predict as one: the mean of what each says of the image as its own weights expect it."""

import dataclasses

import numpy as np
import pytest
import torch

from every_task import TASKS, network_of
from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.inference.bulk.predict import predict_to_file
from maxvit.inference.engines import TorchEngine
from maxvit.inference.ensemble import Ensemble, open_sizes_together
from maxvit.inference.evaluate import evaluate, evaluate_sizes
from maxvit.inference.predictor import Predictor
from maxvit.tasks.classification import Classification

NAMES = TASKS["classification"][1]
SIZES = [(37, 43), (90, 41), (41, 97), (60, 61), (37, 43)]


def classifier(seed=0, size=(64, 64), fit="crop", names=NAMES, **changes):
    network = network_of("classification", names=names, fit=fit)
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=size, **changes)
    return network.eval()


@pytest.fixture(scope="module")
def unlike():
    """Networks that want an image at other sizes, normalised in another way, and in its own shape."""
    return [classifier(0), classifier(1, (45, 37), mean=(0.5, 0.6, 0.7)), classifier(2, (64, 96), "aspect")]


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def values(predictions):
    return torch.stack([prediction.value for prediction in predictions])


def mean_of(networks, pictures, tta="none"):
    return torch.stack([values(Predictor(one, tta=tta)(pictures)) for one in networks]).mean(0)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_a_prediction_is_the_mean_of_those_of_each(unlike, pictures, tta):
    apart = mean_of(unlike, pictures, tta)
    torch.testing.assert_close(values(Predictor(unlike, batch_size=2, tta=tta)(pictures)), apart)
    assert (apart - values(Predictor(unlike[0])(pictures))).abs().max() > 0.01


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_an_evaluation_is_that_of_the_mean(unlike, pictures, tta):
    data = LabelledImages([*pictures, b"broken"], [0, 1, 2, 3, 4, 0], NAMES, list("abcdef"))
    found = evaluate(unlike, data, batch_size=2, tta=tta)
    torch.testing.assert_close(torch.stack([s.prediction for s in found.samples]), mean_of(unlike, pictures, tta))
    assert (found.images, len(found.skipped)) == (5, 1)


def test_a_file_of_predictions_has_the_mean_of_checkpoints(unlike, pictures, tmp_path):
    pytest.importorskip("pyarrow")
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    checkpoints = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for network, checkpoint in zip(unlike, checkpoints, strict=True):
        network.save(checkpoint)
    written = predict_to_file(checkpoints, paths, tmp_path / "a.csv", tta="flip", batch_size=3)
    lines = written.out.read_text().splitlines()[1:]
    best = mean_of(unlike, pictures, "flip").max(1)
    assert [line.split(",")[1].strip('"') for line in lines] == [NAMES[i] for i in best.indices]
    found = torch.tensor([float(line.split(",")[2]) for line in lines])
    torch.testing.assert_close(found, best.values, rtol=1e-4, atol=1e-5)
    with pytest.raises(MaxViTError, match="was begun with tta flip, and now it is None"):
        predict_to_file(checkpoints, paths, tmp_path / "a.csv", batch_size=3)


def test_an_image_is_prepared_once_for_all_that_expect_the_same(pictures, monkeypatch):
    prepared, prepare = [], Classification.prepare
    monkeypatch.setattr(Classification, "prepare", lambda *given: prepared.append(1) or prepare(*given))
    Predictor([classifier(0), classifier(1), classifier(2, (45, 37))])(pictures[:2])
    assert len(prepared) == 4


def test_each_of_several_sizes_is_predicted_by_all(pictures):
    data = LabelledImages(pictures, [0, 1, 2, 3, 4], NAMES, list("abcde"))
    networks = [classifier(0), classifier(1, (45, 37))]
    sizes = [(64, 64), (53, 37)]
    found = evaluate_sizes(dict.fromkeys(sizes, networks), data)
    assert list(found) == ["64 x 64", "53 x 37", "together"]
    for result, size in zip(found.values(), sizes, strict=False):
        apart = [evaluate(network, data, size=size).samples for network in networks]
        wanted = [(a.prediction + b.prediction) / 2 for a, b in zip(*apart, strict=True)]
        torch.testing.assert_close([sample.prediction for sample in result.samples], wanted)


def test_checkpoints_of_other_sizes_are_opened_at_their_own_or_at_one_that_is_given(tmp_path, pictures):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    classifier(0).save(paths[0])
    classifier(1, (45, 37)).save(paths[1])
    opened = open_sizes_together(paths)
    assert {size: len(engines) for size, engines in opened.items()} == {None: 2}
    data = LabelledImages(pictures, [0, 1, 2, 3, 4], NAMES, list("abcde"))
    (name, found), *_ = evaluate_sizes(opened, data).items()
    assert name == "each its own"
    assert [s.prediction.tolist() for s in found.samples] == values(Predictor(paths)(pictures)).tolist()
    assert list(open_sizes_together(paths[:1])) == [(64, 64)]
    assert list(open_sizes_together(paths, [(53, 37)])) == [(53, 37)]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (NAMES[:4], r"network 2 has 4 classes \(no number 5\), and the first 5 classes \(number 5 is elk\)"),
        (["bee", "ant", *NAMES[2:]], r"network 2 has 5 classes \(number 1 is bee\), and the first 5 classes \(number"),
    ],
)
def test_other_classes_or_another_order_are_refused(names, said):
    with pytest.raises(MaxViTError, match=said):
        Predictor([classifier(), classifier(names=names)])


def test_other_tasks_and_other_kinds_of_outputs_are_refused():
    several = classifier()
    several.config = several.config.for_classes(5, True)
    with pytest.raises(MaxViTError, match="network 2 is for classification of several labels, and the first for class"):
        Predictor([classifier(), several])
    with pytest.raises(MaxViTError, match="network 3 is for aesthetics, and the first for classification"):
        Predictor([classifier(), classifier(), network_of("aesthetics")])


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_mean_or_refuses_before_any_image_is_read(name):
    networks = [network_of(name), network_of(name)]
    if name in ("classification", "aesthetics", "regression"):
        picture = np.zeros((64, 64, 3), np.uint8)
        torch.testing.assert_close(Predictor(networks)(picture)[0].value, Predictor(networks[0])(picture)[0].value)
    else:
        with pytest.raises(MaxViTError, match="has no mean of predictions of several networks: give one"):
            Predictor(networks)


@pytest.mark.parametrize("name", ["detection", "examples.counting_task"])
def test_a_task_without_a_mean_for_mirror_images_refuses_it_before_any_image_is_read(name):
    with pytest.raises(MaxViTError, match="has no mean of predictions for an image and its mirror image: use tta none"):
        Predictor(network_of(name), tta="flip")


def test_embeddings_are_of_one_network_and_of_the_image_itself(pictures):
    engine = TorchEngine(classifier())
    alone, mirrored = Ensemble([engine]), Ensemble([engine], tta="flip")
    images = [torch.randn(3, 3, 64, 64)]
    predictions, embeddings = mirrored.predict_and_embed(images, [(64, 64)] * 3)
    torch.testing.assert_close(predictions, mirrored.predict(images, [(64, 64)] * 3))
    torch.testing.assert_close(embeddings, alone.predict_and_embed(images, [(64, 64)] * 3)[1])
    with pytest.raises(MaxViTError, match="embeddings and explanations are of one network, and 2 predict together"):
        Ensemble([engine, engine]).predict_and_embed(images, [(64, 64)] * 3)


def test_a_threshold_in_which_they_differ_is_told(capsys):
    networks = [classifier(), classifier()]
    for network, threshold in zip(networks, (0.31, 0.42), strict=True):
        network.config = dataclasses.replace(network.config.for_classes(5, True), threshold=threshold)
    assert Predictor(networks).task.settings.threshold == 0.31
    said = "task.threshold of the networks is 0.31, 0.42, and that of the first counts: --set threshold=... to choose\n"
    assert capsys.readouterr().err == said
    Predictor(networks, settings={"threshold": 0.5})
    assert capsys.readouterr().err == ""


def test_without_a_network_nothing_can_be_predicted():
    with pytest.raises(MaxViTError, match="there is no network to predict with"):
        Predictor([])
