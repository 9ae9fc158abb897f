"""Masked pre-training: nothing of what is hidden is seen, a step hides the same again, and what is read."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from every_task import network_of
from maxvit import accelerate, create_model
from maxvit.cli import main
from maxvit.config import Preprocessing
from maxvit.data.columns import ListColumns
from maxvit.data.dataset import LabelledImages
from maxvit.data.folder import load_folder
from maxvit.data.loading import training_batches
from maxvit.data.shards.write import write_shards
from maxvit.errors import MaxViTError
from maxvit.inference.engines import TorchEngine, predict_and_embed
from maxvit.inference.evaluate import evaluate
from maxvit.tasks import load, make_task
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.masked.data import read_unlabelled
from maxvit.tasks.masked.metric import MaskedMetric
from maxvit.tasks.masked.predictions import paintings
from maxvit.tasks.masked.units import drawn_cells, enlarged, fixed_cells, unit_for
from maxvit.training.learner import Learner
from maxvit.training.recipe import load_recipe
from maxvit.training.run import resume, train
from small import write_images

SIZE = (45, 67)  # nothing divides it


def masked(unit=8, **settings):
    torch.manual_seed(0)
    return make_task({"name": "masked", "mask_unit": unit, **settings}), network_of("masked", {"mask_unit": unit})


def a_step(unit=8):
    images, cells = torch.randn(2, 3, *SIZE), torch.stack([drawn_cells(SIZE, unit, 0.6) for _ in range(2)])
    return images, cells, enlarged(cells, 4, SIZE)


# what is hidden


@pytest.mark.parametrize("unit", [4, 8, 16, 32])
@pytest.mark.parametrize("training", [True, False])
def test_no_value_of_a_hidden_pixel_reaches_anything(unit, training):
    """Neither through the stem's and MBConv's convolutions, nor through the statistics of batch norms."""
    images, cells, hidden = a_step(unit)
    (_, one), (_, other) = masked(unit), masked(unit)
    painted, where = one.train(training)(images, cells)
    changed = torch.where(hidden, 100 * torch.randn(images.shape), images)
    assert not torch.equal(changed, images)
    assert torch.equal(other.train(training)(changed, cells)[0], painted)
    assert torch.equal(where, hidden)
    for ours, theirs in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_visible_pixels_are_seen_also_across_the_border():
    images, cells, hidden = a_step()
    images.requires_grad_()
    masked()[1].eval()(images, cells)[0][hidden.expand(-1, 3, -1, -1)].sum().backward()
    seen = images.grad.abs().sum(1, keepdim=True)
    assert seen[hidden].max() == 0 < seen[~hidden].min()


@pytest.mark.parametrize("unit", [4, 32])
def test_the_token_stands_in_the_stem_s_map_where_pixels_are_hidden(unit):
    network = masked(unit)[1].eval()
    _, cells, hidden = a_step(unit)
    hidden_map = network.head.hide(cells, torch.zeros(2, 8, 23, 34))
    for i, j in [(0, 0), (22, 33), (7, 8), (8, 16), (15, 31)]:
        for b in range(2):
            wanted = network.head.mask_token if hidden[b, 0, 2 * i, 2 * j] else torch.zeros(8)
            assert torch.equal(hidden_map[b, :, i, j], wanted)


@pytest.mark.parametrize(("size", "unit", "ratio"), [((64, 96), 8, 0.6), (SIZE, 16, 0.3), ((32, 32), 32, 0.6)])
def test_as_many_units_are_hidden_as_the_ratio_says_and_never_all_or_none(size, unit, ratio):
    rows, columns = -(-size[0] // unit), -(-size[1] // unit)
    wanted = min(max(1, round(ratio * rows * columns)), rows * columns - 1)
    for cells in (drawn_cells(size, unit, ratio), fixed_cells(size, unit, ratio)):
        assert cells.shape == (-(-size[0] // 4), -(-size[1] // 4))
        units = {(i * 4 // unit, j * 4 // unit) for i, j in cells.nonzero().tolist()}
        assert len(units) == wanted
        assert units.isdisjoint({(i * 4 // unit, j * 4 // unit) for i, j in (~cells).nonzero().tolist()})


def test_evaluation_hides_the_same_on_every_machine():
    assert fixed_cells((16, 12), 4, 0.5).int().tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("size", "unit"), [((224, 224), 32), ((128, 300), 32), ((127, 300), 16), ((64, 64), 16), ((32, 32), 8)]
)
def test_a_unit_is_the_largest_of_which_the_shorter_side_has_four(size, unit):
    assert unit_for(size) == unit
    said = make_task({"name": "masked"}).says(Preprocessing(image_size=size))
    assert f"in squares of {unit} pixels" in said
    assert ("as images are below 128 pixels" in said) == (unit < 32)


def test_what_a_step_hides_is_a_function_of_seed_and_step():
    images = LabelledImages([np.zeros((40, 40, 3), np.uint8)] * 4, [0.0] * 4, [], list("abcd"))
    examples = TaskExamples(make_task({"name": "masked"}), images, Preprocessing(image_size=(32, 32)))

    def hidden(seed, epoch):
        batches = training_batches(examples, 2, 0, seed)
        batches.sampler.set_epoch(epoch)
        return torch.stack([batch.targets for batch in batches])

    assert torch.equal(hidden(1, 3), hidden(1, 3))
    assert not torch.equal(hidden(1, 3), hidden(1, 4))
    assert not torch.equal(hidden(1, 3), hidden(2, 3))


# what is learned


def test_the_loss_is_the_mean_absolute_error_of_hidden_pixels():
    task, network = masked()
    images, cells, hidden = a_step()
    with torch.no_grad():
        painted, _ = network.eval()(images, cells)
        loss = task.losses(network, images, cells)["loss"].item()
    errors = [(painted - images)[b, :, i, j].abs() for b, _, i, j in hidden.nonzero().tolist()]
    assert loss == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)


def test_every_weight_learns_and_the_fast_layers_compute_the_same():
    task = make_task({"name": "masked"})
    images, cells, _ = a_step(4)
    losses, gradients = [], []
    for fast in (False, True):
        torch.manual_seed(0)
        network = task.make_network(create_model("maxvit_micro", num_classes=0, drop_path_rate=0.0), []).train()
        called = network.with_backbone(accelerate(network.backbone)) if fast else network
        losses.append(task.losses(called, images, cells)["loss"])
        losses[-1].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))  # none is missing
    torch.testing.assert_close(*losses)
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[0].norm()


def test_16_bits_paint_in_32():
    with torch.autocast("cpu", torch.bfloat16):
        assert masked()[1].eval()(torch.randn(1, 3, 32, 32))[0].dtype == torch.float32


# what is said of it


def test_errors_are_in_levels_and_those_of_one_colour_stand_beside_them():
    spec = Preprocessing(mean=(0.5,) * 3, std=(0.5, 0.25, 0.25))
    images, hidden = torch.zeros(1, 3, 2, 2), torch.tensor([[[[True, False], [False, False]]]])
    images[0, :, 0, 0] = 1.0
    images[0, :, 1, 1] = 0.3  # the mean of what is visible is 0.1
    painted = torch.full((1, 3, 2, 2), 0.4)
    (found,) = paintings(spec, images, painted, hidden.float())
    assert found["error"] == pytest.approx(0.6 * 255 * (0.5 + 0.25 + 0.25) / 3)
    assert found["flat_error"] == pytest.approx(0.9 * 255 * (0.5 + 0.25 + 0.25) / 3)
    assert found["painted"][0, 0].tolist() == [round(255 * (0.4 * std + 0.5)) for std in spec.std]
    assert torch.equal(found["painted"][~found["hidden"]], found["image"][~found["hidden"]])


def test_a_metric_in_parts_is_that_of_the_whole():
    values = [{"error": float(e), "flat_error": float(f)} for e, f in np.random.default_rng(0).random((7, 2))]
    whole, parts = MaskedMetric(), [MaskedMetric(), MaskedMetric()]
    assert all(math.isnan(value) for value in whole.compute().values())
    whole.add(values, [])
    parts[0].add(values[4:], [])
    parts[1].add(values[:4], [])
    parts[0].merge(parts[1].state())
    assert parts[0].compute() == whole.compute()
    errors = [sum(one[name] for one in values) for name in ("error", "flat_error")]
    assert list(whole.compute().values()) == pytest.approx([errors[0] / 7, errors[0] / errors[1]])
    low, high = whole.intervals()["relative_error"]
    assert low < whole.compute()["relative_error"] < high


def test_a_validation_loss_is_of_the_same_images_as_the_error():
    task, network = masked()
    network.backbone.preprocessing = Preprocessing(std=(0.5, 0.5, 0.5))
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        losses, found = task.evaluate(network.eval(), images, [(32, 32)] * 3, [torch.empty(0)] * 3)
    mean = sum(one["error"] for one in found) / 3
    assert losses["loss"].item() * 255 * 0.5 == pytest.approx(mean, rel=1e-5)


def test_the_picture_is_the_image_what_is_seen_of_it_and_what_is_painted():
    task, network = masked()
    image = np.random.default_rng(0).integers(0, 120, (64, 64, 3), np.uint8)
    images = task.prepare(network.preprocessing, image)[None]
    (found,) = task.predict(TorchEngine(network.eval()), images, [(64, 64)])
    drawn = np.asarray(task.draw_prediction(Image.fromarray(image), found, []))
    assert drawn.shape == (64, 3 * 64 + 8, 3)
    assert np.array_equal(drawn[:, :64], image)
    hidden = found["hidden"].numpy()
    assert (drawn[:, 68:132][hidden] == 128).all()
    assert np.array_equal(drawn[:, 68:132][~hidden], image[~hidden])
    assert np.array_equal(drawn[:, 136:], found["painted"].numpy())


def test_embeddings_are_of_the_whole_image_and_the_painting_beside_them_is_not():
    task, network = masked()
    engine, images = TorchEngine(network.eval()), torch.randn(2, 3, 64, 64)
    found, embeddings = predict_and_embed(engine, images, [(64, 64)] * 2)
    torch.testing.assert_close(embeddings, network.backbone.forward_features(images).mean((2, 3)).detach())
    assert [one["error"] for one in found] == [one["error"] for one in task.predict(engine, images, [(64, 64)] * 2)]


def test_an_evaluation_does_not_keep_the_pictures_of_all_images():
    images = LabelledImages(list(np.zeros((5, 40, 40, 3), np.uint8)), [0.0] * 5, [], list("abcde"))
    assert len(evaluate(masked()[1], images, keep=2).samples) == 2


# what is read


@pytest.fixture
def classes(tmp_path):
    return write_images(tmp_path / "data", 3)


def count(parts):
    return {part: len(images) for part, images in parts.items()}


def test_a_folder_may_be_nested_flat_or_in_parts(classes, tmp_path):
    nested = read_unlabelled(str(classes), ListColumns())
    assert (count(nested), nested["all"].class_names, nested["all"].names[0]) == ({"all": 9}, [], "blue/0.png")
    assert count(read_unlabelled(str(classes / "red"), ListColumns())) == {"all": 3}
    (classes / "red").rename(classes / "train")
    (classes / "green").rename(classes / "val")
    parts = read_unlabelled(str(classes), ListColumns())
    assert count(parts) == {"train": 3, "val": 3}
    assert [(passed.path.name, passed.why) for passed in parts["train"].passed_over] == [("blue", "next to the parts")]


def test_a_list_is_read_without_a_column_of_labels(classes):
    names = sorted(str(path.relative_to(classes)) for path in classes.rglob("*.png"))
    rows = [f"{name},{'val' if i < 2 else 'train'}" for i, name in enumerate(names)]
    (classes / "list.csv").write_text("\n".join(["file,split", *rows]))
    assert count(read_unlabelled(str(classes / "list.csv"), ListColumns())) == {"train": 7, "val": 2}


def test_shards_and_what_needs_no_files_lose_their_labels(classes, tmp_path):
    write_shards(load_folder(classes), tmp_path / "shards")
    for place in (tmp_path / "shards", "digits"):
        images = read_unlabelled(str(place), ListColumns())["train"]
        assert (images.class_names, set(images.labels), images.are_classes) == ([], {0.0}, False)


def test_what_cannot_be_read_is_refused(classes, tmp_path):
    (tmp_path / "empty").mkdir()
    for place, columns, said in (
        (tmp_path / "empty", {}, "empty holds no images: fill it or name another"),
        (classes / "red" / "0.png", {}, "is a file: give a folder of images, a list or shards"),
        (classes, {"labels": ("a",)}, r"masked learns from images alone: leave --label-column"),
        (classes, {"image": "a"}, "is not a list, whose columns could be named"),
    ):
        with pytest.raises(MaxViTError, match=said):
            read_unlabelled(str(place), ListColumns(**columns))


def test_a_checkpoint_comes_back(tmp_path):
    network = masked()[1].eval()
    network.save(tmp_path / "a.safetensors")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(load(tmp_path / "a.safetensors")(images)[0], network(images)[0])


def test_info_says_what_was_hidden(tmp_path, capsys):
    network_of("masked").save(tmp_path / "a.safetensors")
    assert main(["info", str(tmp_path / "a.safetensors")]) == 0
    assert "hides 60% of each image of 64 x 64, in squares of 16 pixels" in capsys.readouterr().out


def test_it_is_not_exported_and_that_is_said():
    task, network = masked()
    with pytest.raises(MaxViTError, match=r"masked is not exported: it paints .* train another task from it \(--model"):
        task.export_spec(network)


@pytest.mark.full
def test_a_run_that_was_killed_goes_on_to_be_the_run_that_was_not(classes, tmp_path, monkeypatch):
    settings = [f"data.path={classes}", "data.image_size=32", "data.batch_size=4", "data.val_fraction=0.2"]
    settings += ["optimization.epochs=2", "optimization.warmup_epochs=0", "checkpoints.every_updates=1"]
    recipe = load_recipe("masked", settings)
    train(recipe, tmp_path / "whole")
    update, done = Learner.update, []

    def kill(self):
        done.append(1)
        return update(self) if len(done) < 2 else 1 / 0

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "update", kill)
        with pytest.raises(ZeroDivisionError):
            train(recipe, tmp_path / "part")
    resume(tmp_path / "part")
    whole, part = (load(tmp_path / run / "last.safetensors").state_dict() for run in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)
