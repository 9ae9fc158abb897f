"""The report of a run that trained a task: judge its best checkpoint, draw some answers, write the page."""

import shlex
from pathlib import Path

from maxvit import tasks
from maxvit.data.dataset import LabelledImages
from maxvit.data.describing import describe
from maxvit.data.images import decode
from maxvit.errors import MaxViTError
from maxvit.inference.device import choose_device
from maxvit.inference.engines import say
from maxvit.inference.judging import Judged, judge
from maxvit.report.task_page import Picture, TaskReport, write_task_report
from maxvit.tasks.network import TaskNetwork
from maxvit.training.files import best_epoch
from maxvit.training.recipe import Recipe
from maxvit.training.run import say_changes
from maxvit.training.setup import load_annotated

SHOWN = 8  # pictures


def report_task(
    run: Path, recipe: Recipe, history: list[dict[str, float]], show_progress: bool = False, device: str = "auto"
) -> tuple[Path, TaskReport]:
    """Write RUN/report.html of a run whose task is not classification; see `report_run`."""
    task = tasks.make_task(recipe.task)
    data, network = load_annotated(recipe, task), tasks.load_network(run / "best.safetensors").to(choose_device(device))
    assert isinstance(network, TaskNetwork)
    if show_progress:
        say(describe(data))
    images = data.test or data.val
    if data.test is None and (said := say_changes(run, data)):
        raise MaxViTError(f"{said}: else images of training would count as held out")
    at_once = recipe.data.device_batch_size or min(8, recipe.data.batch_size)
    judgement = judge(network, images, at_once, recipe.data.workers, show_progress, keep=SHOWN)
    part = "test" if data.test else "validation: they chose the best epoch"
    name = Path(str(recipe.data.path)).name
    report = TaskReport(
        title=f"{task.name}: {recipe.model.name} on {name}",
        facts={
            "model": recipe.model.name,
            "parameters": f"{network.count_parameters():,}",
            "images": f"{len(data.train):,} train, {len(data.val):,} validation, {len(data.test or ()):,} test",
            "image size": " x ".join(str(side) for side in network.preprocessing.image_size),
            "epochs": f"{len(history)} of {recipe.optimization.epochs}, best {best_epoch(history, task.monitor)}",
            "training time": f"{sum(row['seconds'] for row in history) / 60:.1f} min",
            "seed": str(recipe.seed),
        },
        history=history,
        judgement=judgement,
        monitor=task.monitor,
        evaluated_on=f"{judgement.images} held-out images ({part})",
        pictures=[_picture(task, network, images, judged) for judged in judgement.kept],
        config=recipe.to_yaml(),
        command=shlex.join(["maxvit", "train", "--recipe", str(run / "config.yaml"), "--out", f"{run}-again"]),
    )
    path = run / "report.html"
    write_task_report(path, report)
    return path, report


def _picture(task: tasks.Task, network: TaskNetwork, images: LabelledImages, judged: Judged) -> Picture:
    image, names = decode(images.sources[judged.index], network.preprocessing), network.class_names
    return Picture(
        name=images.names[judged.index],
        image=image,
        truth=task.draw_target(image, judged.truth, names),
        answer=task.draw_prediction(image, judged.answer, names),
        sentence=task.summary(judged.answer, names),
    )
