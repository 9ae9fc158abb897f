"""Cross-entropy of each pixel, and the Dice loss of each class."""

import torch.nn.functional as F
from torch import Tensor

from maxvit.tasks.segmentation.masks import IGNORED


def losses(logits: Tensor, classes: Tensor, dice_weight: float) -> dict[str, Tensor]:
    """What training follows.

    Args:
        logits: (B, K, H, W).
        classes: (B, H, W) uint8; 255 is ignored.
        dice_weight: Weight of the Dice loss, added to cross-entropy with weight 1; 0: none.

    Returns:
        "loss", and its parts where there are two; 0 where every pixel is ignored.
    """
    logits, classes = logits.float(), classes.long()
    labelled = (classes != IGNORED).sum()
    entropy = F.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum") / labelled.clamp(min=1)
    if dice_weight == 0:
        return {"loss": entropy}
    from segmentation_models_pytorch.losses import DiceLoss  # slow to import, and there: the head has used it

    dice = DiceLoss("multiclass", ignore_index=IGNORED)(logits, classes)
    return {"loss": entropy + dice_weight * dice, "cross_entropy": entropy, "dice": dice}
