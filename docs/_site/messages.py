"""Every message of an error, taken from the source and put into docs/troubleshooting.md: a hook of mkdocs.

A message is written as it stands in the source, with a word in capitals for what is filled in: "RUN exists already".
"""

import ast
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

SOURCE = Path(__file__).parents[2] / "src" / "maxvit"
MARK = "<!-- messages -->"
ERRORS = {  # which argument says it; not all are seen as they are: some become a part of another message
    "MaxViTError": 0,
    "KernelsUnavailable": 0,
    "Failure": 0,
    "Unfit": 0,
    "UnidentifiedImageError": 0,
    "ServerError": 0,
    "Refusal": 1,
    "ValueError": 0,  # of settings that are checked one by one
}
METHODS = ("partition", "splitlines", "split", "with_suffix", "format", "resolve", "lower")  # whose value is one's own
BEFORE = {"Unfit": "FILE ", "UnidentifiedImageError": "FILE is "}  # what is put before such a part
MOST = 12  # wordings of one message that are told apart
AREAS = {  # heading: the rooms whose messages stand below it
    "Commands and their options": ("cli", "errors"),
    "Images, folders and lists": ("data",),
    "Shards": ("data/shards",),
    "Images drawn from formulas": ("data/formulas",),
    "maxvit check": ("checking",),
    "Training": ("training", "tasks/task", "tasks/pieces", "tasks/__init__", "tasks/network"),
    "Classification": ("tasks/classification",),
    "Segmentation": ("tasks/segmentation", "tasks/voc_lists"),
    "Detection": ("tasks/detection",),
    "Aesthetics": ("tasks/aesthetics", "tasks/image_numbers", "tasks/histograms"),
    "Regression": ("tasks/regression",),
    "Pre-training without labels": ("tasks/masked",),
    "Weights and checkpoints": (
        "checkpoints",
        "hub",
        "storage",
        "saving",
        "description",
        "conversion",
        "signatures",
        "versions",
    ),
    "Networks and layers": ("model", "create", "config", "adjusting", "timm_names", "layers", "summary"),
    "Prediction and evaluation": ("inference",),
    "Explanations": ("explain",),
    "Export": ("export",),
    "Serving": ("serve",),
    "Search by example": ("search",),
    "Use with other libraries": ("integrations",),
    "Kernels": ("kernels",),
    "Reports, plans and benchmarks": ("report", "plan", "benchmark"),
}


class Message(NamedTuple):
    """One message.

    Attributes:
        file: Where it is in the source, below the package.
        line: Of the file.
        text: With a word in capitals for each value.
    """

    file: str
    line: int
    text: str


@functools.cache
def messages() -> list[Message]:
    """All messages of the source that have words of their own."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        constants = _assigned(module.body)
        name = path.relative_to(SOURCE).as_posix()
        for call, known in _raised(module, constants):
            for text in _wordings(call.args[ERRORS[call.func.id]], known):
                if re.search("[a-z]{2,} .*[a-z]{2,}", text):
                    before = BEFORE.get(call.func.id, "")
                    found.append(Message(name, call.lineno, before + " ".join(text.split())))
    return list(dict.fromkeys(found))


def area_of(file: str) -> str:
    """The heading under which messages of a file stand: that of the longest room it lies in."""
    rooms = {room: heading for heading, several in AREAS.items() for room in several}
    fitting = [room for room in rooms if file.startswith((f"{room}/", f"{room}."))]
    if not fitting:
        raise KeyError(f"{file} has messages and is in no area: add it to AREAS in {Path(__file__).name}")
    return rooms[max(fitting, key=len)]


def as_markdown() -> str:
    """A list of the messages of each area, in alphabetical order."""
    by_area: dict[str, set[str]] = {heading: set() for heading in AREAS}
    for message in messages():
        by_area[area_of(message.file)].add(message.text)
    sections = []
    for heading, texts in by_area.items():
        items = [f"- {_code(text)}" for text in sorted(texts, key=str.lower)]
        sections.append("\n".join([f"### {heading}", "", *items, ""]))
    return "\n".join(sections)


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Replace the mark by the messages."""
    return markdown.replace(MARK, as_markdown()) if MARK in markdown else markdown


