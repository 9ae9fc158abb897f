"""Every block of code in the pages: Python and commands run, settings are settings, and what is not run says why.

A page's blocks run one after another in one folder and one namespace, with networks, data sets and files that are small
(samples.py). In `make test` a training reads its recipe and stops there, and what takes longer than a moment is read by
the command line alone; `make test-full` runs all. A new page is found by itself. Where it names a file or a run that is
not known, add it to `Samples.makers`; where a block cannot run, add it to `NOT_RUN` with the reason.
"""

import ast
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml
from command_lines import Command, check_another, commands, ours, parse
from fences import BLOCKS, ROOT, Block
from samples import Samples, fill_hub, narrow_variants, shrink, variants

import maxvit
from listening import listening
from maxvit import storage
from maxvit.cli import main
from maxvit.inference.predictor import Predictor
from maxvit.serve.app import create_app
from maxvit.serve.process import bind
from maxvit.tasks import list_tasks
from maxvit.tasks.classification.conformal import COVERAGES
from maxvit.training import run as runs
from maxvit.training.recipe import Recipe, list_recipes, load_recipe
from maxvit.training.setup import channels_of, load_data, make_network

COUNTING = "examples.counting_task"
LANGUAGES = {
    "python": "runs",
    "sh": "runs",
    "console": "the lines behind $ run",
    "yaml": "is a recipe, or sections of one",
    "json": "is read",
    "powershell": "is not run: it is for Windows",
    "text": "is not run: what a command prints, or a list of files",
}
SHELL = ("sh", "console")
# page and first line of blocks that are not run, and why
NOT_RUN = {
    ("docs/ecosystem.md", "import torch.nn.functional as F"): "trains on data of the reader; tests/integrations does",
    ("docs/predicting.md", "import ray"): "needs Ray and a bucket; tests/test_examples.py runs examples/ray_predict.py",
    (
        "docs/export.md",
        "maxvit export best.safetensors --to executorch  # best.pte, on XNNPACK",
    ): "needs executorch too",
    ("docs/export.md", "from executorch.runtime import Runtime"): "needs executorch; tests/export/test_executorch.py",
    ("docs/export.md", "import coremltools"): "needs coremltools, which runs what it writes on macOS alone",
    ("docs/gpu.md", "model = model.cuda()"): "needs a GPU; tests/kernels/gpu calls the same there",
}
# commands that are read by the command line and go no further, and why
ONLY_READ = {
    "benchmark": "takes minutes; tests/cli/test_benchmark.py runs a small one",
}
LATER = ("check", "explain", "export", "report", "serve")  # commands that take longer than a moment: in the full suite
WRITING = ("convert", "shard")  # commands whose second argument is what they write
PLACEHOLDERS = ("DATA", "FOLDER")  # what they stand for depends on the task
SPELLED = {"LIST": "LIST.csv", "my_module": COUNTING}  # words that stand for names of a kind
LATER_PYTHON = re.compile(
    r"MaxViTClassifier\(|GridSearchCV\(|export_model\(|integrated_gradients\(|\"[^\"]+\.(onnx|xml|pt2)\""
)
EXPORTED = (".onnx", ".xml", ".pt2")  # files that those write
ALONE = {"--devices": "1", "--workers": "0"}  # commands run in this process
SERVER = "localhost:8000"  # of the pages
SERVED = {"cats": "classification", "objects": "detection"}


def task_of(words: list[str], page: str) -> str:
    """The task of a command: as it says, as its recipe says, or that which the page is about."""
    if "--task" in words:
        name = words[words.index("--task") + 1]
        return name if name in list_tasks() or name == COUNTING else "classification"
    if "--recipe" in words and (name := words[words.index("--recipe") + 1]) in list_recipes():
        return str(load_recipe(name).task["name"])
    return Path(page).stem if Path(page).stem in list_tasks() else "classification"


