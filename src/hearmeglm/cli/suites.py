"""Commands: suite persona | knowledge | style | episodes | talks | crisis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import JsonFlag, console, print_json

if TYPE_CHECKING:
    from rich.table import Table

WhereArg = Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run (all its models) or one model.")]
ModelsOption = Annotated[
    str | None, typer.Option("--models", help="Only these models of a run, comma-separated, e.g. base,stage1,stage2.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Where the result goes as JSON; default RUN/evals/suites/NAME.json.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    suite = typer.Typer(help="Put a fixed suite of questions to a run or a model.", no_args_is_help=True)
    suite.command("persona")(persona)
    suite.command("knowledge")(knowledge)
    suite.command("style")(style)
    suite.command("episodes")(episodes)
    suite.command("talks")(talks)
    suite.command("crisis")(crisis)
    app.add_typer(suite, name="suite")


def persona(
    where: WhereArg,
    models: ModelsOption = None,
    system: Annotated[str | None, typer.Option("--system", help="A system prompt before each question.")] = None,
    failures: Annotated[int, typer.Option("--failures", help="How many failures to print (all are in the JSON).")] = 10,
    out: OutOption = None,
    json_mode: JsonFlag = False,
) -> None:
    """Identity, developer, misleading premises, other models' names, role-breaks, "are you human" and not introducing oneself unasked."""
    from ..evals import persona as suite
    from ..evals.evaluate import progress

    result = suite.run_persona(where, _names(models), progress, system)
    _finish("persona", where, result, [suite.table(result)], out, json_mode)
    if not json_mode:
        for name, m in result["models"].items():
            for f in m["failures"][:failures]:
                console().print(
                    f"{name} {f['id']} {f['question']!r} -> {f['reply'][:80]!r}: {'; '.join(f['faults'])}", markup=False
                )


def knowledge(where: WhereArg, models: ModelsOption = None, out: OutOption = None, json_mode: JsonFlag = False) -> None:
    """Keyed psychology questions in Chinese and English: accuracy, recall and F1."""
    from ..evals import knowledge as suite
    from ..evals.evaluate import progress

    result = suite.run_knowledge(where, _names(models), progress)
    _finish("knowledge", where, result, [suite.table(result)], out, json_mode)


def style(run: WhereArg, out: OutOption = None, json_mode: JsonFlag = False) -> None:
    """How the answers of an evaluated run read: Markdown, length, questions, openings, emoji, the client's own words, language."""
    from ..evals import style as suite
    from ..evals.style_run import run_style

    result = run_style(run)
    _finish("style", run, result, [suite.table(result["models"])], out, json_mode)


def episodes(where: WhereArg, models: ModelsOption = None, out: OutOption = None, json_mode: JsonFlag = False) -> None:
    """The original's five episodes with their sampling, models side by side."""
    from ..evals import episodes as suite
    from ..evals.evaluate import progress

    result = suite.run_episodes(where, _names(models), progress)
    _finish("episodes", where, result, suite.tables(result), out, json_mode)


def talks(
    where: WhereArg,
    client: Annotated[
        str, typer.Option("--client", help="Who plays the client: `scripted`, or RUN|MODEL (URL#NAME for a server).")
    ] = "scripted",
    models: ModelsOption = None,
    turns: Annotated[int, typer.Option("--turns", min=1, max=20, help="Client turns of each talk.")] = 10,
    out: OutOption = None,
    json_mode: JsonFlag = False,
) -> None:
    """Free-running: a client played from role cards talks with the model; repetition, drift and persona retention by turn."""
    from ..evals import talks as suite
    from ..evals.evaluate import progress

    result = suite.run_talks(where, client, _names(models), turns, progress)
    _finish("talks", where, result, [suite.table(result)], out, json_mode)


def crisis(
    where: WhereArg,
    models: ModelsOption = None,
    guard: Annotated[bool, typer.Option("--guard", help="Each model a second time, behind the guard.")] = False,
    region: Annotated[str, typer.Option("--region", help="Whose hotline numbers count as given.")] = "CN",
    out: OutOption = None,
    json_mode: JsonFlag = False,
) -> None:
    """Written conversations in danger, scored by yes/no items: notices, asks directly, gives a resource, no method, …"""
    from ..evals import crisis_run as suite
    from ..evals.evaluate import progress

    result = suite.run_crisis(where, _names(models), guard, progress, region)
    _finish("crisis", where, result, [suite.table(result)], out, json_mode)


def _names(models: str | None) -> list[str] | None:
    return [m.strip() for m in models.split(",")] if models else None


def _finish(
    name: str, where: str, result: dict[str, Any], tables: list[Table], out: Path | None, json_mode: bool
) -> None:
    from ..files import write_json

    target = out
    if target is None and (Path(where) / "recipe.yaml").is_file():
        target = Path(where) / "evals" / "suites" / f"{name}.json"
    if target is not None:
        write_json(target, result)
    if json_mode:
        print_json(result)
        return
    for table in tables:
        console().print(table)
    if target is not None:
        console().print(f"every reply: {target}")
