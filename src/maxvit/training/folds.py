"""Cross-validation: a run for each fold, and predictions for every image by a network that did not learn from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maxvit.inference.evaluate import EvaluationResult, evaluate
from maxvit.inference.evaluation_files import prediction_rows, write_table
from maxvit.tasks import load, make_task
from maxvit.tasks.protocols import Cell, Metric
from maxvit.training.recipe import Recipe
from maxvit.training.run import Outcome, train_or_resume
from maxvit.training.setup import check_libraries, load_data, name_folds

PREDICTIONS = "out_of_fold.csv"


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What the runs of all folds have given.

    Attributes:
        runs: One for each fold; to be predicted with together.
        folds: How good each is on the images of its own fold.
        result: How good they are together, each image predicted by the network that did not learn from it; without
            samples.
        predictions: These predictions as a table; None: they do not fit into rows.
    """

    runs: Sequence[Path]
    folds: Sequence[EvaluationResult]
    result: EvaluationResult
    predictions: Path | None


def train_folds(
    recipe: Recipe,
    out: Path,
    folds: int | str,
    show_progress: bool = False,
    command: str = "",
    device: str = "auto",
    note: str = "",
) -> CrossValidation | Outcome:
    """Train a network for each fold of the training images, in OUT/fold-1 and so on; runs that are there go on.

    Args:
        recipe: What to do.
        out: The folder of the runs.
        folds: How many, or the column of a list that names them.
        show_progress: Draw bars on standard error.
        command: What the user typed.
        device: As for `maxvit.inference.device.choose_device`.
        note: A sentence about the start.

    Returns:
        What they have given; or where a run was asked to stop, how that one ended.

    Raises:
        MaxViTError: As `train_or_resume`, or if the images cannot be put into so many folds.
    """
    check_libraries(recipe)
    runs, results, rows = [], [], list[dict[str, Cell]]()

    def own_recipe(number: int) -> Recipe:
        return recipe.model_copy(update={"data": recipe.data.model_copy(update={"folds": folds, "fold": number})})

    for number, name in enumerate(name_folds(own_recipe(0))):
        own = own_recipe(number)
        outcome = train_or_resume(own, out / f"fold-{number + 1}", show_progress, command, device, note)
        if not outcome.finished:
            return outcome
        val = load_data(own).val
        result = evaluate(load(outcome.best), val, workers=recipe.data.workers, show_progress=show_progress)
        rows += prediction_rows(result, val, {"fold": name})
        runs.append(outcome.run)
        results.append(result)
    predictions = out / PREDICTIONS if rows else None
    if predictions is not None:
        write_table(predictions, rows)
    return CrossValidation(runs, results, _together(recipe, results), predictions)


def _together(recipe: Recipe, results: Sequence[EvaluationResult]) -> EvaluationResult:
    """All images of all folds."""
    names = results[0].class_names
    metric: Metric = make_task(recipe.task).metric(names)
    for result in results:
        metric.merge(result.metric.state())
    skipped = [sentence for result in results for sentence in result.skipped]
    return EvaluationResult(results[0].task, names, metric, sum(result.images for result in results), skipped)
