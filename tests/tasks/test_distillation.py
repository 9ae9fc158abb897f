"""What a classifier learns from a teacher: its answers, whatever its classes' order and its images' size."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from every_task import backbone, network_of
from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError
from maxvit.tasks import make_task
from maxvit.tasks.classification.distillation import Teacher, converted, distillation_loss
from maxvit.tasks.network import with_embeddings
from small import write_images

NAMES = ["ant", "bee", "cat"]
GREY = Preprocessing(image_size=(64, 96), mean=(0.4,), std=(0.2,))


def networks(names=NAMES, **changes):
    """A teacher of these classes, and a student of ant, bee and cat; changes are of the teacher's configuration."""
    teacher, student = backbone(names=names, seed=1), backbone(names=NAMES)
    teacher.config = dataclasses.replace(teacher.config, **changes)
    return teacher, student


def objective_of(teacher, student, **settings):
    task = make_task({"name": "classification", **settings})
    data = LabelledImages([], [0, 1, 2], NAMES, [])
    return task.distil(teacher, student)(task.objective(student, data))


def test_the_loss_of_one_class_is_the_divergence_of_softened_probabilities():
    logits, answers, temperature = torch.randn(5, 7), torch.randn(5, 7), 3.0
    p, q = (answers / temperature).softmax(1), (logits / temperature).softmax(1)
    wanted = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(distillation_loss(logits, answers, "softmax", temperature), wanted)


def test_the_loss_of_several_labels_is_the_cross_entropy_with_the_teachers_probabilities():
    logits, answers = torch.randn(5, 7), torch.randn(5, 7)
    p, q = answers.sigmoid(), logits.sigmoid()
    wanted = -(p * q.log() + (1 - p) * (1 - q).log()).sum(1).mean()
    torch.testing.assert_close(distillation_loss(logits, answers, "sigmoid", 3.0), wanted)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_weight_shares_the_loss_between_labels_and_teacher(loss):
    teacher, student = networks(multi_label=loss == "sigmoid")
    student.config = dataclasses.replace(student.config, multi_label=loss == "sigmoid")
    settings = {"loss": loss, "distillation_weight": 0.3, "distillation_temperature": 2.0}
    images, labels = torch.randn(3, 3, 64, 64), torch.tensor([0, 2, 1])
    objective = objective_of(teacher, student, **settings).eval()
    with torch.no_grad():
        logits, answers = student(images), teacher.eval()(images)
        plain = make_task({"name": "classification", **settings}).losses(student, images, labels)
        ordinary = objective.losses.of_logits(logits, labels)["loss"]
        wanted = 0.7 * ordinary + 0.3 * distillation_loss(logits, answers, loss, 2.0)
        found = objective(images, labels)
    torch.testing.assert_close(found["loss"], wanted)
    assert found["accuracy"] == plain["accuracy"]


def test_the_gradient_reaches_the_student_alone_and_the_teacher_stays_as_it_is():
    teacher, student = networks()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective = objective_of(teacher, student, distillation_weight=1.0).train()
    objective(torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 0]))["loss"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in student.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert not teacher.training


def test_the_teacher_is_no_part_of_what_is_saved_or_distributed():
    teacher, student = networks()
    names = {name.removeprefix("losses.network.") for name in objective_of(teacher, student).state_dict()}
    assert names == set(student.state_dict())


def test_classes_in_another_order_are_matched_by_name_and_the_teachers_temperature_counts():
    teacher, student = networks(["cat", "ant", "bee"], temperature=1.7)
    images = torch.randn(2, 3, 64, 64)
    found = Teacher(teacher, student)(images)
    torch.testing.assert_close(found, teacher(images)[:, [1, 2, 0]] / 1.7)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (["ant", "bee", "dog"], {}, r"only the teacher has dog \(1\); only the data has cat \(1\)"),
        (["ant", "bee"], {"num_classes": 2}, r"only the data has cat \(1\)"),
        (None, {}, "does not name its classes"),
        (NAMES, {"multi_label": True}, "trained with task.loss=sigmoid"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(names, changes, message):
    with pytest.raises(MaxViTError, match=message):
        objective_of(*networks(names, **changes))


def test_another_range_of_values_is_refused():
    teacher, student = networks()
    for network, value_range in ((teacher, (0, 4095)), (student, (0, 1000))):
        network.preprocessing = dataclasses.replace(network.preprocessing, value_range=value_range)
    with pytest.raises(MaxViTError, match=r"black and white are \(0, 4095\) for the teacher, and \(0, 1000\) here"):
        Teacher(teacher, student)


def test_a_teacher_of_another_task_is_refused():
    with pytest.raises(MaxViTError, match="the teacher is for segmentation, and the task here is classification"):
        objective_of(network_of("segmentation"), networks()[1])


@pytest.mark.parametrize("name", ["segmentation", "detection", "aesthetics", "regression"])
def test_other_tasks_refuse_a_teacher(name):
    with pytest.raises(MaxViTError, match=f"{name} does not learn from a teacher"):
        make_task({"name": name}).distil(*networks())


def test_images_are_given_as_the_teacher_wants_them():
    seen = Preprocessing(image_size=(32, 48), mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1))
    pixels = torch.rand(2, 3, 32, 48)
    images = (pixels - torch.tensor(seen.mean)[:, None, None]) / torch.tensor(seen.std)[:, None, None]
    assert converted(images, seen, seen) is images
    large = F.interpolate(pixels, (64, 96), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(converted(images, seen, GREY), (large.mean(1, keepdim=True) - 0.4) / 0.2)


def test_grey_images_get_the_three_channels_of_a_teacher():
    images = torch.rand(2, 1, 64, 96)
    wanted = dataclasses.replace(GREY, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    pixels = images * 0.2 + 0.4
    torch.testing.assert_close(converted(images, GREY, wanted)[:, 2], pixels[:, 0] - 0.3)


def test_a_network_that_sees_no_labels_learns_the_teachers_answers(tmp_path):
    paths = sorted(write_images(tmp_path / "colours", 4).glob("*/*.png"))
    teacher, student = networks()
    images, classes = torch.stack([preprocess(student.preprocessing, path) for path in paths]), torch.arange(12) // 4
    with torch.no_grad():
        embeddings, wanted = with_embeddings(teacher.eval(), images)[1], 8.0 * F.one_hot(classes)
        teacher.head.classifier.bias.zero_()
        teacher.head.classifier.weight.copy_(torch.linalg.lstsq(embeddings, wanted, driver="gelsd").solution.T)
    objective = objective_of(teacher, student, distillation_weight=1.0).train()
    optimizer = torch.optim.AdamW(student.parameters(), 3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        objective(images, (classes + 1) % 3)["loss"].backward()  # labels that are wrong
        optimizer.step()
    assert torch.equal(student(images).argmax(1), classes)
