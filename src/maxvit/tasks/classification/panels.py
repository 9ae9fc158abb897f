"""What a report shows of a classifier: facts, confusions, reliability, and the worst mistakes."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from maxvit.tasks.classification.multi_label import MultiLabelMetric
from maxvit.tasks.classification.predictions import LIMIT, novelty_of
from maxvit.tasks.classification.single_label import SingleLabelMetric
from maxvit.tasks.panels import MOST_MISTAKES, Confusions, Mistake, Mistakes, Named, Panels

MOST_REFUSED = 12


def single_label_panels(metric: SingleLabelMetric) -> Panels:
    """Panels for images with one label each; the samples are one of each class."""
    images, wrong = len(metric.labels), metric.mistakes()
    found = f"{len(wrong):,} of {images:,} predictions are wrong, the most confident first."
    return Panels(
        facts={"right": f"{images - len(wrong):,} of {images:,}"},
        weakest_by="f1",
        samples=sorted(np.unique(metric.labels, return_index=True)[1].tolist()),
        confusions=Confusions(metric.class_names, metric.confusion),
        reliability=metric.calibration_bins(),
        mistakes=Mistakes(
            len(wrong),
            found if len(wrong) else f"None of {images:,} predictions is wrong.",
            [_wrong_class(metric, row) for row in wrong[:MOST_MISTAKES]],
        ),
    )


def multi_label_panels(metric: MultiLabelMetric) -> Panels:
    """Panels for images with any number of labels each."""
    images, wrong = len(metric.labels), metric.mistakes()
    found = f"{len(wrong):,} of {images:,} images have a label too many or too few, the largest loss first."
    return Panels(
        facts={
            "all labels right": f"{images - len(wrong):,} of {images:,}",
            "loss (binary cross-entropy, nats)": f"{metric.loss:.4g}",
        },
        weakest_by="ap",
        mistakes=Mistakes(
            len(wrong),
            found if len(wrong) else f"None of {images:,} images has a label too many or too few.",
            [_wrong_labels(metric, row) for row in wrong[:MOST_MISTAKES]],
        ),
    )


def refused_images(predictions: Sequence[Tensor], class_names: Sequence[str]) -> Mistakes | None:
    """The images that are none of the classes, the most novel first; None where the network has no score for it."""
    known = [(novelty, row) for row, one in enumerate(predictions) if (novelty := novelty_of(one)) is not None]
    if not known:
        return None
    refused = sorted(((novelty, row) for novelty, row in known if novelty > LIMIT), reverse=True)
    share = len(refused) / len(known)
    return Mistakes(
        len(refused),
        f"{len(refused):,} of {len(known):,} images ({share:.1%}) look unlike those of training, the "
        "least alike first; of images like those of training about 5% would.",
        [
            Mistake(
                row,
                [
                    Named("novelty", [(f"{novelty:.2f}", None)]),
                    Named("prediction", [(class_names[int(predictions[row].argmax())], float(predictions[row].max()))]),
                ],
            )
            for novelty, row in refused[:MOST_REFUSED]
        ],
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
