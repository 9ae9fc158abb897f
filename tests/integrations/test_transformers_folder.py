"""A folder for transformers: its classes answer as ours do, and ours read it."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, Trainer, TrainingArguments, pipeline

from every_task import network_of
from healthy import fill
from maxvit import MaxViTError, Predictor, create_model, load_model, preprocess, save_transformers
from maxvit.integrations.transformers import CODE, MaxViTWrapperConfig, MaxViTWrapperForImageClassification
from maxvit.layers.novelty import Novelty

NAMES = ["large cat", "dog", "Igel"]


def classifier(**changes):
    """A network of three classes with weights that all matter, and with all parts that a trained one may have."""
    model = create_model("maxvit_micro", depths=(1, 1, 1, 1))
    model.reset_classifier(len(NAMES), class_names=NAMES, inner_fields=2)
    model.set_novelty(Novelty(sum(model.config.channels), len(NAMES)))
    model.config = replace(model.config, **changes)
    return fill(model).eval()


@pytest.fixture(scope="module")
def model():
    return classifier(temperature=1.7)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers")
    save_transformers(model, folder)
    return folder


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 47, 3), dtype=np.uint8))


@torch.inference_mode()
def test_logits_are_ours_at_the_temperature_bit_for_bit(model, folder):
    theirs, images = AutoModelForImageClassification.from_pretrained(folder), torch.randn(2, 3, 37, 50)
    assert not theirs.training
    assert torch.equal(theirs(images).logits, model(images) / 1.7)
    assert torch.equal(theirs(images, return_dict=False)[0], theirs(images).logits)
    assert theirs.config.id2label == dict(enumerate(NAMES))
    assert theirs.config.label2id == {name: i for i, name in enumerate(NAMES)}


def test_images_are_prepared_as_ours_bit_for_bit(model, folder, image, tmp_path):
    prepare = AutoImageProcessor.from_pretrained(folder)
    image.save(tmp_path / "a.png")
    pixels, expected = np.asarray(image), preprocess(model, image)
    for given in (image, str(tmp_path / "a.png"), pixels, torch.from_numpy(pixels.copy()).permute(2, 0, 1)):
        assert torch.equal(prepare(given)["pixel_values"], expected)
    batch = prepare([image, pixels[::2]], return_tensors="np")["pixel_values"]
    assert np.array_equal(batch, torch.cat([expected, preprocess(model, pixels[::2])]).numpy())


@pytest.mark.parametrize("change", [{"multi_label": True}, {"temperature": 0.6}], ids=str)
def test_pipeline_gives_the_classes_and_probabilities_of_the_predictor(change, tmp_path, image):
    model = classifier(**change)
    save_transformers(model, tmp_path)
    found = pipeline("image-classification", str(tmp_path))(image)
    ours = Predictor(model)(image)[0]
    scores = dict(zip(NAMES, ours.value.tolist(), strict=True))
    assert [one["label"] for one in found] == sorted(scores, key=scores.get, reverse=True)
    for one in found:  # transformers computes them in NumPy
        assert one["score"] == pytest.approx(scores[one["label"]], rel=1e-5)


def test_folder_is_read_by_ours_as_the_same_network(model, folder):
    back = load_model(folder)
    assert back.metadata() == {**model.metadata(), "provenance": back.provenance}
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.full
def test_trainer_trains_resumes_and_what_it_saves_is_ours(folder, tmp_path):
    prepare = AutoImageProcessor.from_pretrained(folder)
    data = [{"pixel_values": torch.randn(3, 32, 32), "labels": i % 3} for i in range(8)]
    settings = {"save_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "use_cpu": True}

    def train(steps, resume):
        network = AutoModelForImageClassification.from_pretrained(folder)
        options = TrainingArguments(tmp_path, max_steps=steps, report_to="none", disable_tqdm=True, **settings)
        trainer = Trainer(network, options, train_dataset=data, processing_class=prepare)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    train(1, resume=False)
    trainer = train(2, resume=True)
    trainer.save_model(tmp_path / "done")
    before, after = load_model(folder), load_model(tmp_path / "done")
    assert after.class_names == NAMES
    assert not torch.equal(after.stem.conv1.weight, before.stem.conv1.weight)
    images = torch.randn(2, 3, 37, 50)
    with torch.inference_mode():
        assert torch.equal(trainer.model.eval()(images).logits, after(images) / 1.7)


def test_activation_checkpointing_is_the_networks_own(folder):
    network = AutoModelForImageClassification.from_pretrained(folder)
    network.activation_checkpointing_enable()
    assert all(stage.gradient_checkpointing for stage in network.network.stages)
    network.activation_checkpointing_disable()
    assert not any(stage.gradient_checkpointing for stage in network.network.stages)
    with pytest.raises(MaxViTError, match="every_n_layers is 2"):
        network.activation_checkpointing_enable(every_n_layers=2)


def test_other_classes_get_a_fresh_classifier_that_both_read(model, folder, tmp_path):
    network = AutoModelForImageClassification.from_pretrained(
        folder, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}, ignore_mismatched_sizes=True
    )
    network.save_pretrained(tmp_path)
    back = load_model(tmp_path)
    assert (back.class_names, back.num_classes, back.config.temperature) == (["no", "yes"], 2, 1)
    assert torch.equal(back.stem.conv1.weight, model.stem.conv1.weight)
    assert 0.01 < back.head.classifier.weight.std() < 0.03
    numbered = AutoModelForImageClassification.from_pretrained(folder, num_labels=7, ignore_mismatched_sizes=True)
    numbered.save_pretrained(tmp_path)
    assert load_model(tmp_path).class_names is None


def test_loss_is_that_of_the_problem():
    images = torch.randn(2, 3, 32, 32)
    for model, labels in (
        (classifier(), torch.tensor([2, 0])),
        (classifier(multi_label=True), torch.tensor([[1.0, 0, 1], [0, 0, 1]])),
    ):
        wrapper = MaxViTWrapperForImageClassification(MaxViTWrapperConfig.of(model))
        wrapper.load_state_dict(model.state_dict())
        logits = model(images)
        named = torch.nn.functional
        ours = named.cross_entropy if labels.ndim == 1 else named.binary_cross_entropy_with_logits
        loss = wrapper.eval()(images, labels).loss
        torch.testing.assert_close(loss, ours(logits, labels))
        loss.backward()
        assert all(p.grad is not None for p in wrapper.parameters())


def test_folder_leads_to_the_package_without_importing_it_first(folder):
    """`trust_remote_code=True` runs this file, and it needs the package alone."""
    assert (folder / f"{CODE}.py").read_text().startswith("from maxvit.integrations.transformers import ")


@pytest.mark.full
def test_trust_remote_code_loads_the_folder_in_a_process_that_knows_nothing(folder):
    call = f"pipeline('image-classification', {str(folder)!r}, trust_remote_code=True)"
    code = f"from transformers import pipeline; print(type({call}.model).__name__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "MaxViTWrapperForImageClassification", said.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_classes": 1}, "2 sides and 1 classes; transformers takes images, and two classes or more"),
        ({"num_classes": 0}, "2 sides and 0 classes"),
        ({"num_classes": 3, "dims": 1, "image_size": 64, "window_size": 3}, "1 sides and 3 classes"),
    ],
)
def test_what_is_no_classifier_of_images_is_refused(change, says, tmp_path):
    with pytest.raises(MaxViTError, match=says):
        save_transformers(create_model("maxvit_micro", **change), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_images_in_their_own_shapes_are_refused_as_a_batch(tmp_path, image):
    model = classifier()
    model.preprocessing = replace(model.preprocessing, fit="aspect")
    save_transformers(model, tmp_path)
    prepare = AutoImageProcessor.from_pretrained(tmp_path)
    wide = image.resize((200, 40))
    assert prepare(wide)["pixel_values"].shape[2:] == preprocess(model, wide).shape[2:]
    with pytest.raises(MaxViTError, match="in their own shapes, and here are 2: give them one by one"):
        prepare([image, wide])


def test_network_of_another_task_is_refused(tmp_path):
    with pytest.raises(MaxViTError, match="the network is for regression, and a classifier is wanted"):
        save_transformers(network_of("regression"), tmp_path)


def test_saving_without_transformers_says_what_it_needs(model, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "maxvit.integrations.transformers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MaxViTError, match=r"needs transformers, .*: pip install 'maxvit\[transformers\]'"):
        save_transformers(model, tmp_path)
