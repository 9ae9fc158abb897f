"""The Dockerfile names what there is: files of the checkout, options of `maxvit serve`, a route of the server."""

import json
import re
from pathlib import Path

import typer

from maxvit.cli import app

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text()


def test_the_entry_point_is_a_command_with_options_that_it_has():
    program, command, *options = json.loads(re.search(r"^ENTRYPOINT (.+)$", TEXT, re.MULTILINE)[1])
    parameters = typer.main.get_command(app).commands[command].params
    known = {word for parameter in parameters for word in parameter.opts}
    assert (program, {word for word in options if word.startswith("--")} - known) == ("maxvit", set())


def test_it_asks_a_route_of_the_server_at_the_port_that_it_opens():
    port, path = re.search(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)'", TEXT).groups()
    assert f'"--port", "{port}"' in TEXT
    assert f'"{path}"' in (ROOT / "src" / "maxvit" / "serve" / "app.py").read_text()


def test_what_the_build_needs_is_not_ignored():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name for name in allowed if "*" not in name} == {
        "LICENSE", "README.md", "hatch_build.py", "pyproject.toml", "src"
    }  # fmt: skip
    assert all((ROOT / name).exists() for name in allowed if "*" not in name)
