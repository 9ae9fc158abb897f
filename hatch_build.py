"""Wheels for Linux bring the native CPU kernels compiled, for every kind of processor that `levels.py` names.

Without a C++ compiler, or with MAXVIT_KERNELS=none, the wheel is for any platform, and the user's compiler makes them.
A kind that the compiler does not know is left out, and with MAXVIT_KERNELS=all an error.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "maxvit/kernels/cpu"


class CompiledKernels(BuildHookInterface):
    """Compiles them into the wheel."""

    made: tempfile.TemporaryDirectory[str] | None = None  # not in dist/: only what is published is there

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled files to what the wheel holds."""
        compiler = shutil.which(os.environ.get("CXX") or "c++")
        wanted = os.environ.get("MAXVIT_KERNELS") != "none"
        if version == "editable" or not wanted or sys.platform != "linux" or compiler is None:
            return
        levels = _load(Path(self.root) / "src" / PLACE / "levels.py")
        machine = platform.machine()
        own = [level for level in levels.LEVELS if level.machine == machine]
        self.made = tempfile.TemporaryDirectory()
        folder = Path(self.made.name)
        for level in own:
            if os.environ.get("MAXVIT_KERNELS") != "all" and not _knows(compiler, level.flags):
                self.app.display_warning(
                    f"{compiler} does not know {' '.join(level.flags)}: no kernels for {level.name}"
                )
                continue
            for lanes in level.lanes:
                file = folder / level.file(lanes)
                self.app.display_info(f"compiling {file.name}")
                subprocess.run(level.command(compiler, lanes, file), check=True)
                build_data["force_include"][str(file)] = f"{PLACE}/compiled/{file.name}"
        if own:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{machine}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel has them: remove what was compiled."""
        if self.made is not None:
            self.made.cleanup()


def _knows(compiler: str, flags: Sequence[str]) -> bool:
    """Whether a compiler takes these flags; GCC before 12 has no -mavx512fp16."""
    command = [compiler, *flags, "-x", "c++", "-fsyntax-only", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("levels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