def shortened(train: Callable[..., runs.Outcome]) -> Callable[..., runs.Outcome]:
    """The same of a recipe that takes a moment."""
    return lambda recipe, *rest, **named: train(shrink(recipe), *rest, **named)


def skip(recipe: Recipe, run: Path, *_: object, **__: object) -> runs.Outcome:
    """A training whose recipe is read, and no more: what a page does with its run is done with a sample."""
    return runs.Outcome(run, True, [], None)


def begin(recipe: Recipe, run: Path) -> runs.Outcome:
    """All of a training but the training: its data are read, its network is made and kept."""
    small = shrink(recipe)
    data = load_data(small)
    network = make_network(small, data.train.class_names, channels_of(small, data.train)).eval()
    network.provenance = runs.provenance(small, "maxvit train")
    if isinstance(network, maxvit.MaxViT):  # what validation finds: from where a class is in a set, of each coverage
        network.config = dataclasses.replace(
            network.config, set_thresholds=tuple(np.linspace(0.9, 0.1, len(COVERAGES)).tolist())
        )
    run.mkdir(parents=True, exist_ok=True)
    (run / storage.RUN_CONFIG).write_text(small.to_yaml())
    network.save(run / storage.BEST)
    return runs.Outcome(run, True, [], None)


@pytest.fixture(scope="module", params=["begun", pytest.param("trained", marks=pytest.mark.full)])
def samples(request, tmp_path_factory, no_hub) -> Iterator[Samples]:
    """Small variants, a hub that has their weights, trainings that are short, and what the pages name."""
    whole, folder = request.param == "trained", tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        for name, config in narrow_variants().items():
            patch.setitem(variants(), name, config)
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
        patch.setattr("huggingface_hub.hub_mixin.HfApi", Nobody)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("MLFLOW_TRACKING_URI", (folder / "mlflow").as_uri())
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setattr("maxvit.serve.process.run", lambda *_: None)
        patch.setattr("maxvit.serve.process.bind", lambda host, port: bind(host, 0))  # another may listen at the page's
        patch.syspath_prepend(ROOT)  # for `--task examples.counting_task`
        fill_hub(folder / "hub", folder / "weights")
        for name in ("train", "train_or_resume"):
            patch.setattr(runs, name, shortened(getattr(runs, name)) if whole else skip)
        if not whole:
            patch.setattr(sys.modules["maxvit.cli.train"], "_finish", lambda *_: None)
        yield Samples(folder / "samples", runs.train if whole else begin, whole)


@pytest.fixture(scope="module")
def server(samples) -> Iterator[Callable[[], str]]:
    """The address of a server of two networks, which begins when it is first asked for."""
    with ExitStack() as open_until_the_end:

        @cache
        def address() -> str:
            models = {name: Predictor(samples.run(task) / storage.BEST) for name, task in SERVED.items()}
            return f"localhost:{open_until_the_end.enter_context(listening(create_app(models)))}"

        yield address


class Nobody:
    """The hub's service: what is sent there is looked at by tests/test_hub.py."""

    def __init__(self, **_: object) -> None: ...

    def create_repo(self, repo_id: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, **_: object) -> str:
        return "done"


@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if {b.language for b in blocks} - {"text"}])
def test_blocks_of_a_page_run(page, samples, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "hubconf.py", tmp_path)  # torch.hub is asked in a checkout
    names: dict[str, Any] = {}
    for block in BLOCKS[page]:
        if SERVER in block.text:
            block = block._replace(text=block.text.replace(SERVER, server()))
        if block.key in NOT_RUN:
            if block.language == "python":
                compile(block.text, block.place, "exec")
        elif block.language == "python" and LATER_PYTHON.search(block.text) and not samples.whole:
            compile(block.text, block.place, "exec")
        elif block.language == "python":
            run_python(block, names, samples, tmp_path)
        elif block.language in SHELL:
            for command in commands(block):
                run_command(command, page, samples, tmp_path, capsys)
        elif block.language == "yaml":
            check_yaml(block)
        elif block.language == "json":
            for text in re.split(r"(?<=\})\n(?=\{)", block.text):
                json.loads(text)


