"""What stands for a checkpoint: a path, published weights by name, or a repository of the hub."""

import hashlib
import re
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from maxvit.checkpoints.published import PUBLISHED, PublishedWeights, fetch, find, find_by_their_name, published
from maxvit.checkpoints.tensorflow import is_checkpoint
from maxvit.config import VARIANTS
from maxvit.errors import MaxViTError
from maxvit.hub.download import download, sha256
from maxvit.storage import WEIGHTS, weight_files, weights_of

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".index")  # of files, not of names on the hub
_REPOSITORY = re.compile(r"(hf[-_]hub:)?(\w[\w.-]*/\w[\w.-]*)")


class Source(NamedTuple):
    """Where weights are.

    Attributes:
        path: On this machine, downloaded if need be.
        published: What is known of them, of published weights.
        address: Where they are from, in words; None: a path was given.
    """

    path: Path
    published: PublishedWeights | None = None
    address: str | None = None

    @property
    def side(self) -> int | None:
        """Side of the images that published weights were made for, which a file may not say; else None."""
        return self.published.resolution if self.published else None

    def sha256(self) -> str:
        """Digest of the content, whether it is one file, a folder, or several files with a common beginning."""
        files = weight_files(self.path)
        if not files[0].is_file():
            files = sorted(p for p in self.path.rglob("*") if p.is_file())
        files = files or sorted(p for p in self.path.parent.glob(f"{self.path.name}*") if p.is_file())
        return sha256(files[0]) if len(files) == 1 else hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()

    def default_name(self, ending: str) -> Path:
        """Where to write what is made of the weights: next to a file of one's own, else into this folder."""
        if not self.address:
            return weights_of(self.path).with_suffix(ending)
        row = self.published
        return Path(f"{f'{row.variant}-{row.tag}' if row else self.address.rpartition('/')[2]}{ending}")


def locate(given: str | Path, variant: str | None = None) -> Source:
    """Find a checkpoint; what is not on this machine is downloaded into the cache of the hub.

    Args:
        given: A path, which goes first where it exists. Or published weights: a variant ("maxvit_tiny": its
            ImageNet-1K weights), with a tag ("maxvit_tiny:in1k-384"), or a name of timm's or torchvision's. Or
            "owner/name", a repository of the Hugging Face Hub.
        variant: The one meant where a tag alone is given.

    Raises:
        MaxViTError: If a name is unknown or may mean several weights, or the download fails.
    """
    text, path = str(given), Path(given)
    if variant and text in published(variant):
        return published_source(find(variant, text))
    if path.exists() or is_checkpoint(path) or path.suffix in SUFFIXES:
        return Source(path)  # reading says where there is nothing
    if row := find_by_name(text):
        return published_source(row)
    repository = _REPOSITORY.fullmatch(text)
    if repository and not path.parent.is_dir():  # in a folder that is here, a path was meant
        return _from_hub(repository[2])
    if "/" in text or "\\" in text:
        return Source(path)
    if variant:
        tags = ", ".join(published(variant)) or "none is published"
        raise MaxViTError(
            f"no weights {text!r} of {variant} are known: choose a tag ({tags}), a path, or 'owner/name' on the hub"
        )
    near = get_close_matches(text.partition(":")[0], [row.variant for row in PUBLISHED], 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise MaxViTError(
        f"{text} is not a file or a folder here, nor the name of published weights: {hint}maxvit list --pretrained "
        "names them all"
    )


def _from_hub(repository: str) -> Source:
    try:
        path = download(repository, WEIGHTS)
    except MaxViTError as error:
        raise MaxViTError(f"{repository} is not a file or a folder here; as a repository: {error}") from error
    return Source(path, None, f"https://huggingface.co/{repository}")


def published_source(row: PublishedWeights) -> Source:
    """Published weights, downloaded if need be."""
    return Source(fetch(row), row, row.address)


def find_by_name(name: str) -> PublishedWeights | None:
    """Published weights by our name, with or without a tag, or by timm's or torchvision's; None: it is neither.

    Raises:
        MaxViTError: If the variant has no such weights, or the tag may mean several.
    """
    variant, has_tag, tag = name.partition(":")
    if variant in VARIANTS:
        return find(variant, _whole(variant, tag) if has_tag else True)
    known = {name for row in PUBLISHED for name in (row.their_name, row.their_name.partition(".")[0])}
    bare = re.sub(r"^(hf[-_]hub:)?(timm/)?", "", name)
    return find_by_their_name(bare) if bare in known else None


def _whole(variant: str, tag: str) -> str:
    """A tag, whose resolution may be left out where there is one."""
    meant = [known for known in published(variant) if known.rpartition("-")[0] == tag]
    if len(meant) > 1 and tag not in published(variant):
        raise MaxViTError(f"{variant}:{tag} may mean {', '.join(meant)}: give one of them")
    return meant[0] if len(meant) == 1 else tag
