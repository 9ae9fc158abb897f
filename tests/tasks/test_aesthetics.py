import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit import create_model
from maxvit.config import Preprocessing
from maxvit.errors import MaxViTError
from maxvit.tasks import load, make_task
from maxvit.tasks.aesthetics import AestheticsMetric
from maxvit.tasks.aesthetics.loss import earth_movers_distance
from maxvit.training.recipe import load_recipe

SCORES = [str(i) for i in range(1, 11)]


def shares(*counts):
    return torch.tensor([c / sum(counts) for c in counts])


def some_shares(number):
    return (2 * torch.randn(number, 10)).softmax(1)


def micro(**settings):
    task = make_task({"name": "aesthetics", **settings})
    backbone = create_model("maxvit_micro", num_classes=3, image_size=64)
    return task, task.make_network(backbone, SCORES)


# the loss


def slow_distance(p, q, r):
    """NIMA's equation 1, a sum at a time."""
    n = len(p)
    return (sum(abs(sum(p[: k + 1]) - sum(q[: k + 1])) ** r for k in range(n)) / n) ** (1 / r)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.5])
def test_the_distance_is_the_definition(exponent):
    answers, targets = some_shares(7), some_shares(7)
    slow = [slow_distance(p, q, exponent) for p, q in zip(answers.tolist(), targets.tolist(), strict=True)]
    torch.testing.assert_close(earth_movers_distance(answers, targets, exponent), torch.tensor(slow))


def test_the_distance_from_first_to_last_score_is_that_of_hand():
    first, last = shares(1, *[0] * 9)[None], shares(*[0] * 9, 1)[None]
    assert earth_movers_distance(first, last, 2).item() == pytest.approx(math.sqrt(0.9))
    assert earth_movers_distance(first, last, 1).item() == pytest.approx(0.9)


def test_the_distance_grows_with_how_far_a_vote_is_moved():
    eye = torch.eye(10)
    far = [earth_movers_distance(eye[2:3], eye[k : k + 1], 2.0).item() for k in range(2, 10)]
    assert far == sorted(far)
    assert far == pytest.approx(
        [math.sqrt(k / 10) for k in range(8)]
    )  # without cumulative sums all but the first agree


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.5])
def test_the_gradient_is_that_of_finite_differences_and_finite_where_nothing_is_wrong(exponent):
    logits = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    targets = some_shares(3).double()
    assert torch.autograd.gradcheck(lambda x: earth_movers_distance(x.softmax(1), targets, exponent), logits)
    (gradient,) = torch.autograd.grad(
        earth_movers_distance(logits.softmax(1), logits.softmax(1).detach(), exponent).sum(), logits
    )
    assert gradient.isfinite().all()


def test_shares_of_16_bits_are_summed_in_32():
    answers, targets = some_shares(5).bfloat16(), some_shares(5).bfloat16()
    found = earth_movers_distance(answers, targets, 2)
    torch.testing.assert_close(found, earth_movers_distance(answers.float(), targets.float(), 2))


# the head


def test_the_head_keeps_the_weights_of_the_backbone_s_and_trains_all_of_them():
    task, backbone = make_task({"name": "aesthetics"}), create_model("maxvit_micro", num_classes=3, image_size=64)
    norm, dense = backbone.head.norm.weight.clone().uniform_(), backbone.head.dense.weight.detach().clone()
    backbone.head.norm.weight.data.copy_(norm)
    network = task.make_network(backbone, SCORES).train()
    state = network.state_dict()
    assert torch.equal(state["head.features.norm.weight"], norm)
    assert torch.equal(state["head.features.dense.weight"], dense)
    assert sorted(name for name in state if name.startswith("backbone.head")) == []
    targets = task.collate([shares(*range(1, 11)), shares(*range(10, 0, -1)), shares(*[1] * 10)])
    task.losses(network, torch.randn(3, 3, 64, 96), targets)["loss"].backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert still == []


