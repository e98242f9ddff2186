"""The `hearme` command: a thin face over the functions of the package.

Each module of this folder registers one group of commands. Nothing heavy is imported before a command runs, so that
`hearme --help` answers at once.
"""

from __future__ import annotations

import sys

import typer

from .. import __version__
from . import data, evaluation, models, pipeline, report, safety, serving, studio, talk, training
from .common import run_app

app = typer.Typer(
    name="hearme",
    help="HearMeGLM (和心者): raw dialogues in, a tuned and tested counsellor out.\n\nStart with: hearme run demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (pipeline, data, training, evaluation, talk, safety, models, serving, studio, report):
    _module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hearmeglm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Entry point: exit code 0 done, 1 a fault of ours, 2 the user's to mend, 130 interrupted."""
    sys.exit(run_app(app))