@pytest.mark.parametrize("block", [b for blocks in BLOCKS.values() for b in blocks], ids=lambda block: block.place)
def test_a_block_says_in_which_language_it_is(block):
    assert block.language in LANGUAGES, f"{block.place}: choose {', '.join(LANGUAGES)}"


def test_what_is_not_run_is_there():
    keys = {block.key for blocks in BLOCKS.values() for block in blocks}
    assert set(NOT_RUN) - keys == set()
    written = [
        words for blocks in BLOCKS.values() for b in blocks if b.language in SHELL for _, words, _ in commands(b)
    ]
    named = {parsed[0] for words in written if (parsed := ours(words))}
    assert set(ONLY_READ) - named == set()


def run_command(command: Command, page: str, samples: Samples, here: Path, capsys: Any) -> None:
    """Read a command as the command line does; run it, if it is ours, and for a moment only unless all are run."""
    words = ours([SPELLED.get(word, word) for word in command.words])
    if words is None:
        if command.words[0] == "curl":
            ask_by_curl(command, samples, here)
        else:
            check_another(command.words)
        return
    task = task_of(words, page)
    for name in PLACEHOLDERS:  # another task's
        shutil.rmtree(here / name, ignore_errors=True)
    for before, word in zip(["", *words], words[:2] if words[0] in WRITING else words, strict=False):
        for part in [] if before == "--out" else re.split(r"[,=]", word):
            samples.provide(part, "detection" if "coco" in part and task == "classification" else task, here)
    if words != ["--version"]:  # which ends the reading
        try:
            parse(words)
        except Exception as error:
            raise AssertionError(f"{command}\n{error}") from error
    if words[0] in ONLY_READ:
        return
    if not samples.whole and (words[0] in LATER or any(word.endswith(EXPORTED) for word in words)):
        return
    code = main(as_run_here(words))
    said = capsys.readouterr()
    assert code == 0, f"{command}\n{said.err[-2000:]}"


def as_run_here(words: list[str]) -> list[str]:
    """The words of a command in this process and folder: patterns of files filled in, nothing written elsewhere."""
    found = list[str]()
    for before, word in zip(["", *words], words, strict=False):
        if "*" in word:
            found += sorted(map(str, Path().glob(word)))
        elif before in ALONE and word.isdigit():
            found.append(ALONE[before])
        elif word != "...":
            found.append(word.removeprefix("/"))
    return found


def ask_by_curl(command: Command, samples: Samples, here: Path) -> None:
    """Ask the server as the page does; its answer is JSON, and no mistake."""
    for name in re.findall(r"@?([\w./-]+\.(?:jpg|png))", command.line):
        samples.provide(name, "classification", here)
    asked = subprocess.run(["bash", "-c", command.line], cwd=here, capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, f"{command}\n{asked.stderr}"
    assert "detail" not in json.loads(asked.stdout), f"{command}\n{asked.stdout}"


def run_python(block: Block, names: dict[str, Any], samples: Samples, here: Path) -> None:
    """Run a block in the namespace of its page, with the files that its strings name."""
    for node in ast.walk(ast.parse(block.text, block.place)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            samples.provide(node.value, task_of([], block.page), here)
    if not names:
        names |= {"maxvit": maxvit, "torch": torch, "images": torch.randn(2, 3, 64, 64)}
        names["model"] = maxvit.load(samples.checkpoint())
    try:
        exec(compile("\n" * (block.line - 1) + block.text, str(ROOT / block.page), "exec"), names)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in last if frame.filename == str(ROOT / block.page)), block.line)
        raise AssertionError(f"{block.page}:{line}: {type(error).__name__}: {error}") from error


def check_yaml(block: Block) -> None:
    """A recipe, or sections of one."""
    values = yaml.safe_load(block.text)
    assert isinstance(values, dict), block.place
    Path("block.yaml").write_text(block.text)
    load_recipe("block.yaml")
