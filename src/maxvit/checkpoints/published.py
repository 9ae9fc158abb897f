"""Every published MaxViT checkpoint that we read: where it is, what it scored, what it expects of an image.

timm hosts the official network's weights and its own on the Hugging Face Hub, one repository each; torchvision has one
file. One comes with the package: `maxvit_micro`, which has learned from formulas (recipe `formulas`). Top-1 on
ImageNet-1K in per cent, as published: for 1K the official description, for 21K then 1K the paper's Table 3, for
torchvision its own metadata, for timm's own networks its table of results; none is published for the 12K and 21K
checkpoints. The latter learned by sigmoid, so that each of their outputs answers for its class alone; the others by
softmax.
"""

import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from maxvit.config import (
    DIALECTS,
    IMAGENET_21K,
    OFFICIAL,
    VARIANTS,
    Dialect,
    MaxViTConfig,
    Preprocessing,
    Size,
    check_known,
    variant_name,
)
from maxvit.errors import MaxViTError
from maxvit.hub.download import TIMEOUT_S, download, sha256

HALF = (0.5, 0.5, 0.5)
IMAGENET_12K = 11_821  # classes: those of ImageNet-22K with the most images, as timm has them
PACKAGE = "the package"  # in place of a repository


def timm_preprocessing(image_size: Size, classes: int, dialect: Dialect = OFFICIAL) -> Preprocessing:
    """What timm's settings say: 95 % of the image up to 256, the whole image squeezed to a square above.

    The official 1K weights at 224 take ImageNet's mean and deviation, the others pixels scaled to -1..1.
    """
    if min(image_size) > 256:
        return Preprocessing(image_size=image_size, fit="squash", crop_pct=1.0, mean=HALF, std=HALF)
    if classes > 1000 or dialect != OFFICIAL or min(image_size) > 224:
        return Preprocessing(image_size=image_size, crop_pct=0.95, mean=HALF, std=HALF)
    return Preprocessing(image_size=image_size, crop_pct=0.95)


