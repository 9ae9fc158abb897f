"""Write files as the Hugging Face Hub's cache holds them."""

import hashlib
from pathlib import Path

REVISION = "0123456789" * 4


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
