"""The report of a run: evaluate its best checkpoint, look at mistakes and attention, write the page."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import maxvit
from maxvit.create import load_model
from maxvit.data.dataset import LabelledImages
from maxvit.data.describing import describe
from maxvit.data.images import decode
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError
from maxvit.explain.attention_maps import AttentionMap, attention_maps
from maxvit.explain.rollout import rollout
from maxvit.inference.device import choose_device
from maxvit.inference.engines import say
from maxvit.inference.evaluate import evaluate
from maxvit.inference.evaluation import Evaluation
from maxvit.inference.multi_label import MultiLabelEvaluation
from maxvit.model import MaxViT
from maxvit.report.multi_label_page import MultiLabelReport, WrongImage, write_multi_label_report
from maxvit.report.page import Explained, Mistake, Report, write_report
from maxvit.report.task_page import TaskReport
from maxvit.report.task_run import report_task
from maxvit.tasks import CLASSIFICATION
from maxvit.training.files import read_metrics
from maxvit.training.recipe import Recipe
from maxvit.training.run import read_recipe, say_changes
from maxvit.training.setup import DIGITS, load_data

SHOWN_MISTAKES = 24
SHOWN_EXPLAINED = 6


def report_run(
    run: Path, show_progress: bool = False, device: str = "auto"
) -> tuple[Path, Report | MultiLabelReport | TaskReport]:
    """Write RUN/report.html.

    Args:
        run: A run folder.
        show_progress: Draw a bar on standard error.
        device: As for `choose_device`.

    Returns:
        The page and what it shows: the test images, where there are none the validation images.

    Raises:
        MaxViTError: If the folder holds no run with a finished epoch, or its data is gone.
    """
    recipe, history = read_recipe(run), read_metrics(run)
    if not history:
        raise MaxViTError(f"{run} has no finished epoch yet: nothing to report")
    if recipe.task["name"] != CLASSIFICATION:
        return report_task(run, recipe, history, show_progress, device)
    data, model = load_data(recipe), load_model(run / "best.safetensors").to(choose_device(device))
    if show_progress:
        say(describe(data))
    images = data.test or data.val
    if data.test is None and (said := say_changes(run, data)):
        raise MaxViTError(f"{said}: else images of training would count as held out")
    at_once = recipe.data.device_batch_size or min(64, recipe.data.batch_size)
    result = evaluate(model, images, at_once, recipe.data.workers, show_progress)
    chosen = "the best epoch" + " and the threshold" * isinstance(result, MultiLabelEvaluation)
    part = "test" if data.test else f"validation: they chose {chosen}"
    best = model.provenance.get("epoch", 0)
    facts = {
        "model": recipe.model.name,
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "data": model.provenance.get("data") if recipe.data.path == DIGITS else Path(str(recipe.data.path)).name,
        "images": f"{len(data.train):,} train, {len(data.val):,} validation, {len(data.test or ()):,} test",
        "image size": " x ".join(str(side) for side in model.preprocessing.image_size),
        "epochs": f"{len(history)} of {recipe.optimization.epochs}, best {best:.0f}",
        "training time": _duration(sum(row["seconds"] for row in history)),
        "speed": f"{sum(row['images_per_second'] for row in history) / len(history):.0f} images/s",
        "seed": str(recipe.seed),
    }
    if result.skipped:
        facts["unreadable"] = f"{len(result.skipped)} images left out"
    if "devices" in model.provenance:
        facts["devices"] = str(model.provenance["devices"])
    path = run / "report.html"
    shared: dict[str, Any] = {
        "title": f"{recipe.model.name} on {facts['data']}",
        "facts": facts,
        "history": history,
        "evaluation": result,
        "evaluated_on": f"{len(result.labels)} held-out images ({part})",
        "config": recipe.to_yaml(),
        "command": shlex.join(["maxvit", "train", "--recipe", str(run / "config.yaml"), "--out", f"{run}-again"]),
        "summary": _summary(facts, result, "test" if data.test else "validation", recipe),
    }
    rows = result.mistakes()[:SHOWN_MISTAKES]
    if isinstance(result, MultiLabelEvaluation):
        several = MultiLabelReport(mistakes=[_wrong_image(model, result, images, row) for row in rows], **shared)
        write_multi_label_report(path, several)
        return path, several
    report = Report(
        mistakes=[_mistake(model, result, images, row) for row in rows],
        explained=[_explain(model, result, images, row) for row in _one_per_class(result.labels.tolist())],
        **shared,
    )
    write_report(path, report)
    return path, report


def _one_per_class(labels: Sequence[int]) -> list[int]:
    first = {label: row for row, label in reversed(list(enumerate(labels)))}
    return sorted(first.values())[:SHOWN_EXPLAINED]


def _mistake(model: MaxViT, result: Evaluation, images: LabelledImages, row: int) -> Mistake:
    index, answer, truth = int(result.indices[row]), int(result.predictions[row]), int(result.labels[row])
    return Mistake(
        image=decode(images.sources[index], model.preprocessing),
        name=images.names[index],
        truth=result.class_names[truth],
        answer=result.class_names[answer],
        confidence=float(result.probabilities[row, answer]),
        truth_probability=float(result.probabilities[row, truth]),
    )


def _wrong_image(model: MaxViT, result: MultiLabelEvaluation, images: LabelledImages, row: int) -> WrongImage:
    truth, answer, names = result.labels[row], result.answers[row], result.class_names
    pairs = list(zip(names, result.probabilities[row].tolist(), strict=True))
    return WrongImage(
        image=decode(images.sources[result.indices[row]], model.preprocessing),
        name=images.names[result.indices[row]],
        truth=[name for name, there in zip(names, truth, strict=True) if there],
        missed=[pair for pair, gone in zip(pairs, truth & ~answer, strict=True) if gone],
        wrong=[pair for pair, extra in zip(pairs, answer & ~truth, strict=True) if extra],
    )


def _explain(model: MaxViT, result: Evaluation, images: LabelledImages, row: int) -> Explained:
    index, answer = int(result.indices[row]), int(result.predictions[row])
    image = preprocess(model.preprocessing, images.sources[index])
    maps = attention_maps(model, image)
    composed = enumerate(rollout(model, image, answer), start=1)
    return Explained(
        image=decode(images.sources[index], model.preprocessing),
        name=images.names[index],
        truth=result.class_names[int(result.labels[row])],
        answer=result.class_names[answer],
        confidence=float(result.probabilities[row, answer]),
        maps=maps + [AttentionMap(stage, "rollout", values) for stage, values in composed if values.size > 1],
    )


def _summary(facts: dict[str, str], result: Evaluation | MultiLabelEvaluation, part: str, recipe: Recipe) -> str:
    """The result in a sentence that can be pasted into a paper."""
    if isinstance(result, MultiLabelEvaluation):
        name, figure, (low, high) = "mAP", result.scores()["mAP"], result.intervals()["mAP"]
    else:
        name, figure, (low, high) = "top-1", result.accuracy, result.interval
    devices = f" on {facts['devices']}" if "devices" in facts else ""
    return (
        f"{facts['model']} at {facts['image size']}, {name} {figure:.2%} (95 % interval {low:.2%} to "
        f"{high:.2%}) on {len(result.labels):,} {part} images of {facts['data']}: {facts['epochs']} epochs, batch "
        f"{recipe.data.batch_size}, seed {recipe.seed}, averaged weights, {facts['training time']}{devices}, "
        f"maxvit {maxvit.__version__}, PyTorch {torch.__version__}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
