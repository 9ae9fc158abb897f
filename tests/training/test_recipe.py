import math

import pytest
import yaml

from maxvit.config import VARIANTS
from maxvit.errors import MaxViTError
from maxvit.training.recipe import list_recipes, load_recipe, recipe_text


def refusal(*settings, recipe="digits"):
    """The sentence with which a recipe is refused."""
    with pytest.raises(MaxViTError) as caught:
        load_recipe(str(recipe), settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_recipes_that_ship():
    assert list_recipes() == [
        "ablation",
        "ade20k",
        "aesthetics",
        "ava",
        "coco-cascade",
        "coco-retinanet",
        "coco-stuff",
        "detection",
        "digits",
        "finetune-folder",
        "folder",
        "formulas",
        "imagenet1k",
        "imagenet1k-finetune-384",
        "imagenet1k-finetune-512",
        "imagenet21k",
        "imagenet21k-finetune-384",
        "imagenet21k-finetune-512",
        "masked",
        "regression",
        "segmentation",
    ]


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_opens_with_what_it_does_and_the_command(name):
    head = [line for line in recipe_text(name).splitlines() if line.startswith("#")]
    assert "command:" in "".join(head)
    assert any("maxvit train" in line for line in head)


def test_the_pretraining_recipe_is_the_paper_s():
    recipe = load_recipe("imagenet1k")
    optimization = recipe.optimization
    assert (optimization.epochs, recipe.data.batch_size, recipe.task["mixup"]) == (300, 4096, 0.8)
    assert recipe.task["rand_augment"] == [2, 15]
    assert (optimization.learning_rate, optimization.min_learning_rate) == (3e-3, 1e-5)
    assert (optimization.weight_decay, optimization.grad_clip_norm, optimization.ema_decay) == (0.05, 1.0, 0.9999)
    assert int(optimization.warmup_epochs * -(-1_281_167 // 4096)) == 10_000
    rates = [VARIANTS[f"maxvit_{size}"].drop_path_rate for size in ("tiny", "small", "base", "large")]
    assert (recipe.model.drop_path_rate, rates) == (None, [0.2, 0.3, 0.4, 0.6])


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_survives_the_way_to_yaml_and_back(name, tmp_path):
    recipe = load_recipe(name, ["data.image_size=[48, 64]", "model.drop_path_rate=0.3", "optimization.epochs=7"])
    assert load_recipe(str(written(tmp_path, recipe.to_yaml()))) == recipe


@pytest.mark.parametrize("name", list_recipes())
def test_to_yaml_says_every_value(name):
    said = yaml.safe_load(load_recipe(name).to_yaml())
    assert set(said) == {"format", "task", "seed", "model", "data", "optimization", "engine", "checkpoints", "logging"}
    assert said["optimization"].keys() >= {"grad_clip_norm", "min_learning_rate"}  # which no recipe sets


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("data.batchsize=8", "data.batch_size"),
        ("dat.batch_size=8", "data"),
        ("optimization.epoch=8", "optimization.epochs"),
        ("model.nmae=maxvit_tiny", "model.name"),
        ("sed=1", "seed"),
    ],
)
def test_a_misspelt_setting_is_an_error_that_suggests_the_right_one(wrong, right):
    assert f"did you mean {right!r}?" in refusal(wrong)


def test_a_misspelt_key_in_a_file_is_an_error_too(tmp_path):
    path = written(tmp_path, "data:\n  batchsize: 8\n")
    assert refusal(recipe=path) == "unknown setting 'data.batchsize': did you mean 'data.batch_size'?"


def test_an_unknown_key_like_no_other_lists_those_of_its_section():
    message = refusal("optimization.qqqqqqqqqqqqqqqq=1")
    assert "'optimization.qqqqqqqqqqqqqqqq'" in message
    assert "optimization.epochs" in message
    assert "data.batch_size" not in message


def test_an_unknown_recipe_is_an_error_that_suggests_the_right_one():
    assert refusal(recipe="digit") == "unknown recipe 'digit': did you mean 'digits'?"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optimization.epochs=-1", ["optimization.epochs is -1", "greater than or equal to 0"]),
        ("optimization.epochs=many", ["optimization.epochs is 'many'", "valid integer"]),
        ("optimization.epochs=2.5", ["optimization.epochs is 2.5", "valid integer"]),
        ("optimization.ema_decay=1", ["optimization.ema_decay is 1", "less than 1"]),
        ("optimization.learning_rate=0", ["optimization.learning_rate is 0", "greater than 0"]),
        ("optimization.learning_rate=-1e-3", ["optimization.learning_rate is -0.001", "greater than 0"]),
        ("optimization.learning_rate=inf", ["optimization.learning_rate is inf", "finite number"]),
        ("data.batch_size=1", ["data.batch_size is 1", "greater than or equal to 2"]),
        ("data.val_fraction=1", ["data.val_fraction is 1", "less than 1"]),
        ("data.crop_pct=0", ["data.crop_pct is 0", "greater than 0"]),
        ("data.workers=-1", ["data.workers is -1", "greater than or equal to 0"]),
        ("task.augmentation=photo", ["task.augmentation is 'photo'", "'none', 'characters' or 'photos'"]),
        ("data.image_size=big", ["data.image_size is 'big'"]),
        ("data.image_size=[32]", ["data.image_size is [32]", "at least 2 values"]),
        ("data.mean=[" + "0.5," * 17 + "]", ["data.mean", "at most 16 items"]),
        ("model.in_channels=17", ["model.in_channels", "less than or equal to 16"]),
        ("data.std=[0.5, x, 0.5]", ["data.std.1 is 'x'", "valid number"]),
        ("model.name=maxvit_huge", ["model.name is 'maxvit_huge'", "'maxvit_micro', 'maxvit_pico'"]),
        ("model.drop_path_rate=1", ["model.drop_path_rate is 1", "less than 1"]),
        ("model.scale_windows=maybe", ["model.scale_windows is 'maybe'", "boolean"]),
        ("seed=4294967296", ["seed is 4294967296", "less than 4294967296"]),
        ("engine.sync_batch_norm=-1", ["engine.sync_batch_norm"]),
        ("seed=-1", ["seed is -1", "greater than or equal to 0"]),
        ("data=3", ["data is 3", "section", "data.path"]),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(setting, words):
    message = refusal(setting)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("2E-4", 2e-4), ("0.5", 0.5), ("3", 3.0)])
