"""What is worth knowing of the data before a run, as far as it can be had in a moment. `maxvit check` looks closely."""

import shlex
from collections import Counter

from maxvit.data.copies import find_copies
from maxvit.data.dataset import Splits, say_balance
from maxvit.tasks.task import Task
from maxvit.training.recipe import Recipe

UNEVEN = 10  # times as many images as the smallest class
EVEN_METRIC = "balanced_accuracy"


def first_check(data: Splits, task: Task, recipe: Recipe) -> list[str]:
    """A sentence for each thing that is not as it should be; none, where nothing is found.

    Whether classes are of very different sizes, and whether held-out images are also in training. What was passed over
    is said by `describe`.
    """
    return [sentence for sentence in (_say_imbalance(data, task, recipe), _say_copies(data, recipe)) if sentence]


def _say_imbalance(data: Splits, task: Task, recipe: Recipe) -> str:
    """A sentence on the training images, where each has one class."""
    classes = task.one_class(data.train)
    if classes is None:
        return ""
    numbers = Counter(classes)
    counts = {name: numbers[i] for i, name in enumerate(data.train.class_names)}
    if none := [name for name, number in counts.items() if not number]:
        few = ", ".join(map(repr, none[:3])) + ", ..." * (len(none) > 3)
        what = "these classes, which" if len(none) > 1 else "this class, which"
        return f"{few}: no training image is of {what} cannot be learned: add images, or remove what names it"
    if len(counts) < 2 or max(counts.values()) < UNEVEN * min(counts.values()):
        return ""
    said = f"classes differ much in training: {say_balance(counts)}"
    if recipe.optimization.metric != EVEN_METRIC and EVEN_METRIC in task.choosers(data.val):
        said += f"; --metric {EVEN_METRIC} counts all classes alike"
    return said


def _say_copies(data: Splits, recipe: Recipe) -> str:
    copies = find_copies(data)
    if not copies:
        return ""
    number = len(data.val) + len(data.test or ())
    are = f"{len(copies):,} of the {number:,} held-out images {'is' if len(copies) == 1 else 'are'} also in training"
    first = f"{copies[0].held_out} is {copies[0].train} there"
    return (
        f"{are}, byte for byte ({'the first: ' * (len(copies) > 1)}{first}), so results look better than they are; "
        f"maxvit check {shlex.quote(str(recipe.data.path))} finds near copies too"
    )
