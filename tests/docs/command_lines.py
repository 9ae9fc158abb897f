"""The commands in a block of a shell, and what can be asked of those that are not ours."""

import argparse
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import click
import typer
from fences import ROOT, Block

from maxvit.cli import app

EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OURS = typer.main.get_command(app)


class Command(NamedTuple):
    """One command of a block: where it is, its words, and the line as it stands there."""

    place: str
    words: list[str]
    line: str

    def __str__(self) -> str:
        return f"{self.place}: {self.line}"


def commands(block: Block) -> list[Command]:
    """Of a `console` block the lines behind a prompt; comments and the rest of a pipe are left out."""
    found, begun, start = [], "", 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        if block.language == "console" and not begun:
            if not line.startswith("$ "):
                continue  # what is printed
            line = line[2:]
        start = start if begun else number
        begun += line
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        found += [Command(f"{block.page}:{start}", words, begun) for words in _split(begun)]
        begun = ""
    return found


def _split(line: str) -> list[list[str]]:
    """The words of each command of a line, without redirections and variables that are set before it."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(reader)
    for word in words:
        if set(word) <= set("|&;"):
            found.append([])
        elif set(word) <= set("<>"):
            next(words)
        elif found[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
            found[-1].append(word)
    return [words for words in found if words]


def ours(words: list[str]) -> list[str] | None:
    """What follows `maxvit` in a command, also where torchrun or Python starts it; None: it is another."""
    if words[0] == "maxvit":
        return words[1:]
    if words[:3] == ["python", "-m", "maxvit"]:
        return words[3:]
    if words[0] == "torchrun" and words[(m := words.index("-m")) + 1] == "maxvit":
        return words[m + 2 :]
    return None


def parse(words: list[str]) -> click.Context:
    """Read the words as the command line does, in the folder where they are given. Raises what it would say."""
    given = [word for word in words if word != "..."]  # left to the reader
    context = OURS.make_context("maxvit", list(given), resilient_parsing=False)
    name, command, rest = OURS.resolve_command(context, [*context._protected_args, *context.args])
    return command.make_context(name, rest, parent=context)


def check_another(words: list[str]) -> None:
    """A command of another program: what it names exists, and our scripts take what they are given."""
    program, *rest = words
    assert program in _OTHERS, f"{program} is not known to the test: add it to tests/docs/command_lines.py"
    _OTHERS[program](rest)


def _pip(words: list[str]) -> None:
    assert words[0] == "install"
    for word in words[1:]:
        named = re.fullmatch(r"(?:maxvit|\.)\[([\w,-]+)\](?: @ .*)?", word)
        assert named is None or set(named[1].split(",")) <= EXTRAS, f"{word}: extras are {sorted(EXTRAS)}"


def _make(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word]
    assert set(targets) <= TARGETS, f"{targets}: targets are {sorted(TARGETS)}"


def _wandb(words: list[str]) -> None:
    assert words[0] == "sync"
    assert len(words) == 2


def _pre_commit(words: list[str]) -> None:
    assert words == ["install"]
    assert (ROOT / ".pre-commit-config.yaml").is_file()


class _Parsed(BaseException):
    """The arguments of a script are accepted."""


def _python(words: list[str]) -> None:
    if words[0] == "-m":
        assert words[1] in ("http.server", "pytest", "venv"), words
        assert words[1] != "pytest" or all((ROOT / word).exists() for word in words[2:] if not word.startswith("-"))
        return
    script = ROOT / words[0]
    assert script.is_file(), f"{words[0]} does not exist"
    if "ArgumentParser" in script.read_text():
        stop_after_reading(script, words[1:])


def stop_after_reading(script: Path, words: list[str]) -> None:
    """Run a script until its arguments are read."""
    real = argparse.ArgumentParser.parse_args

    def read(parser: argparse.ArgumentParser, *given: object) -> None:
        try:
            real(parser, words)
        except SystemExit as end:
            raise AssertionError(f"{script.name} {shlex.join(words)}: it ends with code {end.code}") from end
        raise _Parsed

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", read),
        mock.patch.object(sys, "path", [str(script.parent), *sys.path]),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except _Parsed:
            return
    raise AssertionError(f"{script.name} reads no arguments")


def _nothing(words: list[str]) -> None:
    """What is on the reader's machine: no more than words here."""


_OTHERS = {
    "pip": _pip,
    "make": _make,
    "pre-commit": _pre_commit,
    "python": _python,
    "python3": _python,
    "cd": _nothing,
    "docker": _nothing,
    "git": _nothing,
    "source": _nothing,
    "wandb": _wandb,
}