def test_numbers_are_read_as_people_write_them(text, value):
    assert load_recipe("digits", [f"optimization.learning_rate={text}"]).optimization.learning_rate == value


def test_a_number_of_a_file_may_have_no_point_either(tmp_path):
    path = written(tmp_path, "optimization:\n  learning_rate: 1e-3\n")
    assert load_recipe(str(path)).optimization.learning_rate == 1e-3


def test_a_number_in_quotes_is_text():
    assert load_recipe("folder", ['data.path="2024"']).data.path == "2024"


def test_an_override_changes_its_setting_and_no_other():
    before, after = (load_recipe("digits", s).model_dump() for s in ([], ["data.batch_size=7"]))
    assert after["data"].pop("batch_size") == 7
    assert before["data"].pop("batch_size") == 64
    assert after == before


def test_the_last_override_of_a_setting_holds():
    assert load_recipe("digits", ["seed=3", "seed=5"]).seed == 5


def test_an_override_reaches_a_section_that_the_file_lacks_or_leaves_empty(tmp_path):
    path = written(tmp_path, "seed: 3\ndata:\n")
    recipe = load_recipe(str(path), ["data.batch_size=7", "optimization.epochs=2"])
    assert (recipe.seed, recipe.data.batch_size, recipe.optimization.epochs) == (3, 7, 2)


def test_an_empty_file_is_all_defaults(tmp_path):
    recipe = load_recipe(str(written(tmp_path, "")))
    assert recipe.model.name == "maxvit_micro"
    assert math.isclose(recipe.optimization.learning_rate, 1e-3)


def test_one_number_is_both_sides_of_the_image():
    assert load_recipe("digits", ["data.image_size=48"]).data.image_size == (48, 48)


def test_a_setting_below_a_value_is_an_error():
    assert "seed has no parts" in refusal("seed.more=1")


@pytest.mark.parametrize("override", ["data.batch_size", "=8", ""])
def test_an_override_without_its_key_or_equals_sign_is_an_error(override):
    assert "write section.key=value" in refusal(override)


def test_an_override_that_is_no_yaml_is_named():
    assert refusal("data.mean=[0.5").startswith("'data.mean=[0.5' has a value that cannot be read")


def test_broken_yaml_is_an_error_of_one_line_that_says_where(tmp_path):
    message = refusal(recipe=written(tmp_path, "data:\n  path: [1, 2\n"))
    assert "mine.yaml is not YAML" in message
    assert "line 2" in message


def test_a_yaml_list_is_an_error(tmp_path):
    assert "holds no sections" in refusal(recipe=written(tmp_path, "- 1\n- 2\n"))


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00\x81")
    assert "cannot be read" in refusal(recipe=tmp_path / "mine.yaml")


def test_a_missing_file_is_an_error(tmp_path):
    assert refusal(recipe=tmp_path / "none.yaml") == f"recipe {tmp_path / 'none.yaml'} does not exist: check the path"


@pytest.mark.parametrize("value", ["[0,1]", "[0.5,1.1]", "[0.8,0.5]"])
def test_the_share_of_a_crop_is_from_a_smaller_one_to_a_larger(value):
    assert "task.crop_area" in refusal(f"task.crop_area={value}")


@pytest.mark.parametrize("value", ["[2,31]", "[-1,5]"])
def test_the_magnitude_of_augmentation_has_an_end(value):
    assert "task.rand_augment" in refusal(f"task.rand_augment={value}")
