"""Predict the images of a folder or bucket on a Ray cluster.

    pip install 'ray[data]'
    python examples/ray_predict.py CHECKPOINT IMAGES OUT

IMAGES and OUT are folders, or URLs such as s3://bucket/images; CHECKPOINT must be readable on every machine. On one
machine, and on many that share a folder, `maxvit predict CHECKPOINT IMAGES --out FILE` needs no Ray, and goes on where
it was killed.
"""

import sys
from typing import Any

import numpy as np
import torch

from maxvit import Predictor


class Classify:
    """What `ray.data.Dataset.map_batches` calls: each worker loads the checkpoint once.

    Takes batches of `ray.data.read_binary_files`, column "bytes", of which one that is no image becomes an error in its
    row; or of `ray.data.read_images`, column "image", which itself ends at the first.

    Args:
        checkpoint: As for `Predictor`.
        top_k: How many classes to name.
        batch_size: Images per forward.
    """

    def __init__(self, checkpoint: str, top_k: int = 5, batch_size: int = 32) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.predictor = Predictor(checkpoint, batch_size, device, settings={"top_k": top_k})
        self.columns = range(1, min(top_k, len(self.predictor.class_names)) + 1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The same rows with the pixels or bytes replaced by class_1, probability_1 and so on, and error."""
        column = "bytes" if "bytes" in batch else "image"
        found = self.predictor(list(batch.pop(column)))
        rows = [{} if one.error else one.task.row(one.value, one.class_names) or {} for one in found]
        for k in self.columns:
            batch[f"class_{k}"] = np.array([row.get(f"class_{k}") for row in rows], dtype=object)
            batch[f"probability_{k}"] = np.array([row.get(f"probability_{k}", np.nan) for row in rows], np.float32)
        return {**batch, "error": np.array([one.error for one in found], dtype=object)}


if __name__ == "__main__":
    import ray

    checkpoint, images, out = sys.argv[1:]
    ray.init()
    gpus = int(ray.cluster_resources().get("GPU", 0))
    ray.data.read_binary_files(images, include_paths=True).map_batches(
        Classify,
        fn_constructor_args=[checkpoint],
        batch_size=256,
        num_gpus=1 if gpus else 0,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=gpus or 2),
    ).write_parquet(out)
