"""Every published MaxViT checkpoint that we read: where it is, what it scored, what it expects of an image.

timm hosts the official network's weights on the Hugging Face Hub, one repository each; torchvision has one file.
Top-1 on ImageNet-1K in per cent, as published: for 1K the official description, for 21K then 1K the paper's Table 3,
for torchvision its own metadata; none is published for the 21K checkpoints. Those learned by sigmoid, so that each of
their outputs answers for its class alone; the others by softmax.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from maxvit.config import (
    IMAGENET_21K,
    OFFICIAL,
    TORCHVISION,
    VARIANTS,
    MaxViTConfig,
    Preprocessing,
    Size,
    check_known,
)
from maxvit.errors import MaxViTError
from maxvit.hub.download import TIMEOUT_S, download, sha256

HALF = (0.5, 0.5, 0.5)


def timm_preprocessing(image_size: Size, classes: int) -> Preprocessing:
    """What timm's settings say: 95 % of the image at 224, the whole image squeezed to a square above.

    The 1K weights at 224 take ImageNet's mean and deviation, the others pixels scaled to -1..1.
    """
    if min(image_size) > 224:
        return Preprocessing(image_size=image_size, fit="squash", crop_pct=1.0, mean=HALF, std=HALF)
    if classes > 1000:  # ImageNet-21K
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
        tag: Its name among those of the variant: data, then resolution.
        place: A repository of the hub, or the folder of an https address.
        filename: The file in it.
        resolution: Side of the images in pixels.
        classes: 1000 of ImageNet-1K, or 21,843 of ImageNet-21K.
        top1: Published accuracy on ImageNet-1K in per cent, or None.
        preprocessing: What the weights expect of an image.
    """

    variant: str
    tag: str
    place: str
    filename: str
    resolution: int
    classes: int
    top1: float | None
    preprocessing: Preprocessing

    @property
    def is_on_hub(self) -> bool:
        """Whether `place` is a repository of the Hugging Face Hub."""
        return not self.place.startswith("https://")

    @property
    def their_name(self) -> str:
        """What timm or torchvision call these weights: "maxvit_tiny_tf_224.in1k", "maxvit_t"."""
        return self.place.removeprefix("timm/") if self.is_on_hub else self.filename.rpartition("-")[0]

    @property
    def config(self) -> MaxViTConfig:
        """The network that these weights are of: windows, bias tables and arithmetic are theirs."""
        resized = VARIANTS[self.variant].resized(self.resolution)
        arithmetic = OFFICIAL if self.is_on_hub else TORCHVISION
        return replace(
            resized,
            bias_table_size=None,
            num_classes=self.classes,
            multi_label=self.classes == IMAGENET_21K,
            arithmetic=arithmetic,
        )

    @property
    def address(self) -> str:
        """The web page of the repository, or the address of the file."""
        return f"https://huggingface.co/{self.place}" if self.is_on_hub else f"{self.place}/{self.filename}"


def _on_hub(size: str, data: str, resolution: int, top1: float | None) -> PublishedWeights:
    theirs = {"in1k": "in1k", "in21k": "in21k", "in21k-in1k": "in21k_ft_in1k"}[data]
    classes = IMAGENET_21K if data == "in21k" else 1000
    return PublishedWeights(
        variant=f"maxvit_{size}",
        tag=f"{data}-{resolution}",
        place=f"timm/maxvit_{size}_tf_{resolution}.{theirs}",
        filename="model.safetensors",
        resolution=resolution,
        classes=classes,
        top1=top1,
        preprocessing=timm_preprocessing((resolution, resolution), classes),
    )


PUBLISHED: tuple[PublishedWeights, ...] = (
    _on_hub("tiny", "in1k", 224, 83.62),
    _on_hub("tiny", "in1k", 384, 85.24),
    _on_hub("tiny", "in1k", 512, 85.72),
    PublishedWeights(
        variant="maxvit_tiny",
        tag="torchvision-in1k-224",
        place="https://download.pytorch.org/models",
        filename="maxvit_t-bc5ab103.pth",
        resolution=224,
        classes=1000,
        top1=83.7,
        preprocessing=torchvision_preprocessing((224, 224)),
    ),
    _on_hub("small", "in1k", 224, 84.45),
    _on_hub("small", "in1k", 384, 85.74),
    _on_hub("small", "in1k", 512, 86.19),
    _on_hub("base", "in1k", 224, 84.95),
    _on_hub("base", "in1k", 384, 86.34),
    _on_hub("base", "in1k", 512, 86.66),
    _on_hub("base", "in21k", 224, None),
    _on_hub("base", "in21k-in1k", 384, 88.24),
    _on_hub("base", "in21k-in1k", 512, 88.38),
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


def published(variant: str) -> dict[str, PublishedWeights]:
    """A variant's checkpoints by tag; the first is its default, which has ImageNet-1K's classes."""
    return {row.tag: row for row in PUBLISHED if row.variant == variant}


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


_THEIRS = {name: row for row in reversed(PUBLISHED) for name in (row.their_name.partition(".")[0], row.their_name)}


def find_by_their_name(name: str) -> PublishedWeights:
    """Look up what timm or torchvision call so; where timm's name has no data in it ("maxvit_base_tf_384"), the first.

    Args:
        name: None of our own.

    Raises:
        MaxViTError: If it is none of the official networks.
    """
    bare = re.sub(r"^(hf[-_]hub:)?(timm/)?", "", name)
    if re.search("_(rw|rmlp|pm)_|^(maxxvit|coat)", bare):
        official = ", ".join(dict.fromkeys(row.variant for row in PUBLISHED))
        raise MaxViTError(f"{bare} is a network of timm's own, which is not read; the official ones are {official}")
    if bare not in _THEIRS:
        check_known("model", [name], _THEIRS if "_tf_" in bare else VARIANTS)
    return _THEIRS[bare]


def fetch(row: PublishedWeights) -> Path:
    """Find a checkpoint in the cache of the hub (or of torch.hub), or download it; verify it.

    Raises:
        MaxViTError: If it cannot be downloaded, or is damaged.
    """
    return download(row.place, row.filename) if row.is_on_hub else _fetch_url(row)


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
