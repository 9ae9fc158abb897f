"""What a report shows of a classifier: facts, confusions, reliability, and the worst mistakes."""

import numpy as np

from maxvit.tasks.classification.multi_label import MultiLabelMetric
from maxvit.tasks.classification.single_label import SingleLabelMetric
from maxvit.tasks.panels import MOST_MISTAKES, Confusions, Mistake, Mistakes, Named, Panels


def single_label_panels(metric: SingleLabelMetric) -> Panels:
    """Panels for images with one label each; the samples are one of each class."""
    images, wrong = len(metric.labels), metric.mistakes()
    return Panels(
        facts={"right": f"{images - len(wrong):,} of {images:,}"},
        weakest_by="f1",
        samples=sorted(np.unique(metric.labels, return_index=True)[1].tolist()),
        confusions=Confusions(metric.class_names, metric.confusion),
        reliability=metric.calibration_bins(),
        mistakes=Mistakes(
            len(wrong),
            f"{len(wrong):,} of {images:,} predictions are wrong, the most confident first.",
            [_wrong_class(metric, row) for row in wrong[:MOST_MISTAKES]],
        ),
    )


def multi_label_panels(metric: MultiLabelMetric) -> Panels:
    """Panels for images with any number of labels each."""
    images, wrong = len(metric.labels), metric.mistakes()
    return Panels(
        facts={
            "all labels right": f"{images - len(wrong):,} of {images:,}",
            "loss (binary cross-entropy, nats)": f"{metric.loss:.4g}",
        },
        weakest_by="ap",
        mistakes=Mistakes(
            len(wrong),
            f"{len(wrong):,} of {images:,} images have a label too many or too few, the largest loss first.",
            [_wrong_labels(metric, row) for row in wrong[:MOST_MISTAKES]],
        ),
    )


def _wrong_class(metric: SingleLabelMetric, row: int) -> Mistake:
    names, probabilities = metric.class_names, metric.probabilities[row].tolist()
    prediction, target = int(metric.predictions[row]), int(metric.labels[row])
    return Mistake(
        row,
        [
            Named("prediction", [(names[prediction], probabilities[prediction])], is_wrong=True),
            Named("target", [(names[target], probabilities[target])]),
        ],
    )


def _wrong_labels(metric: MultiLabelMetric, row: int) -> Mistake:
    named, target, predicted = metric.class_names, metric.labels[row], metric.predictions[row]
    pairs = list(zip(named, metric.probabilities[row].tolist(), strict=True))
    wrong = [pair for pair, there in zip(pairs, predicted & ~target, strict=True) if there]
    missed = [pair for pair, there in zip(pairs, target & ~predicted, strict=True) if there]
    classes = [Named("not there", wrong, is_wrong=True)] if wrong else []
    classes += [Named("missed", missed, is_wrong=True)] if missed else []
    there = [(name, None) for name, is_there in zip(named, target, strict=True) if is_there]
    return Mistake(row, [*classes, Named("target", there)])
