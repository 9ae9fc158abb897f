"""Do the maps show what the answer rests on? Measured where the deciding region is known.

**Images** (generated). A piece of a photograph, 64 x 64, with one of scikit-learn's handwritten digits (20 to 28
pixels) at a random place in a random colour, and two distractors: other digits of that size whose 8 x 8 pixels are
shuffled, in colours of their own. The label is the digit; nothing else in the picture tells it. Test images are made of
digits and of parts of the photographs that the training never sees. The network is `maxvit_micro`, whose stages see 16,
8, 4 and 2 tokens a side; six tenths of its training are on such pictures of 32 x 32 without distractors.

**Measured**, for the right class of test images that the network answers rightly: deletion (area under the probability
of the class as the most relevant pixels are blurred; lower is better), insertion (as they are given back to a blurred
picture; higher is better), the share of relevance within the digit's square, and how often the most relevant pixel lies
there (the pointing game). Integrated gradients count by their positive part.

    python benchmarks/explanations.py --work runs/explanations --out benchmarks/results/explanations_HARDWARE_YYYY-MM

The trained network is kept in the work folder and taken from there.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from note import circumstances, table, write_note
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from maxvit import MaxViT, accelerate, create_model
from maxvit.config import Preprocessing
from maxvit.data.builtin import load_digits
from maxvit.explain.attention_maps import attention_maps
from maxvit.explain.attribution import grad_cam, integrated_gradients
from maxvit.explain.faithfulness import faithfulness
from maxvit.explain.geometry import enlarge
from maxvit.explain.rollout import rollout
from maxvit.kernels.accelerate import obstacle
from maxvit.storage import write_atomically, write_text
from maxvit.training.optim import learning_rate_factor, make_optimizer

SIDE, DISTRACTORS = 64, 2
EASY_SIDE = 32  # of the pictures without distractors that the training begins with
RATE, DECAY, CLIP = 1e-3, 0.05, 1.0
EASY = 0.6  # of the steps
STATISTICS = 20  # training batches from which norms take their statistics in the end
SPEC = Preprocessing(image_size=(SIDE, SIDE), fit="squash", mean=(0.5,) * 3, std=(0.25,) * 3)
Map = npt.NDArray[np.float32]
Box = tuple[int, int, int]  # top, left, side


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One picture: (64, 64, 3) uint8, the digit on it, and where that is."""

    pixels: npt.NDArray[np.uint8]
    label: int
    box: Box


class Scenes:
    """Pictures without end; those for the test are of other digits and other parts of the photographs."""

    def __init__(self, test: bool, seed: int, side: int = SIDE, distractors: int = DISTRACTORS) -> None:
        self.side, self.distractors = side, distractors
        splits = load_digits()
        assert splits.test is not None
        parts = [splits.test] if test else [splits.train, splits.val]
        self.digits = [(np.asarray(s), label) for p in parts for s, label in zip(p.sources, p.labels, strict=True)]
        self.photographs = [_part(p, test) for p in _photographs()]
        self.random = np.random.default_rng((seed, test))

    def draw(self) -> Sample:
        """One more."""
        picture = self._background()
        boxes = self._boxes(1 + self.distractors)
        for number, box in enumerate(boxes):
            digit, its_label = self.digits[self.random.integers(len(self.digits))]
            if number == 0:
                label = its_label
            else:
                digit = self.random.permuted(digit.flatten()).reshape(8, 8)
            self._paint(picture, digit, box)
        return Sample(picture.round().astype(np.uint8), label, boxes[0])

    def _background(self) -> npt.NDArray[np.float32]:
        photograph = self.photographs[self.random.integers(len(self.photographs))]
        side = int(self.random.integers(self.side, min(photograph.size) + 1))
        left, top = (int(self.random.integers(length - side + 1)) for length in photograph.size)
        crop = photograph.crop((left, top, left + side, top + side)).resize(
            (self.side, self.side), Image.Resampling.BICUBIC
        )
        return np.array(crop, np.float32)

    def _boxes(self, number: int) -> list[Box]:
        """Squares that do not touch."""
        found: list[Box] = []
        while len(found) < number:
            side = int(self.random.integers(20, 29))
            top, left = (int(i) for i in self.random.integers(0, self.side - side + 1, 2))
            if all(
                abs(2 * top + side - 2 * t - s) > side + s or abs(2 * left + side - 2 * w - s) > side + s
                for t, w, s in found
            ):
                found.append((top, left, side))
            elif self.random.random() < 0.02:
                found = []  # there may be no room left
        return found

    def _paint(self, picture: npt.NDArray[np.float32], digit: npt.NDArray[np.uint8], box: Box) -> None:
        top, left, side = box
        large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
        ink = np.asarray(large, np.float32)[..., None] / 255
        colour = self.random.choice([0.0, 255.0], 3) * 0.9 + self.random.random(3) * 25
        place = picture[top : top + side, left : left + side]
        place += ink * (colour.astype(np.float32) - place)


def _photographs() -> list[Image.Image]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    pictures = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), *load_sample_images().images]
    return [Image.fromarray(p) for p in pictures]


