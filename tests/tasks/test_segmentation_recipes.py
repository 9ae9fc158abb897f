"""The recipes of segmentation: the settings that they say they follow."""

from maxvit.tasks import make_task
from maxvit.training.recipe import load_recipe


def test_ade20k_s_recipe_is_the_one_that_backbones_are_compared_by():
    recipe = load_recipe("ade20k")
    optimization, settings = recipe.optimization, make_task(recipe.task).settings
    updates = 20_210 // 16 + 1
    assert (settings.decoder, settings.decoder_channels, settings.scale) == ("upernet", 512, (0.5, 2.0))
    assert (recipe.data.image_size, recipe.data.batch_size) == ((512, 512), 16)
    assert (optimization.learning_rate, optimization.schedule, optimization.min_learning_rate) == (6e-5, "linear", 0)
    assert abs(optimization.epochs * updates - 160_000) < updates
    assert abs(optimization.warmup_epochs * updates - 1500) < 10


def test_coco_stuff_s_recipe_is_tensorflow_s():
    recipe = load_recipe("coco-stuff")
    optimization, settings = recipe.optimization, make_task(recipe.task).settings
    updates = 118_287 // 32
    assert (settings.decoder, settings.scale) == ("fpn", (0.5, 1.5))
    assert (recipe.model.name, recipe.data.image_size, recipe.data.batch_size) == ("maxvit_small", (640, 640), 32)
    assert (optimization.schedule, optimization.weight_decay, optimization.ema_decay) == ("cosine", 1e-4, 0.9998)
    assert abs(optimization.epochs * updates - 64_000) < updates
    assert abs(optimization.warmup_epochs * updates - 4000) < 10


def test_the_recipe_of_the_task_is_found_by_it():
    task = make_task({"name": "segmentation"})
    assert make_task(load_recipe(task.recipe).task).settings.decoder_channels == 64
