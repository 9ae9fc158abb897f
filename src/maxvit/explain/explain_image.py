"""One image explained in a folder: maps over the picture, their numbers, and how well each holds."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import check_known
from maxvit.data.images import ImageLike
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError
from maxvit.explain.capture import one_image
from maxvit.explain.draw import Panel, panel_of, picture_of, write_png, write_svg
from maxvit.explain.faithfulness import Faithfulness, faithfulness
from maxvit.explain.methods import METHODS, Map
from maxvit.explain.target import check_target, class_name
from maxvit.explain.token_attention import attended, check_point
from maxvit.layers.modes import evaluating
from maxvit.model import MaxViT
from maxvit.storage import check_folder, write_atomically


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found, and where it lies.

    Attributes:
        predicted: The most probable class.
        probability: Of it.
        answers: What is answered, with its probability: the most probable class; of a multi-label network all that
            reach its threshold, perhaps none.
        explained: The class that the maps are about.
        explained_probability: Of that.
        size: (height, width) of the preprocessed image, which the maps lie on.
        files: Written, in order.
        scores: Deletion and insertion by method; empty where they were not asked for.
    """

    predicted: str
    probability: float
    answers: list[tuple[str, float]]
    explained: str
    explained_probability: float
    size: tuple[int, int]
    files: list[Path]
    scores: dict[str, Faithfulness]


def explain_image(
    model: MaxViT,
    image: ImageLike,
    out: Path,
    target: int | None = None,
    point: tuple[int, int] | None = None,
    methods: Sequence[str] = ("rollout", "class-rollout"),
    score: bool = False,
) -> Explanation:
    """Explain an answer: OUT/picture.png, OUT/METHOD.png and .svg, OUT/point.png and .svg, OUT/maps.npz.

    The file maps.npz holds each method's map by its name, and those of the point as stage1_block1_grid.

    Args:
        model: The network; it is run in evaluation mode and left as it was.
        image: Anything that `maxvit.data.images.decode` reads.
        out: A folder, made where there is none; files of these names are replaced, but not `image`.
        target: The class to explain, from 0; None: the most probable one.
        point: (x, y) in pixels of the preprocessed image: what its token attends to, in every layer; None: no point.
        methods: Of `METHODS`, in order.
        score: Measure every map by deletion and insertion.

    Raises:
        MaxViTError: If something does not fit; nothing is written then. Or if the folder cannot be written to.
    """
    check_known("method", methods, METHODS)
    if not methods and point is None:
        raise MaxViTError(f"nothing was asked for: give a point, or some of the methods {', '.join(METHODS)}")
    check_target(model, target or 0)
    check_folder(out)
    drawings = [out / f"{name}.png" for name in ("picture", "point", *methods)]
    if isinstance(image, str | Path) and Path(image).resolve() in [path.resolve() for path in drawings]:
        raise MaxViTError(f"{image} would be written over: choose another folder with --out, or rename the image")
    tensor = preprocess(model.preprocessing, image)
    if point is not None:
        check_point(point, tensor)
    probabilities = _probabilities(model, tensor)
    predicted = int(probabilities.argmax())
    explained = predicted if target is None else target
    maps = {name: METHODS[name](model, tensor, explained) for name in methods}
    seen = attended(model, tensor, point) if point is not None else []
    scores = {name: faithfulness(model, tensor, m, explained) for name, m in maps.items()} if score else {}
    panels = {name: [Panel(f"{name}: {class_name(model, explained)}", m)] for name, m in maps.items()}
    if seen:
        panels["point"] = [panel_of(m) for m in seen]
    arrays = {**maps, **{f"stage{m.stage}_block{m.block}_{m.axis}": np.array(m.values, np.float32) for m in seen}}
    return Explanation(
        class_name(model, predicted),
        float(probabilities[predicted]),
        [(class_name(model, c), float(probabilities[c])) for c in model.config.answered(probabilities)],
        class_name(model, explained),
        float(probabilities[explained]),
        (tensor.shape[1], tensor.shape[2]),
        _write(out, picture_of(model.preprocessing, tensor), panels, arrays),
        scores,
    )


def _write(out: Path, picture: Image.Image, panels: dict[str, list[Panel]], arrays: dict[str, Map]) -> list[Path]:
    files = [out / "picture.png"]
    write_atomically(files[0], lambda p: picture.save(p, "PNG"))
    for name, drawn in panels.items():
        files += [out / f"{name}.png", out / f"{name}.svg"]
        write_png(files[-2], picture, drawn, columns=2)
        write_svg(files[-1], picture, drawn, columns=2)
    buffer = io.BytesIO()  # savez would add an ending to a temporary name
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    files.append(out / "maps.npz")
    write_atomically(files[-1], lambda p: p.write_bytes(buffer.getvalue()))
    return files


def _probabilities(model: MaxViT, image: Tensor) -> Tensor:
    with evaluating(model), torch.inference_mode():
        return model.config.probabilities(model(one_image(model, image))[0].float()).cpu()
