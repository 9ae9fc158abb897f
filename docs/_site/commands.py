"""The help of every command, put into docs/commands.md: a hook of mkdocs."""

import click
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from maxvit.cli import app

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the mark by a section for each command."""
    if MARK not in markdown:
        return markdown
    sections = []
    for name, command in typer.main.get_command(app).commands.items():
        context = click.Context(command, info_name=f"maxvit {name}", max_content_width=88, terminal_width=88)
        sections.append(f"## maxvit {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return markdown.replace(MARK, "\n".join(sections))