def _code(text: str) -> str:
    """As code in Markdown, whatever marks are in it."""
    ticks = "``" if "`" in text else "`"
    return f"{ticks} {text} {ticks}" if ticks == "``" else f"`{text}`"


def _raised(module: ast.Module, constants: Mapping[str, ast.expr]) -> Iterator[tuple[ast.Call, dict[str, ast.expr]]]:
    """Each error that is made, with the values of names where it is."""
    owned = set()
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            known = {**constants, **_assigned(function.body)}
            for call in ast.walk(function):
                if _is_error(call) and id(call) not in owned:
                    owned.add(id(call))
                    yield call, known  # type: ignore[misc]


def _is_error(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return False
    return len(node.args) > ERRORS.get(node.func.id, len(node.args))


def _assigned(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """What names stand for, where they are texts that are assigned once."""
    found: dict[str, list[ast.expr]] = {}
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
    texts = ast.Constant, ast.JoinedStr, ast.IfExp, ast.BinOp
    return {name: values[0] for name, values in found.items() if len(values) == 1 and isinstance(values[0], texts)}


def _wordings(node: ast.expr, known: Mapping[str, ast.expr]) -> list[str]:
    """What an expression may say, with a word in capitals for each value in it."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = [_wordings(part, known) for part in node.values]
        for (before, _), (part, value) in itertools.pairwise(zip(parts, node.values, strict=True)):
            if isinstance(value, ast.FormattedValue) and before[0][-1:].isalpha() and part[0].isupper():
                part[:] = [" ..."]  # what follows a word without a blank may be missing
        return _joined(parts)
    if isinstance(node, ast.FormattedValue):
        return _wordings(node.value, known)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and (_is_text(node.left) or _is_text(node.right)):
        return _joined([_wordings(node.left, known), _wordings(node.right, known)])
    if isinstance(node, ast.IfExp):
        return list(dict.fromkeys(_wordings(node.body, known) + _wordings(node.orelse, known)))[:MOST]
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and _is_text(node.values[-1]):
        return list(dict.fromkeys(text for value in node.values for text in _wordings(value, known)))[:MOST]
    if isinstance(node, ast.Name) and node.id in known and _is_text(known[node.id]):
        return _wordings(known[node.id], {name: value for name, value in known.items() if name != node.id})
    return [_word(node)]


def _joined(parts: list[list[str]]) -> list[str]:
    return list(dict.fromkeys("".join(texts) for texts in itertools.islice(itertools.product(*parts), MOST)))


def _is_text(node: ast.expr) -> bool:
    """Whether it says something, and is no number."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and _is_text(node.left))


def _word(node: ast.expr) -> str:
    """A word in capitals for a value."""
    if isinstance(node, ast.Name):
        return "REASON" if node.id in ("error", "problem", "reason") else node.id.strip("_").upper()
    if isinstance(node, ast.Attribute):
        if node.attr == "__name__":
            return "TYPE"
        return "REASON" if node.attr == "strerror" else node.attr.strip("_").upper()
    if isinstance(node, ast.Subscript | ast.Starred):
        return _word(node.value)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in ("len", "min", "max", "sum", "int", "round"):
            return "NUMBER"
        if isinstance(node.func, ast.Name) and node.func.id in ("str", "tuple", "list", "sorted", "type") and node.args:
            return _word(node.args[0])
        if isinstance(node.func, ast.Attribute) and node.func.attr == "join" and node.args:
            return _word(node.args[0])
        if isinstance(node.func, ast.Name) and node.func.id == "getattr":
            return "VALUE"
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            return _word(node.func.value)
        return re.sub("^(SAY|NAME|CALL)_", "", _word(node.func))
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return "LIST"
    if isinstance(node, ast.BinOp):
        return _word(node.left)
    if isinstance(node, ast.BoolOp):
        return _word(node.values[0])
    return "VALUE"
