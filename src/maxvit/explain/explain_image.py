"""One image explained in a folder: maps over the picture, their numbers, and how well each holds."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maxvit.config import check_known
from maxvit.data.bands import say_shown
from maxvit.data.images import ImageLike
from maxvit.errors import MaxViTError
from maxvit.explain.draw import Panel, panel_of, picture_of, write_png, write_svg
from maxvit.explain.faithfulness import Faithfulness, faithfulness
from maxvit.explain.methods import METHODS, Map, default_methods
from maxvit.explain.target import check_target, classes_of
from maxvit.explain.token_attention import attention_at, check_point
from maxvit.inference.predictor import Prediction, Predictor
from maxvit.storage import check_folder, write_atomically
from maxvit.tasks.network import Network


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found, and where it is.

    Attributes:
        prediction: As of a `Predictor`.
        explained: The class that the maps are about; None where the network gives an image as a whole no class.
        explained_probability: Probability of that class, or None.
        size: (height, width) of the preprocessed image, on which the maps are.
        files: Written, in order.
        scores: Deletion and insertion by method; empty where they were not asked for.
        shown: Of an image of bands, those that the pictures show, in words; of a photograph nothing.
    """

    prediction: Prediction
    explained: str | None
    explained_probability: float | None
    size: tuple[int, int]
    files: list[Path]
    scores: dict[str, Faithfulness]
    shown: str = ""


def explain_image(
    network: Network,
    image: ImageLike,
    out: Path,
    target: int | None = None,
    point: tuple[int, int] | None = None,
    methods: Sequence[str] | None = None,
    score: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Explanation:
    """Explain a prediction: OUT/picture.png, OUT/METHOD.png and .svg, OUT/point.png and .svg, OUT/maps.npz.

    The file maps.npz holds each method's map by its name, and those of the point as stage1_block1_grid.

    Args:
        network: It is run in evaluation mode and left as it was.
        image: Anything that `maxvit.data.images.decode` reads.
        out: A folder, made where there is none; files of these names are replaced, but not `image`.
        target: The class to explain, from 0; None: the most probable one, if the network has classes for whole images.
        point: (x, y) in pixels of the preprocessed image: what its token attends to, in every layer; None: no point.
        methods: Some of `METHODS`, in order; None: rollout, and class-rollout where there is a class.
        score: Measure every map by deletion and insertion, which takes a class.
        settings: Settings of the task, in place of the network's, for the prediction.

    Raises:
        MaxViTError: If something does not fit, or a class is needed and there is none; nothing is written then. Or if
            the folder cannot be written to.
    """
    predictor = Predictor(network, settings=settings)
    methods = default_methods(network) if methods is None else methods
    check_known("method", methods, METHODS)
    if not methods and point is None:
        raise MaxViTError(f"nothing was asked for: give a point, or some of the methods {', '.join(METHODS)}")
    if target is not None or score:
        check_target(network, target or 0)
    check_folder(out)
    drawings = [out / f"{name}.png" for name in ("picture", "point", *methods)]
    if isinstance(image, str | Path) and Path(image).resolve() in [path.resolve() for path in drawings]:
        raise MaxViTError(f"{image} would be written over: choose another folder with --out, or rename the image")
    (tensor,) = predictor.prepare(image).images
    if point is not None:
        check_point(point, tensor)
    (prediction,) = predictor(image)
    classes = classes_of(network)
    if target is None and classes:
        target = int(prediction.value.argmax())
    maps = {name: METHODS[name](network, tensor, target) for name in methods}
    seen = attention_at(network, tensor, point) if point is not None else []
    scores = {
        name: faithfulness(network, tensor, m, check_target(network, target)) for name, m in maps.items() if score
    }
    explained = None if target is None else classes[target]
    panels = {name: [Panel(f"{name}: {explained}" if explained else name, m)] for name, m in maps.items()}
    if seen:
        panels["point"] = [panel_of(m) for m in seen]
    arrays = {**maps, **{f"stage{m.stage}_block{m.block}_{m.axis}": np.array(m.values, np.float32) for m in seen}}
    return Explanation(
        prediction,
        explained,
        None if target is None else float(prediction.value[target]),
        (tensor.shape[1], tensor.shape[2]),
        _write(out, picture_of(network.preprocessing, tensor), panels, arrays),
        scores,
        say_shown(network.preprocessing),
    )


def _write(out: Path, picture: Image.Image, panels: dict[str, list[Panel]], arrays: dict[str, Map]) -> list[Path]:
    files = [out / "picture.png"]
    write_atomically(files[0], lambda p: picture.save(p, "PNG"))
    for name, drawn in panels.items():
        files += [out / f"{name}.png", out / f"{name}.svg"]
        write_png(files[-2], picture, drawn, columns=2)
        write_svg(files[-1], picture, drawn, columns=2)
    buffer = io.BytesIO()  # savez would add an ending to a temporary name
    np.savez_compressed(buffer, **arrays)
    files.append(out / "maps.npz")
    write_atomically(files[-1], lambda p: p.write_bytes(buffer.getvalue()))
    return files
