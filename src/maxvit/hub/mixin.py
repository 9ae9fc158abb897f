"""`from_pretrained`, `save_pretrained` and `push_to_hub`, through huggingface_hub's own mixin and its hooks."""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import ModelCard, ModelHubMixin

from maxvit import storage
from maxvit.errors import MaxViTError
from maxvit.hub.card import model_card
from maxvit.hub.download import download, plain_errors
from maxvit.storage import CONFIG, WEIGHTS

COMMIT_MESSAGE = "MaxViT weights"


class HubModel(ModelHubMixin):
    """Methods of a network that has `save`, `load` and `metadata`.

    What the weights file says is the truth; the mixin's own habit of remembering constructor arguments, and of
    calling the constructor with what `config.json` holds, is switched off.
    """

    # not None, so that the mixin's __new__ stores nothing on instances
    _hub_mixin_config: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def save(self, path: str | Path) -> None:
        """Write one file."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read what `save` wrote."""
        raise NotImplementedError

    def metadata(self) -> dict[str, Any]:
        """What the file says of its tensors."""
        raise NotImplementedError

    def check_savable(self) -> None:
        """Refuse, by `MaxViTError`, what could not be read back."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no **kwargs, and no config.json needed
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a network that `save_pretrained` or `push_to_hub` wrote, in evaluation mode.

        Args:
            source: "owner/name" on the hub, or a folder (of a run too), or a file. Weights that other programs
                published are for `maxvit.create_model(name, pretrained=...)`.
            revision: A branch, tag or commit; None: main.
            token: For private repositories; None: the one that `hf auth login` stored.
            cache_dir: Another cache than the hub's own.
            local_files_only: Ask nobody, take the cached file.
            dtype: Type of the network, whatever the file's.

        Raises:
            MaxViTError: If it cannot be found, is damaged, or `maxvit` did not write it.
        """
        return cls._from_pretrained(
            model_id=str(source),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            dtype=dtype,
        )

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls,
        *,
        model_id: str,
        revision: str | None,
        token: str | None,
        cache_dir: str | Path | None,
        local_files_only: bool,
        dtype: torch.dtype,
    ) -> Self:
        """The mixin's hook for reading."""
        path = Path(model_id)
        if path.exists() or path.suffix == ".safetensors":
            return cls.load(path, dtype)
        return cls.load(download(model_id, WEIGHTS, revision, token, cache_dir, local_files_only), dtype)

    def _save_pretrained(self, save_directory: Path) -> None:
        """The mixin's hook for writing: weights, and a copy of their metadata."""
        self.save(save_directory / WEIGHTS)
        storage.write_text(save_directory / CONFIG, json.dumps(self.metadata(), indent=2) + "\n")

    def save_pretrained(  # type: ignore[override]  # no **kwargs
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        commit_message: str = COMMIT_MESSAGE,
        config: None = None,
        model_card_kwargs: dict[str, Any] | None = None,
    ) -> str | None:
        """Write a folder that `from_pretrained` reads: weights, a copy of their configuration, and a README.md.

        Args:
            save_directory: The folder; made if it does not exist.
            repo_id: "owner/name": for the README.md, and where to push; None: the name of the folder.
            push_to_hub: Also write it into that repository of the hub.
            private: As for `push_to_hub`, as are `token`, `branch`, `create_pr` and `commit_message`.
            config: Only None, which the library's own methods pass: config.json is a copy of what the weights say.
            model_card_kwargs: As for `generate_model_card`; None: `repo_id`, where it is given.

        Returns:
            The address of the commit, if it was pushed.

        Raises:
            MaxViTError: If the folder cannot be written, a configuration is given, or the hub refuses.
        """
        if config is not None:
            raise MaxViTError("config.json is a copy of what the weights file says of itself: leave config out")
        card = model_card_kwargs or ({"repo_id": repo_id} if repo_id else {})
        super().save_pretrained(save_directory, model_card_kwargs=card)
        if not push_to_hub:
            return None
        return self.push_to_hub(
            repo_id or Path(save_directory).name,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
            commit_message=commit_message,
        )

    def generate_model_card(self, repo_id: str = "owner/name") -> ModelCard:
        """The README.md that `save_pretrained` writes where there is none."""
        return ModelCard(model_card(self.metadata(), repo_id))

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        commit_message: str = COMMIT_MESSAGE,
    ) -> str:
        """Write the network into a repository of the hub, which is made if it does not exist.

        Args:
            repo_id: "owner/name".
            private: Whether a new repository is private; None: as your organisation has it.
            token: With the right to write; None: the one that `hf auth login` stored.
            branch: Where to; None: main.
            create_pr: Propose the change instead of making it.
            commit_message: Its title.

        Returns:
            The address of the commit.

        Raises:
            MaxViTError: If the hub refuses or cannot be reached, or the network cannot be saved.
        """
        self.check_savable()  # before there is a repository
        todo = f"{repo_id} is as it was: try again with a network, or write a folder with save_pretrained"
        with plain_errors(repo_id, WEIGHTS, todo):
            return str(
                super().push_to_hub(
                    repo_id,
                    private=private,
                    token=token,
                    branch=branch,
                    create_pr=create_pr,
                    commit_message=commit_message,
                    model_card_kwargs={"repo_id": repo_id},
                )
            )
