"""What a report shows of numbers: each prediction beside its target, and the largest errors."""

import numpy as np

from maxvit.tasks.panels import MOST_MISTAKES, Mistake, Mistakes, Named, Panels, Scatter
from maxvit.tasks.regression.metric import RegressionMetric
from maxvit.tasks.regression.predictions import short


def regression_panels(metric: RegressionMetric) -> Panels:
    """The panels of an evaluation."""
    names, predictions, targets = metric.class_names, metric.predictions, metric.targets
    scale = targets.std(0)
    errors = (np.abs(predictions - targets) / np.where(scale > 0, scale, 1)).max(1)  # (images,)
    worst = np.argsort(-errors, kind="stable")[:MOST_MISTAKES].tolist()
    facts = {
        f"target{f' {name}' * (len(names) > 1)}, mean ± deviation": f"{mean:.4g} ± {deviation:.4g}"
        for name, mean, deviation in zip(names, targets.mean(0), scale, strict=True)
    }
    return Panels(
        facts=facts,
        weakest_by="r2" if len(names) > 1 else "",
        scatters=[Scatter(name, targets[:, i], predictions[:, i]) for i, name in enumerate(names)],
        mistakes=Mistakes(
            len(errors),
            f"The largest errors of {len(errors):,} predictions, in deviations of the target.",
            [
                Mistake(
                    row,
                    [
                        Named("prediction", [(short(predictions[row], names), None)], is_wrong=True),
                        Named("target", [(short(targets[row], names), None)]),
                    ],
                )
                for row in worst
            ],
        ),
    )
