"""The dated record that a script of this folder leaves: what it is, what was found, and on what machine."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from maxvit import storage
from maxvit.benchmark.machine import commit, describe_machine, today, versions


def write_note(
    out: Path,
    about: str,
    body: Sequence[str],
    command: Sequence[str],
    packages: Iterable[str] = (),
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write OUT.md.

    Args:
        out: Path without ending.
        about: The script's docstring: its first line is the title, the rest up to the command the introduction.
        body: Lines of Markdown.
        command: The script, and what followed it.
        packages: Whose versions matter, besides PyTorch.
        facts: What else to say at the end, by heading.

    Returns:
        The page.
    """
    title, _, introduction = about.split("    python", maxsplit=1)[0].strip().partition("\n")
    everything = {**(facts or {}), **circumstances(command, packages)}
    lines = [f"# {title.rstrip('.')}", introduction, "", *body, ""]
    lines += [f"- {heading}: {fact}" for heading, fact in everything.items()]
    path = out.with_name(f"{out.name}.md")
    storage.write_text(path, "\n".join(lines) + "\n")
    return path


def circumstances(command: Sequence[str], packages: Iterable[str] = (), threads: int | None = None) -> dict[str, str]:
    """Machine, versions, commit, command and date, by heading.

    Args:
        command: The script, and what followed it.
        packages: Whose versions matter, besides PyTorch.
        threads: Used to compute; None: PyTorch's.
    """
    return {
        **describe_machine("cpu", threads or torch.get_num_threads()),
        "versions": versions(["torch", *packages]),
        "commit": commit(),
        "command": f"`python {shlex.join(command)}`",
        "date": today(),
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are aligned to the right."""
    ruler = "|".join(["---", *["---:"] * (len(head) - 1)])
    return [f"| {' | '.join(head)} |", f"|{ruler}|", *(f"| {' | '.join(row)} |" for row in rows)]
