"""Images that are none of the classes: what the score is, what it is fitted to, and where it goes."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

from maxvit import ExportOptions, MaxViT, MaxViTConfig, MaxViTError, Predictor, export_model, load_model, optimize
from maxvit.config import Preprocessing
from maxvit.conversion import convert
from maxvit.data.dataset import LabelledImages
from maxvit.inference.engines import TorchEngine, open_engine, predict_and_embed
from maxvit.layers.novelty import Novelty, pooled_maps
from maxvit.tasks import load, make_task, task_for
from maxvit.tasks.classification.novelty import fit_gaussians, fit_novelty
from maxvit.tasks.classification.predictions import judged, novelty_of

NAMES = ["blue", "green", "red"]
COLOURS = ((40, 60, 200), (40, 180, 60), (200, 50, 40))
CONFIG = MaxViTConfig(
    stem_channels=8, channels=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_dim=8, window_size=(2, 2), grid_size=(2, 2),
    num_classes=3, image_size=(32, 41),
)  # fmt: skip


def pictures(per_class, seed, colours=COLOURS):
    random = np.random.default_rng(seed)
    shape = (per_class, 37, 43, 3)
    return [p for c in colours for p in np.clip(c + random.integers(-40, 41, shape), 0, 255).astype(np.uint8)]


def labelled(per_class, seed):
    sources = pictures(per_class, seed)
    labels = [c for c in range(3) for _ in range(per_class)]
    return LabelledImages(sources, labels, NAMES, [str(i) for i in range(len(sources))])


def plain(multi_label=False):
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, multi_label=multi_label)
    return MaxViT(config, Preprocessing(image_size=(32, 41)), NAMES).eval()


@pytest.fixture(scope="module")
def fitted():
    network = plain()
    said = fit_novelty(network, task_for(network), labelled(20, 0), labelled(33, 1))
    assert said.endswith("from 60 training images; of images like the 99 of validation, 5% are called so")
    return network


def test_images_that_have_vanished_are_told(tmp_path):
    network = plain()
    gone = dataclasses.replace(labelled(20, 0), sources=[tmp_path / f"{i}.png" for i in range(60)])
    with pytest.raises(MaxViTError, match="none of 60 images can be read any more, the first is 0: restore them"):
        fit_novelty(network, task_for(network), gone, labelled(33, 1))


def novelties(source, images, **options):
    return np.array([novelty_of(one.value) for one in Predictor(source, **options)(images)])


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 20_000)
    shape = random.normal(size=(5, 5)) * [1, 1, 1, 1, 100]  # one feature is much larger than the others
    features = (random.normal(size=(20_000, 5)) + 4 * labels[:, None]) @ shape
    mean, whitening, centres = fit_gaussians(features, labels, 3)
    means = np.stack([features[labels == c].mean(0) for c in range(3)])
    rest = features - means[labels]
    inverse = np.linalg.inv(rest.T @ rest / 20_000)
    others = features[:7] + random.normal(size=(7, 5)) * 50
    wanted = [min(((x - m) @ inverse @ (x - m)) ** 0.5 for m in means) for x in others]
    module = Novelty(5, 3)
    module.mean, module.whitening, module.centres = (torch.tensor(t).float() for t in (mean, whitening, centres))
    torch.testing.assert_close(module(torch.tensor(others).float()), torch.tensor(wanted).float(), rtol=0.03, atol=0)


def test_the_covariance_is_shrunk_as_scikit_learn_does():
    covariance = pytest.importorskip("sklearn.covariance")
    features = np.random.default_rng(0).normal(size=(30, 20)) @ np.diag(np.linspace(1, 3, 20))
    _, whitening, _ = fit_gaussians(features, None, 1)
    scaled = (features - features.mean(0)) / features.std(0)
    wanted = covariance.ledoit_wolf(scaled, assume_centered=True)[0] * np.outer(features.std(0), features.std(0))
    np.testing.assert_allclose(whitening @ whitening.T, np.linalg.inv(wanted), rtol=1e-6)


def test_fewer_images_than_features_and_features_that_never_change_give_finite_numbers():
    features = np.random.default_rng(0).normal(size=(4, 9))
    features[:, 3] = 2
    for found in fit_gaussians(features, np.array([0, 0, 2, 2]), 3):
        assert np.isfinite(found).all()


def test_one_in_twenty_of_the_validation_images_is_refused(fitted):
    found = novelties(fitted, pictures(33, 1))
    assert (found > 1 + 1e-5).sum() == 4  # of 99: the limit is the 95th distance of 100 places
    assert (found <= 1 - 1e-5).sum() == 94


def test_other_colours_are_refused(fitted):
    assert (novelties(fitted, pictures(9, 2, [(240, 240, 240), (150, 150, 10)])) > 1).all()


def test_logits_are_those_without_a_score(fitted):
    images = torch.randn(2, 3, 32, 41)
    with torch.inference_mode():
        logits, novelty = fitted.forward_novelty(images)
        torch.testing.assert_close(logits, plain()(images))
        torch.testing.assert_close(fitted(images), logits)
        wanted = fitted.novelty(torch.cat([m.mean((2, 3)) for m in fitted.forward_pyramid(images)], 1))
        assert torch.equal(novelty, wanted)


def test_it_is_said_in_a_line_plain_values_and_a_row(fitted):
    task = task_for(fitted)
    (prediction,) = judged(torch.tensor([[0.1, 0.2, 0.7]]), torch.tensor([1.834]))
    line = "red 70.0%, green 20.0%, blue 10.0%"
    assert task.summary(prediction, NAMES) == f"none of these (novelty 1.83, above 1): {line}"
    said = task.to_json(prediction, NAMES)
    assert (said["none_of_these"], round(said["novelty"], 3)) == (True, 1.834)
    assert next(iter(task.row(prediction, NAMES).items())) == ("none_of_these", 1)
    (prediction,) = judged(torch.tensor([[0.1, 0.2, 0.7]]), torch.tensor([0.5]))
    assert task.summary(prediction, NAMES) == line
    row = task.evaluated_row(prediction, torch.tensor(2), NAMES)
    assert (row["none_of_these"], row["novelty"], row["correct"]) == (0, 0.5, 1)


def test_the_mean_of_several_sizes_has_the_mean_novelty(fitted):
    several = judged(torch.tensor([[0.2, 0.8, 0.0], [0.4, 0.4, 0.2]]), torch.tensor([0.5, 2.0]))
    mean = task_for(fitted).mean(several)
    torch.testing.assert_close(mean + 0, torch.tensor([0.3, 0.6, 0.1]))
    assert novelty_of(mean) == 1.25


def test_the_mirror_image_changes_probabilities_and_not_novelty(fitted):
    task, images = task_for(fitted), torch.randn(2, 3, 32, 41)
    engine = TorchEngine(fitted)
    plain, mirrored = (task.predict(network, images, [(32, 41)] * 2) for network in (engine, task.with_mirror(engine)))
    assert [novelty_of(one) for one in plain] == [novelty_of(one) for one in mirrored]
    assert not torch.equal(plain[0], mirrored[0])


def test_a_prediction_is_a_tensor_that_can_be_copied_and_computed_with():
    (one,) = judged(torch.tensor([[0.25, 0.75]]), torch.tensor([2.0]))
    assert novelty_of(copy.deepcopy(one)) == novelty_of(pickle.loads(pickle.dumps(one))) == 2
    assert type(one + 1) is torch.Tensor
    assert torch.equal(torch.stack([one, one]), torch.tensor([[0.25, 0.75]] * 2))
    assert novelty_of(torch.tensor([0.25, 0.75])) is None


def test_a_file_keeps_it_whatever_reads_it(fitted, tmp_path):
    fitted.save(tmp_path / "a.safetensors")
    torch.save(fitted.state_dict(), tmp_path / "plain.pth")
    images = pictures(2, 3)
    wanted = novelties(fitted, images)
    np.testing.assert_allclose(novelties(tmp_path / "a.safetensors", images), wanted, rtol=1e-3)
    np.testing.assert_allclose(novelties(optimize(fitted, backend="torch"), images), wanted, rtol=1e-3)
    again = load_model(tmp_path / "plain.pth")
    assert torch.equal(again.novelty.centres, fitted.novelty.centres)
    assert load(tmp_path / "a.safetensors").config.novelty_centres == 3


def test_converting_keeps_it_and_timm_s_files_are_said_to_lose_it(fitted, tmp_path):
    fitted.save(tmp_path / "a.safetensors")
    assert convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors").lost is None
    assert torch.equal(load_model(tmp_path / "b.safetensors").novelty.whitening, fitted.novelty.whitening)
    lost = convert(tmp_path / "a.safetensors", tmp_path / "timm.safetensors", to="timm").lost
    assert lost == "timm's files do not hold the score for images of none of the classes"
    assert load_model(tmp_path / "timm.safetensors").novelty is None


def test_embeddings_come_with_it(fitted):
    engine = TorchEngine(fitted)
    images = torch.randn(3, 3, 32, 41)
    predictions, embeddings = predict_and_embed(engine, images, [(32, 41)] * 3)
    assert embeddings.shape == (3, 16)
    wanted = fitted.novelty(pooled_maps(fitted.forward_pyramid(images))).tolist()
    assert [novelty_of(one) for one in predictions] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".onnx", {}),
        (".onnx", {"opset": 17, "from_pixels": True}),
        (".onnx", {"precision": "fp16"}),
        pytest.param(".pt2", {}, marks=pytest.mark.full),
    ],
)
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg")
def test_exported_files_give_it(fitted, tmp_path, ending, options):
    pytest.importorskip("onnxruntime")
    path = tmp_path / f"a{ending}"
    export_model(fitted, path, "torch" if ending == ".pt2" else "onnx", ExportOptions(**options))
    images = pictures(2, 3) + pictures(2, 4, [(240, 240, 240)])
    bound = 0.1 if options else 1e-3  # pixels are rounded, or maps; what is not new has about 1
    np.testing.assert_allclose(novelties(path, images), novelties(fitted, images), rtol=bound, atol=bound)


def test_a_file_in_8_bits_has_none(fitted, tmp_path):
    pytest.importorskip("onnxruntime")
    export_model(fitted, tmp_path / "a.onnx", "onnx", ExportOptions(precision="int8"), pictures(16, 5), agreement=0)
    engine = open_engine(tmp_path / "a.onnx")
    assert engine.config.novelty_centres == 0
    assert novelties(tmp_path / "a.onnx", pictures(1, 3)).tolist() == [None] * 3
    assert fitted.novelty is not None


def test_a_new_classifier_or_another_task_has_none(fitted):
    network = copy.deepcopy(fitted)
    network.reset_classifier(3, class_names=NAMES)
    assert (network.novelty, network.config.novelty_centres) == (None, 0)
    network = make_task({"name": "classification"}).make_network(copy.deepcopy(fitted), NAMES)
    assert (network.novelty, network.config.novelty_centres) == (None, 0)
    network = make_task({"name": "segmentation"}).make_network(copy.deepcopy(fitted), ["sky", "sea"])
    assert (network.backbone.novelty, network.config.novelty_centres) == (None, 0)


def test_with_several_labels_an_image_there_is_one_centre():
    network, parts = plain(multi_label=True), (labelled(20, 0), labelled(33, 1))
    train, val = (dataclasses.replace(part, labels=np.eye(3, dtype=bool)[part.labels]) for part in parts)
    fit_novelty(network, task_for(network), train, val)
    assert network.config.novelty_centres == 1
    assert 10 * novelties(network, pictures(2, 3)).max() < novelties(network, pictures(2, 4, [(240, 240, 240)])).min()


@pytest.mark.parametrize(
    ("train", "val", "there"),
    [
        (20, 6, "19 validation images: there are 18"),
        (1, 33, "more training images than classes: there are 3 of 3"),
    ],
)
def test_too_few_images_leave_a_network_as_it_was(train, val, there):
    network = plain()
    said = fit_novelty(network, task_for(network), labelled(train, 0), labelled(val, 1))
    assert said == f"predictions cannot say 'none of these', which takes {there}"
    assert network.novelty is None


def test_what_is_no_number_of_centres_is_refused():
    with pytest.raises(MaxViTError, match="novelty_centres is -1; it takes a whole number, 0 for no score for novelty"):
        dataclasses.replace(CONFIG, novelty_centres=-1)
