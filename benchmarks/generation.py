"""Pictures of clothes from noise: the generator of MaxViT-GAN beside one of convolutions of the same size.

Both are those of `examples/generation.py`, with the same critic, and learn from Fashion-MNIST at 32 pixels. Inception,
by whose features such pictures are usually judged, is not to be had offline: these are the features of a classifier of
ours, trained on the same clothes, so the distances compare with each other and with no published ones. Precision is the
share of samples among real pictures, recall that of real ones among samples (arXiv 1904.06991, 3 neighbours). Both are
judged several times on the way. Training that was stopped goes on, and what was judged is not judged again.

    python benchmarks/generation.py --classifier RUN/best.safetensors --work runs/generation \\
        --out benchmarks/results/generation_HARDWARE_YYYY-MM
"""

import argparse
import itertools
import json
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
from transfer_sets import CLOTHES, read_clothes

import maxvit
from maxvit import storage

EXAMPLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "examples" / "generation.py")))
NEIGHBOURS, ACROSS = 3, 20
Features = npt.NDArray[np.float64]  # (n, width)


def clothes(work: Path, part: str, limit: int) -> tuple[Tensor, Tensor]:
    """Pictures (n, 1, 32, 32) in -1..1, and their classes (n), which `CLOTHES` names."""
    pixels, labels = read_clothes(work, part)
    side = (EXAMPLE.SIDE, EXAMPLE.SIDE)
    resized = [np.asarray(Image.fromarray(p).resize(side, Image.Resampling.BICUBIC)) for p in pixels[:limit]]
    return torch.from_numpy(np.stack(resized))[:, None].float() / 127.5 - 1, torch.tensor(labels[:limit])


@torch.inference_mode()
def accuracy(classifier: maxvit.MaxViT, pictures: Tensor, labels: Tensor) -> float:
    """Share of the pictures that it recognises."""
    found = torch.cat([classifier(part.expand(-1, 3, -1, -1)).argmax(1) for part in pictures.split(250)])
    names = classifier.class_names or list(CLOTHES)
    right = [names[one] == CLOTHES[label] for one, label in zip(found.tolist(), labels.tolist(), strict=True)]
    return sum(right) / len(right)


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


def scores(found: Features, truth: Features) -> list[float]:
    """Frechet distance, precision and recall."""
    return [frechet_distance(found, truth), covered(found, truth), covered(truth, found)]


def main(arguments: list[str] | None = None) -> None:
    """Train and judge what is not trained and judged yet, and write the record with a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", type=Path, required=True, help="checkpoint, trained on these clothes")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched and trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[1500, 3000], help="after which both are judged")
    parser.add_argument("--judged", type=int, default=5000, help="pictures of each kind")
    options = parser.parse_args(arguments)
    classifier = maxvit.optimize(maxvit.load_model(options.classifier).eval())
    train, _ = clothes(options.work, "train", 60_000)
    real, labels = clothes(options.work, "t10k", options.judged)
    truth = features(classifier, real)
    judged = options.work / f"judged-{options.judged}.json"
    known = json.loads(judged.read_text()) if judged.exists() else {}
    rows = [["other real pictures", "", "", *say(scores(features(classifier, train[: options.judged]), truth))]]
    shown = [real[:ACROSS]]
    for steps, kind in itertools.product(sorted(options.steps), EXAMPLE.ORDERS):
        name = f"{kind} {steps}"
        game = EXAMPLE.train(train, options.work / kind, kind, steps, every=250)
        if name not in known and game.steps > steps:
            raise SystemExit(f"{options.work / kind} is past {steps} steps: give others, or another --work")
        if name not in known:
            known[name] = scores(features(classifier, game.sample(options.judged)), truth)
            storage.write_text(judged, json.dumps(known))
        size = sum(p.numel() for p in game.generator.parameters()) / 1e6
        rows.append([kind, f"{size:.2f}", f"{steps:,}", *say(known[name])])
        print(*rows[-1], flush=True)
        if steps == max(options.steps):
            shown.append(game.sample(ACROSS))
    EXAMPLE.draw(torch.cat(shown), options.out.with_name(f"{options.out.name}.png"), ACROSS)
    head = ["", "parameters, M", "steps", "Frechet distance", "precision", "recall"]
    body = [
        *table(head, rows),
        "",
        f"![real pictures, then samples of each generator]({options.out.name}.png)",
    ]
    facts = {
        "training": f"{EXAMPLE.BATCH} pictures a step, one seed",
        "judged": f"{options.judged:,} pictures of each",
        "classifier": f"recognises {accuracy(classifier, real, labels):.1%} of these real pictures",
    }
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", body, ["benchmarks/generation.py", *words], ["scipy"], facts)


def say(found: list[float]) -> list[str]:
    """What `scores` gives, for a table."""
    distance, *shares = found
    return [f"{distance:.2f}", *(f"{share:.3f}" for share in shares)]


if __name__ == "__main__":
    main()
