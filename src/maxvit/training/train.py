"""Training as one call, from a data set to a run folder."""

from collections.abc import Sequence
from pathlib import Path

from maxvit.config import Size
from maxvit.inference.device import choose_device
from maxvit.training import run as runs
from maxvit.training.choose import choose_recipe
from maxvit.training.recipe import load_recipe


def train(
    data: str | Path | None = None,
    *,
    out: str | Path,
    task: str | None = None,
    recipe: str | Path | None = None,
    model: str | Path | None = None,
    teacher: str | Path | None = None,
    minutes: float | None = None,
    preset: str = "good",
    scratch: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    image_size: int | Size | None = None,
    workers: int | None = None,
    metric: str | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    track: str | Sequence[str] | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    show_progress: bool = True,
) -> runs.Outcome:
    """Train a network for any task, as `maxvit train` does on one device.

    Args:
        data: A folder, a list, shards, or what else the task reads; None: scikit-learn's handwritten digits.
        out: The run folder. If it holds an unfinished run of the same recipe, that one goes on.
        task: Such as "segmentation", or a module of yours; None: to classify.
        recipe: A name of `maxvit list --recipes`, or a YAML file; None: the task's.
        model: A variant, such as "maxvit_tiny"; or a run or a checkpoint to start from, of another task the backbone
            alone; None: the recipe's.
        teacher: A larger classifier of the same classes, to learn from its answers too: what `maxvit.load` takes.
        minutes: For all of it: training is planned so, from measured speed; None: as long as it takes.
        preset: "fast": the first verdict alone, or a quarter of the epochs where a task has none; "good"; or "best":
            three times the epochs.
        scratch: Start from random weights.
        epochs: Times that each training image is seen; None, here and below: the recipe's.
        batch_size: Images of one update.
        learning_rate: Its peak, for a batch of the recipe's `optimization.base_batch_size`.
        image_size: A side in pixels, or (height, width).
        workers: Processes that decode images; 0: none.
        metric: What chooses the best epoch, such as "f1_macro" or "loss".
        image_column: Column of a list that names the images; None: as for `maxvit.data.columns.find_image_column`.
        label_column: Columns of a list with the labels, one or several; None: as for `find_label_columns` there.
        track: Where metrics go besides the run folder: "tensorboard", "wandb", "mlflow", one or several; None: the
            recipe's, which is TensorBoard.
        settings: Each "section.key=value", as of `maxvit train --set`, which has the last word.
        device: As for `maxvit.inference.device.choose_device`.
        show_progress: Draw a bar on standard error.

    Returns:
        The run; its `best` is a checkpoint for `maxvit.Predictor`, `maxvit.evaluate` and `maxvit.load`.

    Raises:
        MaxViTError: If a setting is not allowed, the data cannot be used, the folder is taken, or training diverges.
    """
    choices = {
        "model": None if model is None else str(model),
        "teacher": None if teacher is None else str(teacher),
        "minutes": minutes,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "image_size": image_size,
        "workers": workers,
        "metric": metric,
        "image_column": image_column,
        "label_column": label_column,
        "track": track,
    }
    on_gpu = choose_device(device).type != "cpu"
    name, overrides, said = choose_recipe(
        data, task, recipe, choices, settings, preset=preset, scratch=scratch, on_gpu=on_gpu
    )
    chosen = load_recipe(name, overrides)
    return runs.train_or_resume(chosen, Path(out), show_progress, "maxvit.train(...)", device, said)
