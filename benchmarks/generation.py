"""Pictures of clothes from noise: the generator of MaxViT-GAN beside one of convolutions of the same size.

Both are those of `examples/generation.py`, with the same critic, and learn from Fashion-MNIST at 32 pixels. Inception,
by whose features such pictures are usually judged, is not to be had offline: these are the features of a classifier of
ours, trained on the same clothes, so the distances compare with each other and with no published ones. Precision is the
share of samples among real pictures, recall that of real ones among samples (arXiv 1904.06991, 3 neighbours). Training
that was stopped goes on.

    python benchmarks/generation.py --classifier RUN/best.safetensors --work runs/generation \\
        --out benchmarks/results/generation_HARDWARE_YYYY-MM
"""

import argparse
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import torch
from note import table, write_note
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor
from transfer_sets import read_clothes

import maxvit

EXAMPLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "examples" / "generation.py")))
NEIGHBOURS = 3
Features = npt.NDArray[np.float64]  # (n, width)


def clothes(work: Path, part: str, limit: int) -> Tensor:
    """(n, 1, 32, 32) in -1..1."""
    pixels, _ = read_clothes(work, part)
    side = (EXAMPLE.SIDE, EXAMPLE.SIDE)
    resized = [np.asarray(Image.fromarray(p).resize(side, Image.Resampling.BICUBIC)) for p in pixels[:limit]]
    return torch.from_numpy(np.stack(resized))[:, None].float() / 127.5 - 1


@torch.inference_mode()
def features(classifier: maxvit.MaxViT, pictures: Tensor) -> Features:
    """The pooled last map of the classifier, which was trained on values in -1..1."""
    maps = [classifier.forward_features(part.expand(-1, 3, -1, -1)) for part in pictures.split(250)]
    return torch.cat([each.mean((2, 3)) for each in maps]).double().numpy()


def frechet_distance(a: Features, b: Features) -> float:
    """Between normal distributions of the same means and covariances."""
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    off = a.mean(0) - b.mean(0)
    return float(off @ off + np.trace(covariances[0] + covariances[1] - 2 * root))


def covered(inner: Features, outer: Features) -> float:
    """Share of `inner` that lies nearer to one of `outer` than that one's third neighbour."""
    one, other = torch.from_numpy(inner), torch.from_numpy(outer)
    radius = torch.cdist(other, other).kthvalue(NEIGHBOURS + 1, 1).values  # the nearest is itself
    return float((torch.cdist(one, other) <= radius).any(1).double().mean())


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, and write the record with a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", type=Path, required=True, help="checkpoint, trained on these clothes")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched and trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--judged", type=int, default=5000, help="pictures of each kind")
    options = parser.parse_args(arguments)
    classifier = maxvit.optimize(maxvit.load_model(options.classifier).eval())
    train, real = clothes(options.work, "train", 60_000), clothes(options.work, "t10k", options.judged)
    truth = features(classifier, real)
    rows, shown = [], [real[:20]]
    candidates = {"other real pictures": train[: options.judged]}
    sizes = {"other real pictures": ""}
    for kind in EXAMPLE.ORDERS:
        game = EXAMPLE.train(train, options.work / kind, kind, options.steps, every=250)
        candidates[kind] = game.sample(options.judged)
        sizes[kind] = f"{sum(p.numel() for p in game.generator.parameters()) / 1e6:.2f}"
        shown.append(candidates[kind][:20])
    for name, pictures in candidates.items():
        found = features(classifier, pictures)
        scores = frechet_distance(found, truth), covered(found, truth), covered(truth, found)
        rows.append([name, sizes[name], f"{scores[0]:.2f}", f"{scores[1]:.3f}", f"{scores[2]:.3f}"])
    EXAMPLE.draw(torch.cat(shown), options.out.with_name(f"{options.out.name}.png"), across=20)
    head = ["", "parameters, M", "Frechet distance", "precision", "recall"]
    body = [
        *table(head, rows),
        "",
        f"![real pictures, then samples of each generator]({options.out.name}.png)",
    ]
    facts = {
        "training": f"{options.steps:,} steps of {EXAMPLE.BATCH} pictures",
        "judged": f"{options.judged:,} pictures of each",
    }
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", body, ["benchmarks/generation.py", *words], ["scipy"], facts)


if __name__ == "__main__":
    main()
