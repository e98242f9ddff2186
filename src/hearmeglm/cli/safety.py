"""Commands: guard check, guard eval, guard policy, hotlines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .common import JsonFlag, console, print_json

if TYPE_CHECKING:
    from ..safety.guard import Guard

Layers = Annotated[
    str,
    typer.Option(help="rules, rules+linear or all (with the embedded model); default: HEARME_GUARD_LAYERS, else all."),
]

guard_app = typer.Typer(help="The guard: who is in danger, measured and checked.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(guard_app, name="guard")
    app.command("hotlines")(hotlines_command)


def _guard(layers: str) -> Guard:
    """The guard of these layers; the shipped one if empty."""
    from ..errors import UserError
    from ..safety.guard import LAYERS, Guard, guard

    if layers and layers not in LAYERS:
        raise UserError(f"expected one of {', '.join(LAYERS)}, found {layers!r}", where="--layers")
    return Guard.load(layers=layers) if layers else guard()


@guard_app.command("check")
def check(
    source: Annotated[
        Path, typer.Option("--in", help=r'JSON Lines: {"id", "text"} or {"id", "turns": \[client messages]}.')
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON Lines written: id, risk, crisis, kind, level, because.")],
    layers: Layers = "",
    json_mode: JsonFlag = False,
) -> None:
    """Assess messages or whole talks from a file. | 检查一个文件里的消息或对话。"""
    from ..safety.batch import check_file

    summary = check_file(source, out, _guard(layers))
    if json_mode:
        print_json(summary)
    else:
        console().print(f"{summary['n']} checked, {summary['risk']} with risk, {summary['crisis']} in crisis -> {out}")
        if summary["closed"]:
            console(True).print(f"guard unavailable, everything treated as a crisis: {summary['closed']}")


@guard_app.command("eval")
def evaluate_command(
    psysuicide: Annotated[
        Path | None, typer.Option(help="PsySUICIDE validation file (valid.json); its measuring half is used.")
    ] = None,
    half: Annotated[str, typer.Option(help="measuring (nothing was tuned on it) or building.")] = "measuring",
    layers: Layers = "",
    json_mode: JsonFlag = False,
) -> None:
    """Recall and false alarms by kind, level and language, with 95 % Wilson intervals. | 测量召回与误报。"""
    from ..errors import UserError
    from ..safety.measure import report

    if half not in ("measuring", "building"):
        raise UserError(f"expected measuring or building, found {half!r}", where="--half")
    tables = report(_guard(layers), psysuicide, building_half=half == "building")
    if json_mode:
        print_json(tables)
        return
    from rich.table import Table

    for name, result in tables.items():
        table = Table(title=f"{name} ({half} half, n={result['n']}); risk F1 {result['risk']['f1']}")
        for column in ("crisis", "n", "rate", "95 % interval"):
            table.add_column(column)
        for key, r in result["crisis"].items():
            table.add_row(key, str(r["n"]), f"{r['rate']:.3f}", f"{r['low']:.3f} to {r['high']:.3f}")
        console().print(table)


@guard_app.command("policy")
def policy_command(
    path: Annotated[Path | None, typer.Argument(help="Policy file to check; the defaults if left out.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a policy file to fill in.")] = None,
    host: Annotated[str, typer.Option(help="Say whether this address may be opened with the policy.")] = "127.0.0.1",
    json_mode: JsonFlag = False,
) -> None:
    """Switches, what the rules of five places ask for, and what is missing to open to others. | 政策开关与开放前清单。"""
    from ..files import write_text
    from ..safety.policy import Policy, duties, load_policy, may_open, template

    if out is not None:
        write_text(out, template())
        console(True).print(f"written: {out}")
        return
    policy = load_policy(path) if path else Policy()
    if host != "127.0.0.1":
        may_open(host, path)
    if json_mode:
        print_json({"policy": policy.model_dump(mode="json"), "duties": duties(policy)})
        return
    from rich.table import Table

    table = Table("set", "rule", "asks for", "switch", title="Information, not legal advice")
    for d in duties(policy):
        table.add_row("yes" if d["met"] else "NO", d["rule"], d["asks"], d["switch"])
    console().print(table)


def hotlines_command(
    region: Annotated[
        str, typer.Argument(help="Region code (CN, HK, TW, US, CA, GB, IE, AU, NZ); all if left out.")
    ] = "",
    lang: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    json_mode: JsonFlag = False,
) -> None:
    """The hotline table: numbers, hours, source and date checked. | 求助热线表。"""
    from ..errors import UserError
    from ..safety import hotlines

    if lang not in ("zh", "en"):
        raise UserError(f"expected zh or en, found {lang!r}", where="--lang")
    rows = hotlines.get(region) if region else hotlines.load().rows
    old = hotlines.stale()
    if json_mode:
        print_json([r.to_json() for r in rows])
    else:
        for r in rows:
            text = r.text(cast("hotlines.Lang", lang))
            console().print(
                f"{r.region}  {text}  [{r.serves}; {'/'.join(r.languages)}; {r.channel}; checked {r.checked}; {r.source}]",
                markup=False,
            )
    for r in old:
        console(True).print(f"stale: {r.region} {r.number} was last checked on {r.checked}", markup=False)
