"""Commands: data."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from .common import JsonFlag, console, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..data.records import Record

data = typer.Typer(
    no_args_is_help=True,
    help="Fetch, look at, audit, scrub and convert training data. 获取、查看、审计、脱敏、转换训练数据。",
)
FormatOption = Annotated[str, typer.Option("--format", "-f", help="`auto` or a name that `hearme data formats` lists.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(data, name="data")


@data.command("formats")
def formats(json_out: JsonFlag = False) -> None:
    """List the data formats that are read."""
    from ..data.sources import FORMATS

    if json_out:
        print_json(FORMATS)
        return
    for name, about in FORMATS.items():
        console().print(f"{name:12} {about}", markup=False)


@data.command("read")
def read(
    format: Annotated[str, typer.Argument(help="`auto` or a name that `hearme data formats` lists.")],
    path: Annotated[Path, typer.Argument(help="A file or a folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the dialogues as OpenAI messages (.jsonl).")
    ] = None,
    json_out: JsonFlag = False,
) -> None:
    """Read raw data and count it: dialogues, dropped records, turns, warnings. Converts only; nothing is filtered."""
    from ..data.sources import survey
    from ..files import atomic_open

    def each(record: Record) -> None:
        if sink is not None and record.dialogue is not None:
            import json

            sink.write(json.dumps(record.dialogue.to_json(), ensure_ascii=False) + "\n")

    sink: Any = None
    if out is None:
        reading = survey(path, format)
    else:
        with atomic_open(out) as sink:
            reading = survey(path, format, each)
    if json_out:
        print_json(reading.to_json())
        return
    screen = console()
    screen.print(
        f"{reading.format}: {reading.dialogues} dialogues, {reading.dropped} dropped, {reading.turns} counsellor turns",
        markup=False,
    )
    for warning in reading.warnings:
        screen.print(f"  ! {warning}", markup=False)


@data.command("audit")
def audit(
    paths: Annotated[list[str], typer.Argument(help="Files or folders; `starter` is the packaged corpus.")],
    format: FormatOption = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the data, e.g. CC-BY-4.0.")] = "",
    base: Annotated[
        str | None, typer.Option(help="Count tokens with this base's tokenizer (`starter`, a directory or a hub id).")
    ] = None,
    cutoff: Annotated[int, typer.Option(min=1, help="Training cutoff in tokens.")] = 1024,
    against: Annotated[Path | None, typer.Option(help="An evaluation set (CPsyCounE): report contamination.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for audit.html (zh/en, with pictures) and audit.json.")
    ] = None,
    personal: Annotated[
        bool, typer.Option("--personal/--no-personal", help="Look for personal data (the slowest part).")
    ] = True,
    json_out: JsonFlag = False,
) -> None:
    """Audit data before training: danger and escalation, diagnosis, manner, personal data, length, diversity, duplicates, licence."""
    from ..data import audit as auditing
    from ..data.audit_page import machine, write_page
    from ..data.contamination import contamination
    from ..data.sources import read as read_records
    from ..data.starter import LICENCE

    count = _token_counter(base) if base else None
    reports, kept = [], {}
    for path in paths:
        own = path == "starter"
        with _progress(f"audit {Path(path).name}", json_out):
            records = list(read_records("" if own else path, "auto" if own else format))
            kept[path] = [r.dialogue for r in records if r.dialogue is not None]
            if not kept[path]:
                raise DataError(
                    "expected dialogues to audit, found none", where=path, hint="`hearme data read auto` says why"
                )
            reports.append(
                auditing.audit(
                    records,
                    path,
                    licence=LICENCE if own else licence,
                    own=own,
                    tokens=count,
                    cutoff=cutoff,
                    personal=personal,
                )
            )
    compared = None
    if against is not None:
        evaluation = [r.dialogue for r in read_records(against) if r.dialogue is not None]
        compared = contamination([d for ds in kept.values() for d in ds], evaluation)
    written = write_page(out, reports, kept, compared) if out else []
    if json_out:
        whole = machine(reports, compared)
        print_json(whole["audits"][0] | {"contamination": compared} if len(reports) == 1 else whole)
        return
    screen = console()
    for report in reports:
        _print_audit(report, screen.print)
    if compared is not None:
        screen.print(
            f"contamination: {len(compared['near_duplicates'])} near-duplicates, {len(compared['utterances'])} equal utterances, highest similarity {compared['highest_similarity']}",
            markup=False,
        )
    if written:
        screen.print(f"page: {written[0]}", markup=False)


def _print_audit(report: dict[str, Any], say: Callable[..., None]) -> None:
    say(
        f"\n{report['name']}: {report['dialogues']} dialogues, {report['turns']} counsellor turns, languages {report['languages']}",
        markup=False,
    )
    for title in ("transcripts", "cleaning", "dropped", "topics"):
        if report[title]:
            say(f"  {title}: " + ", ".join(f"{k} {v}" for k, v in report[title].items()), markup=False)
    risk = report["escalation"]
    say(
        f"  escalation: {risk['dialogues_with_risk_words']} dialogues with risk words; hotline or emergency named in {risk['names_hotline_or_emergency']}, asked directly in {risk['asks_directly']}",
        markup=False,
    )
    say(
        "  replies with: " + ", ".join(f"{k} {v['replies']}" for k, v in report["signs"].items() if "replies" in v),
        markup=False,
    )
    if "personal_data" in report:
        say(
            f"  personal data: {report['personal_data']['dialogues']} dialogues; "
            + ", ".join(f"{k} {v['spans']}" for k, v in report["personal_data"]["by_type"].items()),
            markup=False,
        )
    t = report["tokens"]
    say(
        f"  tokens: mean {t['mean']}, p95 {t['p95']}, max {t['max']}; over {t['cutoff']}: {t['over_cutoff']}",
        markup=False,
    )
    say(
        f"  label leaks after cleaning: {report['label_leaks_after_cleaning']}; exact duplicates {report['duplicates']['exact']}, near-duplicate groups {report['duplicates'].get('near_groups', '-')}",
        markup=False,
    )
    say(f"  length: {report['length_conclusion']['decision']}. {report['length_conclusion']['en']}", markup=False)
    say(
        f"  licence: publish an adapter? {report['licence']['publish']}; commercially? {report['licence']['commercial']}",
        markup=False,
    )
    for warning in report["warnings"]:
        say(f"  ! {warning['zh']} {warning['en']}", markup=False)


def _token_counter(base: str) -> Callable[[str], int]:
    from ..models.load import load_tokenizer

    tokenizer = load_tokenizer(base)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


@data.command("scrub")
def scrub(
    source: Annotated[Path, typer.Option("--in", help="JSON Lines with `text`, or dialogues.")],
    out: Annotated[Path, typer.Option("--out", help="The same lines without personal data, with `spans`.")],
    types: Annotated[str, typer.Option(help="Types to replace, separated by commas; all by default.")] = "",
    json_out: JsonFlag = False,
) -> None:
    """Replace personal data by readable placeholders: names, phones, addresses, workplaces, IDs, accounts. Chinese and English."""
    from ..data.privacy import TYPES, Scrubber
    from ..data.scrubbing import scrub_file

    wanted = tuple(t.strip().upper() for t in types.split(",") if t.strip()) or TYPES
    with _progress(f"scrub {source.name}", json_out):
        done = scrub_file(source, out, Scrubber(wanted))
    if json_out:
        print_json(done.to_json())
        return
    found = ", ".join(f"{t} {n}" for t, n in done.spans.most_common()) or "nothing"
    console().print(f"{done.lines} lines -> {out}; replaced: {found}", markup=False)


@data.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Run directory with prepared data.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")],
    format: Annotated[str, typer.Option("--format", "-f", help="openai, sharegpt or alpaca.")] = "sharegpt",
    json_out: JsonFlag = False,
) -> None:
    """Write a run's data for other tools, with LLaMA-Factory's dataset_info.json and a training YAML for each stage."""
    from ..data.export import export_run
    from ..run import RunDir

    done = export_run(RunDir.open(run), out, format)
    if json_out:
        print_json(done)
        return
    screen = console()
    for name, count in done["files"].items():
        screen.print(f"{out / name}.json: {count} dialogues", markup=False)
    if done["stages"]:
        screen.print(f"then: cd {out} && llamafactory-cli train {done['stages'][0]}", markup=False)


@data.command("fetch")
def fetch(
    name: Annotated[str | None, typer.Argument(help="Name of a public set; without it, list them.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the files (default: data/…).")] = None,
    json_out: JsonFlag = False,
) -> None:
    """Fetch a public data set by pinned revision and digest from its home; show its licence and citation."""
    from ..data import fetch as fetching

    screen = console(json_out)
    if name is None:
        if json_out:
            print_json(
                {
                    n: {"title": e.title, "licence": e.licence, "home": e.home, "fetchable": not e.link}
                    for n, e in fetching.catalogue().items()
                }
            )
            return
        for n, e in fetching.catalogue().items():
            screen.print(f"{n:12} {e.licence:14} {'link only' if e.link else 'fetch':10} {e.title}", markup=False)
        return
    entry = fetching.entry(name)
    screen.print(
        f"{entry.title}\n  licence: {entry.licence}\n  cite: {entry.citation}\n  home: {entry.home}", markup=False
    )
    with _progress(f"fetch {name}", json_out) as update:
        done = fetching.fetch(entry, out, update)
    if json_out:
        print_json({**done, "licence": entry.licence, "citation": entry.citation, "home": entry.home})
        return
    screen.print(
        f"{'already there' if done['cached'] else 'fetched'}: {done['path']} ({done['files']} files)", markup=False
    )


@data.command("licence")
def licence(
    sources: Annotated[
        list[str], typer.Argument(help="NAME=LICENCE for each source, or the name of a known set, or a recipe file.")
    ],
    json_out: JsonFlag = False,
) -> None:
    """Say whether an adapter trained on a mix may be published, and used commercially. Information, not legal advice."""
    from ..data.fetch import catalogue
    from ..data.licences import ledger
    from ..data.starter import LICENCE
    from ..recipe_file import load_recipe

    items: list[tuple[str, str]] = []
    for source in sources:
        name, sign, given = source.partition("=")
        if sign:
            items.append((name, given))
        elif name in catalogue():
            items.append((name, catalogue()[name].licence))
        elif name == "starter":
            items.append((name, LICENCE))
        else:
            items += [
                (n, s.licence or (LICENCE if not s.path else ""))
                for n, s in load_recipe(source).data.sources.items()
                if s.enabled
            ]
    judged = ledger(items)
    if json_out:
        print_json(judged)
        return
    screen = console()
    for row in judged["sources"]:
        screen.print(
            f"{row['source']:14} {row['licence']:14} publish: {row['publish']:8} commercial: {row['commercial']:8} {row['duties_zh']} / {row['duties_en']}",
            markup=False,
        )
    screen.print(
        f"May I publish an adapter trained on this mix? {judged['publish']}. Commercially? {judged['commercial']}. (information, not legal advice)",
        markup=False,
    )


@data.command("card")
def card(
    out: Annotated[Path, typer.Option("--out", "-o", help="The Markdown file to write.")] = Path("docs/data-card.md"),
    base: Annotated[str | None, typer.Option(help="Count tokens with this base's tokenizer.")] = None,
) -> None:
    """Write the data card of the packaged corpus from its own audit."""
    from ..data.card import corpus_card
    from ..files import write_text

    write_text(out, corpus_card(_token_counter(base) if base else None))
    console().print(f"card: {out}", markup=False)


@contextmanager
def _progress(what: str, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A progress line on stderr; yields a function that takes (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=quiet or not screen.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