def test_logits_are_the_layers_one_after_another():
    _, network = micro(dropout=0.0)
    images = torch.randn(2, 3, 96, 64)
    network.eval()
    head = network.head
    pooled = network.backbone.forward_features(images).mean((2, 3))
    centred = pooled - pooled.mean(1, keepdim=True)
    normed = centred / (centred.pow(2).mean(1, keepdim=True) + head.features.norm.eps).sqrt()
    slow = torch.tanh(normed @ head.features.dense.weight.T) @ head.scores.weight.T  # fresh: biases 0, norm weights 1
    torch.testing.assert_close(network(images), slow)


def test_dropout_is_for_training_and_as_strong_as_set():
    images = torch.randn(2, 3, 64, 64)
    for dropout, same in ((0.0, True), (0.9, False)):
        _, network = micro(dropout=dropout)
        network.eval()
        first, second = network(images), network(images)
        assert torch.equal(first, second)
        network.head.train()
        assert torch.equal(network(images), first) == same
    with pytest.raises(MaxViTError, match=r"task.dropout is 1"):
        micro(dropout=1)


def test_a_checkpoint_gives_the_same_answers_and_keeps_its_settings(tmp_path):
    task, network = micro(dropout=0.3, exponent=1.0, flip=False)
    network.eval().save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network(images), again(images))
    assert again.settings == task.settings
    assert again.class_names == SCORES


def test_answers_are_shares_and_the_exported_module_gives_them():
    task, network = micro()
    network.eval()
    images = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        answers, exported = task.predict(network, images, [(70, 90)] * 3), task.export_spec(network).module(images)
    torch.testing.assert_close(torch.stack(answers), exported)
    torch.testing.assert_close(exported, network(images).exp() / network(images).exp().sum(1, keepdim=True))


def test_validation_judges_by_the_loss_of_training_without_dropout():
    task, network = micro(exponent=1.0)
    network.eval()
    images, targets = torch.randn(3, 3, 64, 64), list(some_shares(3))
    with torch.no_grad():
        scores, answers = task.evaluate(network, images, [(64, 64)] * 3, targets)
    slow = [slow_distance(a.tolist(), t.tolist(), 1.0) for a, t in zip(answers, targets, strict=True)]
    assert scores["loss"].item() == pytest.approx(sum(slow) / 3, abs=1e-6)


def test_the_loss_falls():
    task, network = micro(dropout=0.0)
    images = 0.3 * torch.randn(6, 3, 64, 64) + torch.tensor([1.0, -1.0] * 3)[:, None, None, None]
    targets = task.collate([shares(*([20, 5, 1] + [0] * 7)[:: 1 if i % 2 else -1]) for i in range(6)])
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = task.losses(network.train(), images, targets)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


# the metric


def slow_correlation(x, y):
    mx, my = sum(x) / len(x), sum(y) / len(y)
    both = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return both / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def slow_ranks(x):
    return [sum(b < a for b in x) + (sum(b == a for b in x) + 1) / 2 for a in x]


def slow_moments(p):
    mean = sum(i * s for i, s in enumerate(p, 1))
    return mean, math.sqrt(sum(s * (i - mean) ** 2 for i, s in enumerate(p, 1)))


def test_figures_are_those_of_definitions():
    answers, targets = list(some_shares(13)), list(some_shares(13))
    targets[3] = targets[8]  # a tie
    metric = AestheticsMetric()
    metric.add(answers, targets)
    (am, ad), (tm, td) = (
        zip(*(slow_moments(p.double().tolist()) for p in many), strict=True) for many in (answers, targets)
    )
    wanted = {
        "srcc": slow_correlation(slow_ranks(am), slow_ranks(tm)),
        "plcc": slow_correlation(am, tm),
        "srcc_deviation": slow_correlation(slow_ranks(ad), slow_ranks(td)),
        "plcc_deviation": slow_correlation(ad, td),
        "emd": sum(slow_distance(a.tolist(), t.tolist(), 1) for a, t in zip(answers, targets, strict=True)) / 13,
        "accuracy": sum((a > 5) == (t > 5) for a, t in zip(am, tm, strict=True)) / 13,
    }
    assert metric.compute() == pytest.approx(wanted, abs=1e-6)
    assert 0 < wanted["accuracy"] < 1
    assert metric.rows() == []


