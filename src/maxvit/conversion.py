"""Any checkpoint, rewritten: as our own file, or as one for timm."""

from pathlib import Path
from typing import NamedTuple

from maxvit.checkpoints.published import PUBLISHED
from maxvit.checkpoints.tensorflow import is_checkpoint
from maxvit.checkpoints.timm import save_for_timm
from maxvit.config import MaxViTConfig, Size, check_known, variant_name
from maxvit.create import load_model
from maxvit.errors import MaxViTError
from maxvit.kernels.known import network_change


class Conversion(NamedTuple):
    """What was read, and what was written.

    Attributes:
        source: The format and the name of what was read; "maxvit" for our own files.
        variant: The name of the network, or None where it has none.
        config: The network.
        assumed: What the files did not say, or None.
        lost: What the file that was written does not hold, and the network needs; or None.
        parameters: Learned numbers.
        loads_with: The Python call that loads what was written.
    """

    source: str
    variant: str | None
    config: MaxViTConfig
    assumed: str | None
    lost: str | None
    parameters: int
    loads_with: str


def convert(
    source: str | Path,
    target: Path,
    to: str = "native",
    image_size: int | Size | None = None,
    name: str | None = None,
    ema: bool = True,
    replace: bool = False,
) -> Conversion:
    """Read a checkpoint of any format and write a safetensors file.

    Args:
        source: What `maxvit.load_model` reads.
        target: The file to write, ending in .safetensors.
        to: "native": our own format, which loses nothing. "timm": what timm's network loads strictly, without
            preprocessing and class names, and with bias tables of the windows' size.
        image_size: Scale windows to this size first; for official files, which do not say what they were made for.
        name: The published checkpoint that it is, such as "in1k-384", instead of `image_size`.
        ema: The averaged weights of an official checkpoint; False: the raw ones.
        replace: Whether `target` may exist.

    Raises:
        MaxViTError: If `source` cannot be read, `target` cannot be written, or timm has no such network.
    """
    check_known("format", [to], ["native", "timm"])
    if name is not None:
        image_size = _resolution(source, name, image_size)
    if target.suffix != ".safetensors":
        raise MaxViTError(f"{target} does not end in .safetensors: name it {target.with_suffix('.safetensors')}")
    if target.exists() and not replace:
        raise MaxViTError(f"{target} exists already: choose another name, or replace it with --force")
    model = load_model(source, image_size=image_size, ema=ema)
    if to == "timm":
        if reason := network_change(model, "stem", "stages"):
            raise MaxViTError(f"{reason}: timm's network would compute something else; keep it in our format")
        loads_with, lost = save_for_timm(model, target), _lost(model.config)
    else:
        lost = None
        model.save(target)
        loads_with = f"maxvit.load_model({str(target)!r})"
    return Conversion(
        source=str(model.provenance.get("converted_from", f"maxvit {Path(source).name}")),
        variant=variant_name(model.config),
        config=model.config,
        assumed=model.provenance.get("assumed"),
        lost=lost,
        parameters=sum(p.numel() for p in model.parameters()),
        loads_with=loads_with,
    )


def _lost(config: MaxViTConfig) -> str | None:
    """What timm's files have no place for; one class of many is what anybody takes the outputs for."""
    if not config.multi_label:
        lost = ["the thresholds of sets of classes"] * bool(config.set_thresholds)
        lost += ["the score for images of none of the classes"] * bool(config.novelty_centres)
        if config.temperature != 1:
            lost.append(f"the temperature: divide the outputs by {config.temperature:.4g} before a softmax")
        return f"timm's files do not hold {', nor '.join(lost)}" if lost else None
    return (
        "timm's files do not hold what the outputs mean: take the sigmoid of each, not a softmax over all; a class is "
        f"predicted from {config.threshold:.3g} up"
    )


def _resolution(source: str | Path, name: str, image_size: int | Size | None) -> int:
    """Resolution of the published checkpoints with this name."""
    if not is_checkpoint(Path(source)):
        raise MaxViTError(f"{source} says its image size itself; a name is for official TensorFlow checkpoints")
    if image_size is not None:
        raise MaxViTError(f"{name} says the image size, and {image_size} was given too: leave one of them out")
    resolutions = {row.tag: row.resolution for row in PUBLISHED}
    check_known("published checkpoint", [name], resolutions)
    return resolutions[name]
