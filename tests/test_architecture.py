"""The rooms of the house, and that imports point down only."""

import ast
from pathlib import Path

import maxvit

ROOT = Path(maxvit.__file__).parent

# room: what it may import. A room not named here must be added, with thought.
ROOMS = {
    "errors": set(),
    "config": {"errors"},
    "signatures": set(),
    "versions": {"errors"},
    "storage": {"errors", "signatures"},
    "hub": {"errors", "storage"},
    "layers": {"config", "errors"},
    "data": {"config", "errors", "storage"},
    "description": {"config", "errors", "versions"},
    "saving": {"config", "description", "errors", "storage"},
    "adjusting": {"config", "description", "layers", "saving"},
    "timm_names": {"adjusting", "config", "errors"},
    "model": {"config", "description", "errors", "hub", "layers", "timm_names"},
    "kernels": {"config", "errors", "layers", "model", "storage"},
    "checkpoints": {"description", "config", "errors", "hub", "layers", "model", "storage"},
    "create": {"description", "checkpoints", "config", "errors", "hub", "model", "storage", "timm_names"},
    "summary": {"config", "tasks"},
    "conversion": {"checkpoints", "config", "create", "errors", "kernels"},
    "tasks": {"description", "checkpoints", "config", "create", "data", "errors", "hub", "layers", "model", "storage"},
    "export": {
        "description",
        "config",
        "data",
        "errors",
        "kernels",
        "layers",
        "model",
        "signatures",
        "storage",
        "tasks",
    },
    "explain": {"config", "data", "errors", "inference", "layers", "model", "storage", "tasks"},
    "inference": {
        "checkpoints",
        "config",
        "create",
        "data",
        "description",
        "errors",
        "export",
        "hub",
        "kernels",
        "layers",
        "model",
        "storage",
        "tasks",
    },
    "training": {
        "config",
        "create",
        "data",
        "errors",
        "inference",
        "kernels",
        "layers",
        "model",
        "storage",
        "tasks",
        "versions",
    },
    "plan": {"config", "create", "data", "errors", "inference", "summary", "tasks", "training"},
    "checking": {"config", "create", "data", "errors", "explain", "inference", "kernels", "layers", "storage", "tasks"},
    "search": {
        "checking",
        "checkpoints",
        "config",
        "create",
        "data",
        "errors",
        "inference",
        "storage",
        "tasks",
        "training",
    },
    "report": {"data", "errors", "explain", "inference", "storage", "tasks", "training"},
    "benchmark": {
        "description",
        "checkpoints",
        "config",
        "create",
        "errors",
        "export",
        "inference",
        "kernels",
        "model",
        "storage",
        "summary",
    },
    "serve": {"config", "data", "errors", "explain", "inference", "layers", "model", "search", "tasks"},
    "integrations": {
        "checkpoints",
        "config",
        "create",
        "data",
        "errors",
        "inference",
        "layers",
        "model",
        "storage",
        "tasks",
        "timm_names",
        "training",
    },
    "cli": {
        "benchmark",
        "checking",
        "checkpoints",
        "config",
        "conversion",
        "create",
        "data",
        "errors",
        "explain",
        "export",
        "inference",
        "model",
        "plan",
        "report",
        "search",
        "serve",
        "storage",
        "summary",
        "tasks",
        "training",
    },
    "__main__": {"cli"},
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "maxvit" else {node.module}
            )
    return {name.removeprefix("maxvit.") for name in found if name.startswith("maxvit.")}


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def test_imports_point_down():
    def forbidden(path: Path) -> set[str]:
        return {name.split(".")[0] for name in imports(path)} - {room(path), "__version__"} - ROOMS[room(path)]

    assert {str(p.relative_to(ROOT)): rooms for p in FILES if (rooms := forbidden(p))} == {}


def test_no_room_reaches_itself_through_others():
    def below(name: str) -> set[str]:
        return ROOMS[name] | {deeper for n in ROOMS[name] for deeper in below(n)}

    assert [name for name in ROOMS if name in below(name)] == []


def test_only_the_engine_and_its_launcher_know_of_other_processes():
    knowing = [str(p.relative_to(ROOT)) for p in FILES if "torch.distributed" in p.read_text()]
    assert knowing == ["training/distributed.py", "training/launch.py"]