def torchvision_preprocessing(image_size: Size) -> Preprocessing:
    """What torchvision's weights say: resize the short side, then the centre."""
    return Preprocessing(image_size=image_size, crop_pct=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedWeights:
    """One checkpoint.

    Attributes:
        variant: Our name of the network, such as "maxvit_tiny".
        dialect: Dialect of the network, one of `maxvit.config.DIALECTS`.
        tag: Its name among those of the variant: data, then resolution, after the name of the dialect if it needs one.
        place: A repository of the hub, the folder of an https address, or `PACKAGE`.
        filename: The file in it.
        resolution: Side of the images in pixels.
        classes: 1000 of ImageNet-1K, 11,821 of ImageNet-12K, 21,843 of ImageNet-21K; 0: it has no classifier.
        top1: Published accuracy on ImageNet-1K in per cent, or None.
        preprocessing: What the weights expect of an image.
        stem_hidden_channels: As `MaxViTConfig` has it.
    """

    variant: str
    dialect: str = "official"
    tag: str
    place: str
    filename: str
    resolution: int
    classes: int
    top1: float | None
    preprocessing: Preprocessing
    stem_hidden_channels: int | None = None

    @property
    def is_on_hub(self) -> bool:
        """Whether `place` is a repository of the Hugging Face Hub."""
        return not (self.place.startswith("https://") or self.is_shipped)

    @property
    def is_shipped(self) -> bool:
        """Whether the file comes with the package."""
        return self.place == PACKAGE

    @property
    def their_name(self) -> str:
        """What timm or torchvision call these weights: "maxvit_tiny_tf_224.in1k", "maxvit_t"."""
        return self.place.removeprefix("timm/") if self.is_on_hub else self.filename.rpartition("-")[0]

    @property
    def config(self) -> MaxViTConfig:
        """The network that these weights are of: windows, bias tables and dialect are theirs."""
        if self.is_shipped:
            side = self.resolution
            return replace(VARIANTS[self.variant], num_classes=self.classes, image_size=(side, side))
        return replace(
            VARIANTS[self.variant].resized(self.resolution),
            stem_hidden_channels=self.stem_hidden_channels,
            bias_table_size=None,
            num_classes=self.classes,
            multi_label=self.classes == IMAGENET_21K,
            dialect=DIALECTS[self.dialect],
        )

    @property
    def address(self) -> str:
        """The web page of the repository, the address of the file, or that it comes with the package."""
        if self.is_shipped:
            return f"comes with {self.place}"
        return f"https://huggingface.co/{self.place}" if self.is_on_hub else f"{self.place}/{self.filename}"


def _on_hub(size: str, data: str, resolution: int, top1: float | None) -> PublishedWeights:
    """A row of the official weights."""
    theirs = {"in1k": "in1k", "in21k": "in21k", "in21k-in1k": "in21k_ft_in1k"}[data]
    classes = IMAGENET_21K if data == "in21k" else 1000
    name = f"maxvit_{size}_tf_{resolution}.{theirs}"
    return _of_timm(f"maxvit_{size}", "official", data, name, top1, classes, stem=None)


def _of_timm(
    variant: str,
    dialect: str,
    tag: str,
    theirs: str,
    top1: float | None,
    classes: int = 1000,
    crop_pct: float | None = None,
    stem: int | None = 32,
) -> PublishedWeights:
    """A row of timm's; `theirs` is timm's name of the weights, "...NETWORK_RESOLUTION.DATA"."""
    resolution = int(theirs.partition(".")[0].rpartition("_")[2])
    preprocessing = timm_preprocessing((resolution, resolution), classes, DIALECTS[dialect])
    return PublishedWeights(
        variant=variant,
        dialect=dialect,
        tag=f"{tag}-{resolution}",
        place=f"timm/{theirs}",
        filename="model.safetensors",
        resolution=resolution,
        classes=classes,
        top1=top1,
        preprocessing=replace(preprocessing, crop_pct=crop_pct) if crop_pct else preprocessing,
        stem_hidden_channels=stem,
    )


PUBLISHED: tuple[PublishedWeights, ...] = (
    PublishedWeights(
        variant="maxvit_micro",
        tag="formulas-32",
        place=PACKAGE,
        filename="maxvit_micro-94d8b829.safetensors",
        resolution=32,
        classes=0,
        top1=None,
        preprocessing=Preprocessing(image_size=(32, 32), crop_pct=1.0, mean=HALF, std=HALF),
    ),
    _of_timm("maxvit_pico", "timm_rmlp", "rmlp-in1k", "maxvit_rmlp_pico_rw_256.sw_in1k", 80.55, stem=24),
    _of_timm("maxvit_nano", "timm_rmlp", "rmlp-in1k", "maxvit_rmlp_nano_rw_256.sw_in1k", 82.98),
    _of_timm("maxvit_nano", "timm_rw", "rw-in1k", "maxvit_nano_rw_256.sw_in1k", 82.93),
    _on_hub("tiny", "in1k", 224, 83.62),
    _on_hub("tiny", "in1k", 384, 85.24),
    _on_hub("tiny", "in1k", 512, 85.72),
    PublishedWeights(
        variant="maxvit_tiny",
        dialect="torchvision",
        tag="torchvision-in1k-224",
        place="https://download.pytorch.org/models",
        filename="maxvit_t-bc5ab103.pth",
        resolution=224,
        classes=1000,
        top1=83.7,
        preprocessing=torchvision_preprocessing((224, 224)),
    ),
    _of_timm("maxvit_tiny", "timm_rw", "rw-in1k", "maxvit_tiny_rw_224.sw_in1k", 83.52),
    _of_timm("maxvit_tiny", "timm_rmlp", "rmlp-in1k", "maxvit_rmlp_tiny_rw_256.sw_in1k", 84.23),
    _on_hub("small", "in1k", 224, 84.45),
    _on_hub("small", "in1k", 384, 85.74),
    _on_hub("small", "in1k", 512, 86.19),
    _of_timm("maxvit_small", "timm_rmlp_small", "rmlp-in1k", "maxvit_rmlp_small_rw_224.sw_in1k", 84.49, crop_pct=0.9),
    _on_hub("base", "in1k", 224, 84.95),
    _on_hub("base", "in1k", 384, 86.34),
    _on_hub("base", "in1k", 512, 86.66),
    _on_hub("base", "in21k", 224, None),
    _on_hub("base", "in21k-in1k", 384, 88.24),
    _on_hub("base", "in21k-in1k", 512, 88.38),
    _of_timm("maxvit_base", "timm_rmlp_base", "rmlp-in12k-in1k", "maxvit_rmlp_base_rw_224.sw_in12k_ft_in1k", 86.91),
    _of_timm("maxvit_base", "timm_rmlp_base", "rmlp-in12k-in1k", "maxvit_rmlp_base_rw_384.sw_in12k_ft_in1k", 87.81),
    _of_timm(
        "maxvit_base", "timm_rmlp_base", "rmlp-in12k", "maxvit_rmlp_base_rw_224.sw_in12k", None, classes=IMAGENET_12K
    ),
    _on_hub("large", "in1k", 224, 85.17),
    _on_hub("large", "in1k", 384, 86.40),
    _on_hub("large", "in1k", 512, 86.70),
    _on_hub("large", "in21k", 224, None),
    _on_hub("large", "in21k-in1k", 384, 88.32),
    _on_hub("large", "in21k-in1k", 512, 88.46),
    _on_hub("xlarge", "in21k-in1k", 384, 88.51),
    _on_hub("xlarge", "in21k-in1k", 512, 88.70),
    _on_hub("xlarge", "in21k", 224, None),
)
# Networks that timm has a name for, and of which no weights are published.
UNPUBLISHED: tuple[PublishedWeights, ...] = (
    _of_timm("maxvit_pico", "timm_rw", "rw", "maxvit_pico_rw_256", None, stem=24),
    _of_timm("maxvit_tiny", "timm_rw", "rw", "maxvit_tiny_rw_256", None),
    _of_timm("maxvit_tiny", "timm_pm", "pm", "maxvit_tiny_pm_256", None),
    _of_timm("maxvit_small", "timm_rmlp_small", "rmlp", "maxvit_rmlp_small_rw_256", None),
)


def published(variant: str) -> dict[str, PublishedWeights]:
    """A variant's checkpoints by tag; the first is its default, which has ImageNet-1K's classes."""
    return {row.tag: row for row in PUBLISHED if row.variant == variant}


def shipped(variant: str) -> str | None:
    """The tag of a variant's weights that come with the package; None: there are none."""
    return next((row.tag for row in published(variant).values() if row.is_shipped), None)


def find(variant: str, tag: str | bool = True) -> PublishedWeights:
    """Look a checkpoint up.

    Args:
        variant: Such as "maxvit_tiny".
        tag: Such as "in1k-384"; True: the default, ImageNet-1K at the smallest resolution that there is.

    Raises:
        MaxViTError: If there is none; those that exist are named.
    """
    rows = published(variant)
    if not rows:
        known = ", ".join(dict.fromkeys(row.variant for row in PUBLISHED))
        raise MaxViTError(f"no weights of {variant} are published; there are some of {known}")
    if tag is True:
        return next(iter(rows.values()))
    if tag not in rows:
        raise MaxViTError(f"no weights {tag!r} of {variant} are published; there are {', '.join(rows)}")
    return rows[str(tag)]


def of_timm(config: MaxViTConfig) -> list[PublishedWeights]:
    """The networks that timm has a name for, with the blocks of this one and in its dialect; weights or not."""
    variant, stem, dialect = variant_name(config), config.stem_hidden_channels, config.dialect
    rows = [row for row in (*PUBLISHED, *UNPUBLISHED) if row.is_on_hub and row.variant == variant]
    return [row for row in rows if row.stem_hidden_channels == stem and DIALECTS[row.dialect] == dialect]


_THEIRS = {
    name: row
    for row in reversed((*PUBLISHED, *UNPUBLISHED))
    if not row.is_shipped
    for name in (row.their_name.partition(".")[0], row.their_name)
}


def find_by_their_name(name: str) -> PublishedWeights:
    """Look up what timm or torchvision call so; where timm's name has no data in it ("maxvit_base_tf_384"), the first.

    Args:
        name: None of our own.

    Raises:
        MaxViTError: If it is no MaxViT.
    """
    bare = re.sub(r"^(hf[-_]hub:)?(timm/)?", "", name)
    if re.match("maxxvit|coat", bare):
        known = ", ".join(dict.fromkeys(row.variant for row in PUBLISHED))
        raise MaxViTError(f"{bare} is another architecture, not a MaxViT; those are {known}")
    if bare not in _THEIRS:
        check_known("model", [name], _THEIRS if re.search("_(tf|rw|pm)_", bare) else VARIANTS)
    return _THEIRS[bare]


def fetch(row: PublishedWeights) -> Path:
    """Find a checkpoint in the package or the cache of the hub (or of torch.hub), or download it; verify it.

    Raises:
        MaxViTError: If it cannot be downloaded, or is damaged.
    """
    if row.is_shipped:
        return _find_shipped(row)
    return download(row.place, row.filename) if row.is_on_hub else _fetch_url(row)


def _find_shipped(row: PublishedWeights) -> Path:
    path = Path(str(resources.files("maxvit") / "weights" / row.filename))
    digits = path.stem.rpartition("-")[2]
    if not path.is_file() or not sha256(path).startswith(digits):
        state = "is damaged" if path.is_file() else "is missing"
        raise MaxViTError(f"{path}, which comes with the package, {state}: install maxvit again")
    return path


def _fetch_url(row: PublishedWeights) -> Path:
    """A file whose name ends in the first digits of its SHA-256, as torch.hub has it."""
    from urllib.request import Request, urlopen

    from torch import hub

    path = Path(hub.get_dir()) / "checkpoints" / row.filename
    digits = path.stem.rpartition("-")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            urlopen(Request(row.address, method="HEAD"), timeout=TIMEOUT_S).close()  # torch.hub would wait for ever
            hub.download_url_to_file(row.address, str(path), hash_prefix=digits)
        except OSError as error:  # also what urllib raises
            reason = getattr(error, "reason", None) or error
            raise MaxViTError(
                f"{row.address} cannot be downloaded ({reason}): get it elsewhere and copy it to {path}, or pass the "
                "path where you put it instead of the name"
            ) from error
        except RuntimeError as error:
            raise MaxViTError(f"{row.address} arrived damaged ({error}): try again") from error
    if not sha256(path).startswith(digits):
        raise MaxViTError(
            f"{path} is damaged (its SHA-256 does not begin with {digits}): delete it, and it is downloaded again"
        )
    return path
