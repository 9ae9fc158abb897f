"""One file from the Hugging Face Hub: out of its cache, or downloaded; every failure as one sentence."""

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxvit.errors import MaxViTError

TIMEOUT_S = 5.0  # for the hub's first answer; the transfer itself takes as long as it takes
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def download(
    repo_id: str,
    filename: str,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Find a file in the hub's cache or download it, and verify it.

    With a network, the hub is asked whether there is a newer version; without one, the cached file is taken.

    Args:
        repo_id: "owner/name".
        filename: The file in it.
        revision: A branch, tag or commit; None: main.
        token: For private repositories; None: the one that `hf auth login` stored.
        cache_dir: Another cache than the hub's own (HF_HUB_CACHE).
        local_files_only: Ask nobody, take the cached file.

    Raises:
        MaxViTError: If there is no such repository or file, no access, no connection, or the file is damaged.
    """
    import huggingface_hub as hub

    cache = cache_dir or hub.constants.HF_HUB_CACHE
    todo = (
        f"{filename} of {repo_id} is not in its cache ({cache}): download "
        f"https://huggingface.co/{repo_id}/resolve/{revision or 'main'}/{filename} elsewhere, copy it here and pass "
        "its path instead of the name"
    )
    with plain_errors(repo_id, filename, todo):
        if not local_files_only:
            _ask(repo_id, filename, revision, token, cache_dir)
        path = hub.hf_hub_download(
            repo_id,
            filename,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            etag_timeout=TIMEOUT_S,
        )
    _verify(Path(path))
    return Path(path)


def look_for(repo_id: str, filename: str) -> None:
    """See whether `download` would find a file, without downloading it. Raises `MaxViTError` where it would not."""
    with plain_errors(repo_id, filename, f"{filename} of {repo_id} is not in its cache"):
        cached = _ask(repo_id, filename)
    if cached is not None:
        _verify(cached)


def _ask(
    repo_id: str,
    filename: str,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
) -> Path | None:
    """The file in the cache; None: it is not there, and the hub has it, as far as it answers.

    `hf_hub_download` would repeat a first request for minutes.
    """
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repo_id, filename, cache_dir=cache_dir, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    url = hub.hf_hub_url(repo_id, filename, revision=revision)
    hub.get_hf_file_metadata(url, token=token, timeout=TIMEOUT_S)
    return None


def _verify(path: Path) -> None:
    """The cache names large files by their SHA-256."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256(blob) != blob.name:
        raise MaxViTError(
            f"{path} is damaged (its SHA-256 is not the published one): delete {blob}, and it is downloaded again"
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def plain_errors(repo_id: str, filename: str, unreachable: str) -> Iterator[None]:
    """Turn what the hub's library raises into one sentence that says what to do.

    Args:
        repo_id: "owner/name".
        filename: The file that is wanted or written.
        unreachable: What is the case, and what to do, if there is no connection.

    Raises:
        MaxViTError: For every error of the hub, the connection or the disk.
    """
    from huggingface_hub import errors

    page = f"https://huggingface.co/{repo_id}"
    try:
        yield
    except errors.HFValidationError as error:
        raise MaxViTError(f"{repo_id!r} is not a name on the hub, which look like 'owner/name'") from error
    except errors.GatedRepoError as error:
        raise MaxViTError(f"{repo_id} has terms to accept first: visit {page}, then run: hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise MaxViTError(
            f"the hub has no repository {repo_id!r}, or it is private: check the name, or run: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MaxViTError(f"{repo_id} has no such revision: see {page}/commits/main") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise MaxViTError(f"the hub cannot be reached ({_reason(error)}), and {unreachable}") from error
    except errors.EntryNotFoundError as error:
        raise MaxViTError(f"{repo_id} holds no file {filename}: see {page}/tree/main") from error
    except errors.LocalTokenNotFoundError as error:
        raise MaxViTError(f"the hub wants to know who you are for {repo_id}: run: hf auth login") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        todo = "run: hf auth login" if status in (401, 403) else "try again later"
        raise MaxViTError(f"the hub answered {status} for {repo_id}: {todo}") from error
    # httpx's connection errors are HTTPErrors, those of requests OSErrors
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]
        if getattr(error, "errno", None) in _DISK:
            raise MaxViTError(f"cannot write {filename} of {repo_id} to disk: {error}; make room for it") from error
        raise MaxViTError(f"the hub cannot be reached ({_reason(error)}), and {unreachable}") from error


def _reason(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if error.__cause__ is None and "LocalEntry" in type(error).__name__:
        return "local_files_only was asked for"
    return type(error.__cause__ or error).__name__