def _part(photograph: Image.Image, test: bool) -> Image.Image:
    """The left two thirds to learn from, the rest to test on."""
    border = photograph.width * 2 // 3
    return photograph.crop(
        (border, 0, photograph.width, photograph.height) if test else (0, 0, border, photograph.height)
    )


def tensor(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """As the network takes it: (..., H, W, 3) -> (..., 3, H, W)."""
    values = torch.from_numpy(pixels).float() / 255
    return ((values - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std)).movedim(-1, -3)


def train(steps: int, batch_size: int, seed: int) -> MaxViT:
    """A network that reads the digit."""
    torch.manual_seed(seed)
    network = create_model("maxvit_micro").train()
    network.preprocessing, network.class_names = SPEC, [str(i) for i in range(10)]
    fast = network if obstacle(network) else accelerate(network)
    optimizer, start = make_optimizer(network, RATE, DECAY), time.perf_counter()
    easy, hard = Scenes(False, seed, EASY_SIDE, distractors=0), Scenes(False, seed)

    def batch(scenes: Scenes) -> tuple[Tensor, Tensor]:
        samples = [scenes.draw() for _ in range(batch_size)]
        return tensor(np.stack([s.pixels for s in samples])), torch.tensor([s.label for s in samples])

    losses: list[float] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * learning_rate_factor(step, steps, steps // 20, 0.01)
        images, labels = batch(easy if step < steps * EASY else hard)
        loss = F.cross_entropy(fast(images.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            print(
                f"step {step + 1}: loss {np.mean(losses[-100:]):.3f}, {time.perf_counter() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    with torch.no_grad():
        update_bn([batch(hard)[0] for _ in range(STATISTICS)], network)
    network.provenance = {"steps": steps, "batch": batch_size, "seed": seed, "seconds": time.perf_counter() - start}
    return network.eval()


def attention_of_stage(stage: int) -> Callable[[MaxViT, Tensor, int], Map]:
    """What positions receive in a stage's last block, the mean of both axes."""
    return lambda model, image, target: np.mean([m.values for m in attention_maps(model, image) if m.stage == stage], 0)


def noise(model: MaxViT, image: Tensor, target: int) -> Map:
    """As fine as the finest map of attention, of nothing; the same for an image whenever it is asked."""
    seed = int(image.double().abs().sum() * 1000)
    return np.random.default_rng(seed).random((SIDE // 4, SIDE // 4), np.float32)


METHODS: dict[str, Callable[[MaxViT, Tensor, int], Map]] = {
    "random": noise,
    **{f"attention, stage {s}": attention_of_stage(s) for s in (1, 2, 3)},
    "attention, last layer": attention_of_stage(4),
    "rollout": lambda model, image, target: rollout(model, image)[0],
    "rollout, MBConv spreads": lambda model, image, target: rollout(model, image, mbconv="spread")[0],
    "class rollout": lambda model, image, target: rollout(model, image, target)[0],
    "class rollout, MBConv spreads": lambda model, image, target: rollout(model, image, target, "spread")[0],
    "Grad-CAM, stage 4": lambda model, image, target: grad_cam(model, image, target, 4),
    "Grad-CAM, stage 3": lambda model, image, target: grad_cam(model, image, target, 3),
    "Grad-CAM, stage 2": lambda model, image, target: grad_cam(model, image, target, 2),
    "integrated gradients": lambda model, image, target: integrated_gradients(model, image, target).clip(min=0),
}
DRAWN = ("attention, last layer", "rollout", "class rollout", "Grad-CAM, stage 3", "integrated gradients")
MEASURES = ("deletion", "insertion", "share inside", "hit")


def measure(model: MaxViT, sample: Sample, method: str, steps: int) -> dict[str, float]:
    """One map of one picture."""
    image = tensor(sample.pixels)
    relevance = METHODS[method](model, image, sample.label).astype(np.float32)
    found = faithfulness(model, image, relevance, sample.label, steps)
    whole = enlarge(torch.from_numpy(relevance), (SIDE, SIDE), "nearest").clamp(min=0)  # each token over its cell
    top, left, side = sample.box
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[top : top + side, left : left + side] = True
    share = (whole[inside].sum() / whole.sum()).item() if whole.sum() > 0 else inside.float().mean().item()
    winners = whole == whole.max()  # a coarse map's best cell is many pixels, of which one is taken at random
    return {
        "deletion": found.deletion,
        "insertion": found.insertion,
        "share inside": share,
        "hit": inside[winners].float().mean().item(),
    }


def interval(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 %, of the mean, by bootstrap over the pictures."""
    chosen = np.random.default_rng(0).integers(0, len(differences), (2000, len(differences)))
    low, high = np.quantile(differences[chosen].mean(1), (0.025, 0.975))
    return float(low), float(high)


def report(records: dict[str, list[dict[str, float]]]) -> list[str]:
    """The table, and rollout beside what it must beat, picture by picture."""
    values = {m: {k: np.array([r[k] for r in rows]) for k in MEASURES} for m, rows in records.items()}
    rows = [
        [m, *(f"{v[k].mean():.3f} ± {v[k].std() / len(v[k]) ** 0.5:.3f}" for k in MEASURES)] for m, v in values.items()
    ]
    lines = [*table(["map", *(f"{k}, mean ± standard error" for k in MEASURES)], rows), ""]
    compared = []
    for ours in ("rollout", "class rollout"):
        for other in ("random", "attention, last layer"):
            cells = []
            for k in ("deletion", "insertion", "share inside"):
                difference = values[ours][k] - values[other][k]
                low, high = interval(difference)
                cells.append(f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})")
            compared.append([f"{ours} less {other}", *cells])
    head = ["difference on the same pictures, mean (95 % interval)", "deletion", "insertion", "share inside"]
    return [*lines, *table(head, compared)]


def figure(model: MaxViT, samples: list[Sample]) -> Figure:
    """Some pictures with the digit's square, and their maps."""
    drawing = Figure(figsize=(1.7 * (1 + len(DRAWN)), 1.8 * len(samples)), layout="constrained", facecolor="white")
    panels = drawing.subplots(len(samples), 1 + len(DRAWN), squeeze=False)
    for row, sample in zip(panels, samples, strict=True):
        top, left, side = sample.box
        row[0].imshow(sample.pixels)
        row[0].set_title(f"a {sample.label}", fontsize=8)
        for panel, method in zip(row[1:], DRAWN, strict=True):
            values = METHODS[method](model, tensor(sample.pixels), sample.label)
            panel.imshow(sample.pixels.mean(2), cmap="gray", vmin=0, vmax=255)
            large = enlarge(torch.from_numpy(values.astype(np.float32)), (SIDE, SIDE), "nearest")
            panel.imshow(large.numpy(), cmap="viridis", vmin=0, alpha=0.7)
            panel.set_title(method, fontsize=8)
        for panel in row:
            panel.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="#ff3b30"))
            panel.set_axis_off()
    return drawing


def prepare(work: Path, steps: int, batch_size: int, seed: int) -> MaxViT:
    """The network: as the work folder has it, or trained now and kept there."""
    path = work / "network.safetensors"
    if path.exists():
        kept = MaxViT.load(path)
        if (kept.provenance["steps"], kept.provenance["batch"], kept.provenance["seed"]) == (steps, batch_size, seed):
            return kept
    network = train(steps, batch_size, seed)
    network.save(path)
    return network


def main(arguments: list[str] | None = None) -> None:
    """Write OUT.md, OUT.json and OUT.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the trained network")
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--batch", type=int, default=64, help="images of a step")
    parser.add_argument("--images", type=int, default=200, help="that are tried; those answered rightly are explained")
    parser.add_argument("--removals", type=int, default=16, help="steps of deletion and insertion")
    options = parser.parse_args(arguments)
    network = prepare(options.work, options.steps, options.batch, seed=0)
    scenes = Scenes(test=True, seed=0)
    tried = [scenes.draw() for _ in range(options.images)]
    with torch.inference_mode():
        answers = torch.cat([network(tensor(s.pixels)[None]).argmax(1) for s in tried]).tolist()
    right = [s for s, answer in zip(tried, answers, strict=True) if s.label == answer]
    if not right:
        raise SystemExit("the network answers no test image rightly, so there is nothing to explain: train it longer")
    records: dict[str, list[dict[str, float]]] = {}
    for method in METHODS:
        records[method] = [measure(network, sample, method, options.removals) for sample in right]
        means = ", ".join(f"{k} {np.mean([r[k] for r in records[method]]):.3f}" for k in MEASURES)
        print(f"{method}: {means}", file=sys.stderr, flush=True)
    area = np.mean([s.box[2] ** 2 for s in right]) / SIDE**2
    facts = {
        "network": f"maxvit_micro, {options.steps} steps of {options.batch} pictures, AdamW, rate {RATE:g} with 5 % "
        f"warm-up and cosine, trained in {network.provenance['seconds']:.0f} s beside other work",
        "accuracy": f"{len(right)} of {len(tried)} test images are answered rightly, and explained",
        "chance": f"the digit's square is {area:.1%} of a picture, which a map that is alike everywhere has inside",
        "deletion and insertion": f"in {options.removals} steps; the blur's deviation is {SIDE / 16:g} pixels",
    }
    words = ["benchmarks/explanations.py", *(sys.argv[1:] if arguments is None else arguments)]
    packages = ["captum", "numpy", "scikit-image", "scikit-learn"]
    names = {ending: options.out.with_name(f"{options.out.name}.{ending}") for ending in ("json", "png")}
    about = {**facts, **circumstances(words, packages)}
    columns = {m: {k: [round(r[k], 4) for r in rows] for k in MEASURES} for m, rows in records.items()}
    write_text(names["json"], json.dumps({"about": about, "records": columns}) + "\n")
    drawing = figure(network, right[:6])
    write_atomically(names["png"], lambda p: drawing.savefig(p, dpi=80, format="png"))
    picture = f"![Pictures, the digit's square, and maps over them]({names['png'].name})"
    page = write_note(options.out, __doc__ or "", [*report(records), "", picture], words, packages, facts)
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