def test_good_is_a_mean_above_5_and_5_is_not():
    five, above, below = shares(0, 0, 0, 1, 0, 1), shares(0, 0, 0, 0, 1, 1), shares(0, 0, 0, 1, 1)
    five = torch.cat([five, torch.zeros(4)])
    above, below = (torch.cat([v, torch.zeros(10 - len(v))]) for v in (above, below))
    metric = AestheticsMetric()
    metric.add([five, above, below, five], [above, above, five, below])
    assert metric.compute()["accuracy"] == 0.75
    rounded = [shares(*counts, 0) for counts in ([1] * 9, [0, 3, 0, 7, 4, 7, 0, 3, 0], [1, 0, 2, 3, 3, 3, 2, 0, 1])]
    metric = AestheticsMetric()  # all 5, but for the rounding of shares, which goes both ways
    metric.add([below] * 3, rounded)
    assert metric.compute()["accuracy"] == 1


def test_figures_do_not_depend_on_how_images_were_divided():
    answers, targets = list(some_shares(11)), list(some_shares(11))
    whole, first, second = AestheticsMetric(), AestheticsMetric(), AestheticsMetric()
    whole.add(answers, targets)
    first.add(answers[:4], targets[:4])
    second.add(answers[4:], targets[4:])
    first.merge(pickle.loads(pickle.dumps(second.state())))
    assert first.compute() == whole.compute()


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_correlation_with_a_constant_is_nan_and_no_warning(number):
    metric = AestheticsMetric()
    metric.add([shares(*range(1, 11))] * number, list(some_shares(number)))
    found = metric.compute()
    assert all(math.isnan(found[name]) for name in ("srcc", "plcc", "srcc_deviation", "plcc_deviation"))
    assert math.isnan(found["emd"]) == (number == 0)


def test_answers_that_are_nan_give_nan():
    metric = AestheticsMetric()
    metric.add([torch.full((10,), math.nan), *some_shares(3)], list(some_shares(4)))
    assert math.isnan(metric.compute()["srcc"])


# what training does to an image


def ramp(height, width):
    """Red grows by column, green by row."""
    ys, xs = np.mgrid[:height, :width]
    return np.stack([xs * 255 / (width - 1), ys * 255 / (height - 1), 0 * xs], 2).round().astype(np.uint8)


def spec_of(size, fit):
    return Preprocessing(image_size=size, fit=fit, crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def seen(task, spec, image):
    """The share of the image's columns and rows that a training image shows, and whether it is mirrored."""
    pixels, truth = task.augment(spec, image, np.full(10, 0.1, np.float32))
    assert pixels.shape == (3, *spec.image_size)
    assert truth.sum() == pytest.approx(1)
    across = (pixels[0, :, -1] - pixels[0, :, 0]).mean().item()
    return abs(across), (pixels[1, -1] - pixels[1, 0]).mean().item(), across < 0


@pytest.mark.parametrize("fit", ["aspect", "squash"])
def test_a_training_image_shows_as_large_a_piece_as_set_undistorted_unless_squeezed(fit):
    size, (height, width) = (96, 64), (180, 300)
    low, high = 0.5, 0.9
    task = make_task({"name": "aesthetics", "crop_area": (low, high)})
    pieces = [seen(task, spec_of(size, fit), ramp(height, width)) for _ in range(60)]
    h, w = (height, width) if fit == "squash" else (180, 120)  # the largest piece of the shape 96 x 64
    areas = [(x * width) * (y * height) / (h * w) for x, y, _ in pieces]
    assert low * 0.93 < min(areas) < 0.6
    assert 0.8 < max(areas) < high * 1.03
    for x, y, _ in pieces:
        assert (x * width) / (y * height) == pytest.approx(w / h, rel=0.03)
    assert 10 < sum(mirrored for *_, mirrored in pieces) < 50


def test_without_flip_and_cropping_the_piece_is_what_evaluation_sees():
    task = make_task({"name": "aesthetics", "crop_area": (1.0, 1.0), "flip": False})
    for spec in (spec_of((64, 96), "aspect"), spec_of((96, 64), "squash")):
        image = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
        pixels, _ = task.augment(spec, image, np.full(10, 0.1))
        torch.testing.assert_close(pixels, task.prepare(spec, image), atol=1e-5, rtol=0)


def test_the_crop_area_is_a_range_of_shares():
    with pytest.raises(MaxViTError, match="crop_area"):
        make_task({"name": "aesthetics", "crop_area": (0.9, 0.8)})


# pictures, sentences, files


def test_a_picture_has_the_size_of_the_image_and_shows_where_most_votes_are():
    task, image = make_task({"name": "aesthetics"}), Image.new("RGB", (211, 150), (30, 60, 90))
    low, high = (task.draw_prediction(image, shares(*c), SCORES) for c in ([9, 1] + [0] * 8, [0] * 8 + [1, 9]))
    assert low.size == high.size == image.size
    bars = [np.nonzero((np.asarray(p) == (255, 200, 60)).all(2).any(0))[0].mean() for p in (low, high)]
    assert bars[0] < 25 < 40 < bars[1] < 68
    assert (np.asarray(low)[:, 100:] == np.asarray(image)[:, 100:]).all()
    truth = task.draw_target(image, shares(*[9, 1] + [0] * 8), SCORES)
    assert truth.tobytes() == low.tobytes()


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (33, 20), (2500, 1700)])
def test_a_picture_of_any_size_can_be_drawn(size):
    task, image = make_task({"name": "aesthetics"}), Image.new("RGB", size, "white")
    for answer in (shares(*range(10, 0, -1)), torch.full((10,), math.nan)):
        assert task.draw_prediction(image, answer, SCORES).size == size


