"""Train a network of this package with Lightning: its trainer, our network, images and checkpoint.

    pip install lightning
    python examples/lightning_module.py FOLDER OUT.safetensors    # FOLDER/CLASS/*.jpg, or the word digits
    maxvit predict OUT.safetensors IMAGE

`maxvit train` does more (the first verdict, averaged weights, exact resuming): this is for who has a Lightning project.
"""

import sys
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

import maxvit
from maxvit.data.loading import Batch, evaluation_batches, training_batches
from maxvit.tasks import make_task
from maxvit.tasks.examples import TaskExamples


class Classifier(lightning.LightningModule):
    """Cross-entropy by AdamW, with a cosine from the peak of the learning rate down to 0."""

    def __init__(self, network: maxvit.MaxViT, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.network, self.learning_rate = network, learning_rate

    def training_step(self, batch: Batch, number: int) -> Tensor:
        loss = F.cross_entropy(self.network(batch.images), batch.targets)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.images))
        return loss

    def validation_step(self, batch: Batch, number: int) -> None:
        logits, labels = self.network(batch.images), batch.targets
        right = (logits.argmax(1) == labels).float().mean()
        values = {"val_loss": F.cross_entropy(logits, labels), "val_accuracy": right}
        self.log_dict(values, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        plain = self.network.no_weight_decay()
        groups = [
            {"params": [p for name, p in self.network.named_parameters() if name not in plain], "weight_decay": 0.05},
            {"params": [p for name, p in self.network.named_parameters() if name in plain], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate)
        updates = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


def train(place: str, **trainer: Any) -> maxvit.MaxViT:
    """Start from the weights that come with the package, and give the trained network."""
    task = make_task({"name": "classification"})
    data = task.load(place, val_fraction=0.2, seed=0)
    network = maxvit.create_model("maxvit_micro", num_classes=len(data.train.class_names), pretrained="formulas-32")
    network.class_names, spec = data.train.class_names, network.preprocessing
    batches = training_batches(TaskExamples(task, data.train, spec), batch_size=32, workers=0, seed=0)
    val = evaluation_batches(TaskExamples(task, data.val, spec), batch_size=64, workers=0)
    lightning.Trainer(**trainer).fit(Classifier(network), batches, val)
    return network


if __name__ == "__main__":
    train(sys.argv[1], max_epochs=5).save(sys.argv[2])
