"""Write files as the Hugging Face Hub's cache holds them."""

import hashlib
from pathlib import Path

from maxvit import MaxViT, MaxViTConfig, storage
from maxvit.checkpoints.timm import to_timm

REVISION = "0123456789" * 4
REPOSITORY = "timm/maxvit_tiny_tf_224.in1k"


def put(cache: Path, repo_id: str, file: Path, content: bytes | None = None) -> Path:
    """Put a file into a repository of the cache, under its own name.

    Args:
        cache: The cache's folder.
        repo_id: "owner/name".
        file: What it holds and is called.
        content: What lies in the cache instead, under the checksum of `file`: a damaged download.

    Returns:
        The path that the hub's library gives out.
    """
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    blob = repo / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
    link = repo / "snapshots" / REVISION / file.name
    main = repo / "refs" / "main"
    for path in (blob, link, main):
        path.parent.mkdir(parents=True, exist_ok=True)
    main.write_text(REVISION)
    blob.write_bytes(file.read_bytes() if content is None else content)
    link.symlink_to(Path("../../blobs") / blob.name)
    return link


def put_published(cache: Path, folder: Path) -> Path:
    """Put a small network with ImageNet's classes where `maxvit_tiny` is kept; gives the file, in `folder`."""
    config = MaxViTConfig(stem_channels=4, channels=(8, 8, 12, 12), depths=(1, 1, 1, 1), head_dim=4)
    file = folder / "model.safetensors"
    storage.save(file, to_timm(MaxViT(config).state_dict(), config), {})
    put(cache, REPOSITORY, file)
    return file