def test_the_answer_in_words_and_as_values():
    task, answer = make_task({"name": "aesthetics"}), shares(0, 0, 0, 1, 0, 3, 0, 0, 0, 0)  # 4, 6, 6, 6
    assert task.summary(answer, SCORES) == "5.5 ± 0.9 of 10"
    found = task.to_json(answer, SCORES)
    assert (found["mean"], found["deviation"]) == pytest.approx((5.5, math.sqrt(0.75)))
    assert (found["shares"]["6"], found["shares"]["1"]) == (0.75, 0)


def test_a_row_has_mean_deviation_and_each_share():
    row = make_task({"name": "aesthetics"}).row(shares(*[1] * 10), SCORES)
    assert list(row) == ["mean", "deviation", *SCORES]
    assert [row[name] for name in ("mean", "deviation", "7")] == pytest.approx([5.5, 2.87228, 0.1])


def test_the_mean_of_predictions_is_that_of_the_shares():
    task = make_task({"name": "aesthetics"})
    found = task.mean([shares(1, *[0] * 9), shares(*[0] * 9, 1)])
    torch.testing.assert_close(found, shares(1, *[0] * 8, 1))


def test_a_mirror_image_counts_as_much_as_the_image():
    task, network = micro()
    network.eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        both = task.predict(task.with_mirror(network), images, [(64, 96)] * 2)
        again = task.predict(task.with_mirror(network), images.flip(-1), [(64, 96)] * 2)
        alone = task.predict(network, images, [(64, 96)] * 2)
    torch.testing.assert_close(torch.stack(both), torch.stack(again))
    assert not torch.allclose(torch.stack(both), torch.stack(alone), atol=1e-6)


def test_a_task_can_be_sent_to_another_process():
    task, _ = micro(dropout=0.3)
    again = pickle.loads(pickle.dumps(task))
    assert again.settings == task.settings
    for pair in itertools.pairwise([task, again]):
        assert pair[0].name == pair[1].name


def test_the_recipe_of_ava_has_the_numbers_that_the_paper_prints():
    recipe = load_recipe("ava")
    assert recipe.task == {
        "name": "aesthetics",
        "dropout": 0.75,
        "exponent": 2.0,
        "crop_area": [0.8, 1.0],
        "flip": True,
    }
    assert (recipe.model.pretrained, recipe.model.drop_path_rate, recipe.data.val_fraction) == ("in1k-224", 0.5, 0.2)
    assert (recipe.data.fit, load_recipe("aesthetics").data.fit) == ("aspect", "aspect")
