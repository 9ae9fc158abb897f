"""Parameters and multiply-adds of Cascade Mask R-CNN on MaxViT-T, S and B, by part, beside the paper's table.

One image of 896 x 896 in evaluation, windows and grids of 28 (the image's side / 32), 80 classes. The pyramid stands on
strides 8, 16 and 32 and has levels 3 to 7; at each cell there are 9 anchors. All 1,000 proposals count in each box head,
and 100 boxes in the mask head. What counts is what PyTorch's counter knows: matrix products and convolutions, two
operations each multiply-add. Pooling of regions, suppression, norms and activations do not. Nothing is computed: all
tensors are on the meta device.

Paper: MaxViT, arXiv 2204.01697, table of object detection and instance segmentation (Cascade Mask R-CNN on COCO).

    python benchmarks/detection_size.py --out benchmarks/results/detection_size_YYYY-MM
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from maxvit.benchmark.note import table, write_note
from maxvit.config import VARIANTS
from maxvit.model import MaxViT
from maxvit.tasks.detection.network import BOX_SIDE, MASK_SIDE, make_head
from maxvit.tasks.detection.settings import DetectionSettings

PAPER = {"maxvit_tiny": (475, 69), "maxvit_small": (595, 107), "maxvit_base": (856, 157)}  # G multiply-adds, M
SIDE, CLASSES, PROPOSALS, DETECTIONS = 896, 80, 1000, 100
SETTINGS = DetectionSettings(
    detector="cascade-mask-rcnn", extra_levels=2, anchor_scales=(1.0, 2 ** (1 / 3), 2 ** (2 / 3)), detections=DETECTIONS
)
Size = tuple[float, float]  # multiply-adds, parameters


def size(modules: Sequence[nn.Module], compute: Callable[[], Any]) -> tuple[Any, Size]:
    """What `compute` returns, and what it took."""
    with FlopCounterMode(display=False) as counter:
        result = compute()
    return result, (counter.get_total_flops() / 2, sum(p.numel() for m in modules for p in m.parameters()))


def parts(variant: str, side: int) -> dict[str, Size]:
    """Multiply-adds and parameters of each part."""
    with torch.device("meta"), torch.no_grad():
        backbone = MaxViT(VARIANTS[variant]).eval()
        backbone.set_image_size(side)
        head: Any = make_head(SETTINGS, backbone, CLASSES).eval()
        backbone.head = nn.Identity()  # type: ignore[assignment]
        image = torch.empty(1, 3, side, side)
        found = {}
        maps, found["backbone"] = size([backbone], lambda: backbone.forward_pyramid(image, head.strides))
        levels, found["pyramid"] = size([head.pyramid], lambda: head.pyramid(maps))
        _, found["proposals (RPN)"] = size([head.proposer], lambda: head.proposer.head(list(levels.values())))
        boxes = torch.empty(PROPOSALS, SETTINGS.pyramid_channels, BOX_SIDE, BOX_SIDE)
        stages = head.regions.stages
        _, found["box heads, three"] = size(stages, lambda: [stage(boxes) for stage in stages])
        regions = torch.empty(DETECTIONS, SETTINGS.pyramid_channels, MASK_SIDE, MASK_SIDE)
        masks = nn.Sequential(head.regions.mask_head, head.regions.mask_predictor)
        _, found["mask head"] = size([masks], lambda: masks(regions))
    whole = sum(p.numel() for module in (backbone, head) for p in module.parameters())
    assert whole == sum(parameters for _, parameters in found.values())  # no part is left out, none counts twice
    return found


def convolutional_head() -> Size:
    """Of a box head with four convolutions of 256 channels and one layer of 1,024 in place of our two of 1,024."""
    with torch.device("meta"), torch.no_grad():
        channels = SETTINGS.pyramid_channels
        layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4)]
        head = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * BOX_SIDE**2, 1024))
        return size([head], lambda: head(torch.empty(PROPOSALS, channels, BOX_SIDE, BOX_SIDE)))[1]


def body(found: dict[str, dict[str, Size]]) -> list[str]:
    """The result as Markdown."""
    heading = ["part", *(f"{variant}, {unit}" for variant in found for unit in ("G multiply-adds", "M parameters"))]
    names = list(next(iter(found.values())))
    rows = [[name, *(cell for sizes in found.values() for cell in cells(sizes[name]))] for name in names]
    sums = {v: (sum(x[0] for x in sizes.values()), sum(x[1] for x in sizes.values())) for v, sizes in found.items()}
    rows.append(["**sum**", *(cell for whole in sums.values() for cell in cells(whole))])
    rows.append(["**paper**", *(f"{x}" for v in found for x in PAPER[v])])
    gaps = [[(PAPER[v][0] * 1e9 - whole[0]), (PAPER[v][1] * 1e6 - whole[1])] for v, whole in sums.items()]
    rows.append(["paper less sum", *(cell for gap in gaps for cell in cells((gap[0], gap[1])))])
    operations, parameters = cells(convolutional_head())
    return [
        *table(heading, rows),
        "",
        f"A box head of four convolutions and one layer of 1,024 takes {operations} G and {parameters} M for {PROPOSALS:,}"
        " proposals, where one of ours, without the last layers, takes what a third of the row above says.",
    ]


def cells(value: Size) -> tuple[str, str]:
    """In thousands of millions, and in millions."""
    return f"{value[0] / 1e9:.1f}", f"{value[1] / 1e6:.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Count, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    found = {variant: parts(variant, SIDE) for variant in PAPER}
    written = write_note(
        options.out, __doc__ or "", body(found), ["benchmarks/detection_size.py", *words], ["torchvision"]
    )
    print(written.read_text())


if __name__ == "__main__":
    main()
