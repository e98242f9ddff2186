"""Commands: judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .common import JsonFlag, console, print_json

if TYPE_CHECKING:
    from ..evals.judge.client import JudgeClient
    from ..evals.judge.sources import Judged


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("judge")(judge)


def judge(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run whose answers are judged.")] = None,
    file: Annotated[
        Path | None, typer.Option("--in", help='JSON Lines of {"messages": […], "reply"} to judge instead of a run.')
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="OpenAI-compatible endpoint, with its /v1.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Name of the judge at that endpoint.")] = None,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    more: Annotated[
        list[str] | None, typer.Option("--judge", metavar="URL#MODEL", help="One more judge; may be repeated.")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="cpsycoun: the published rubric; strict: rationale then score, in JSON.")
    ] = "cpsycoun",
    dialogues: Annotated[
        int | None, typer.Option("--dialogues", help="Draw so many dialogues of the run (the original: 150).")
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", help="Only these models of the run, comma-separated.")
    ] = None,
    cpsycoune: Annotated[
        Path | None,
        typer.Option("--cpsycoune", help="Folder of CPsyCounE: RUN's models answer its items, then judged."),
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Judge null controls too: echo, generic sympathy, the reference.")
    ] = False,
    pairs: Annotated[
        list[str] | None, typer.Option("--pairwise", metavar="BEFORE,AFTER", help="Compare two models in both orders.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Verdicts per reply and judge.")] = 1,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Default 0, or 0.7 with several samples.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw and of the intervals.")] = 42,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Requests at a time.")] = 8,
    rpm: Annotated[float | None, typer.Option("--rpm", help="At most so many requests a minute.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for one answer.")] = 60.0,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="Further attempts after 429, 5xx, timeouts, broken bodies.")
    ] = 6,
    backoff: Annotated[
        float, typer.Option("--backoff", help="First pause between attempts in seconds; doubles.")
    ] = 0.5,
    max_calls: Annotated[int | None, typer.Option("--max-calls", help="Budget of requests.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Budget of tokens.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell the cost.")] = False,
    sheet: Annotated[
        Path | None, typer.Option("--human-sheet", help="Write a blinded sheet (CSV, HTML) for people to this folder.")
    ] = None,
    sheet_in: Annotated[
        Path | None, typer.Option("--import-sheet", help="A filled sheet; prints people's agreement with the judge.")
    ] = None,
    sheet_key: Annotated[Path | None, typer.Option("--sheet-key", help="key.json of that sheet.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the results; default RUN/evals/judge or FILE.judge.")
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Let language models (and people) judge replies by the CPsyCoun rubric; what cannot be read is unscored, never 0."""
    from ..evals.judge import human
    from ..evals.judge import run as judging

    folder = out or (run / "evals" / "judge" if run else Path(f"{file}.judge"))
    items = _items(run, file, cpsycoune, dialogues, seed, models.split(",") if models else None)
    if controls:
        from ..evals.judge.sources import with_controls

        items = with_controls(items)
    if sheet is not None:
        paths = human.write_sheet(items, sheet, seed=seed)
        if json_mode:
            print_json({name: str(path) for name, path in paths.items()})
        else:
            console().print(f"for raters: {paths['csv']}, {paths['html']}; not for raters: {paths['key']}")
        return
    if sheet_in is not None:
        if sheet_key is None:
            raise UserError(
                "expected --sheet-key with --import-sheet, found none", hint="key.json lies beside the sheet"
            )
        points = human.read_sheet(sheet_in, sheet_key)
        result = {"rated": len(points), "judges": human.human_agreement(points, _verdicts(folder, mode))}
        print_json(result) if json_mode else console().print_json(data=result)
        return
    endpoints = [(base_url, model)] if base_url and model else []
    endpoints += [_endpoint(x) for x in more or []]
    if not endpoints:
        raise UserError("expected a judge, found none", hint="--base-url http://127.0.0.1:8080/v1 --model NAME")
    plan = judging.Plan(
        mode=mode,
        samples=samples,
        temperature=temperature if temperature is not None else (0.7 if samples > 1 else 0.0),
        workers=workers,
        seed=seed,
        pairs=tuple(_pair(p) for p in pairs or []),
    )
    clients = _clients(
        endpoints,
        folder,
        api_key_env,
        max_calls,
        max_tokens,
        timeout_s=timeout,
        retries=retries,
        backoff_s=backoff,
        rpm=rpm,
    )
    summary = _judge(clients, items, folder, plan, dry_run)
    if json_mode:
        print_json(summary)
    elif not dry_run:
        console().print(judging.table(summary))


def _judge(clients: list[JudgeClient], items: list[Judged], folder: Path, plan: Any, dry: bool) -> dict[str, Any]:
    from ..evals.evaluate import progress
    from ..evals.judge.run import run_judge
    from ..evals.judge.scoring import estimate

    try:
        cost = estimate(clients, items, plan.mode, plan.samples, plan.temperature)
        _tell(cost, clients[0])
        if dry:
            return cost
        pairs = sum(
            len({i.id for i in items if i.model == b} & {i.id for i in items if i.model == a}) for b, a in plan.pairs
        )
        with progress("judging", len(clients) * (len(items) * plan.samples + pairs)) as step:
            return run_judge(clients, items, folder, plan, step)
    finally:
        for c in clients:
            c.close()


def _tell(cost: dict[str, int], client: JudgeClient) -> None:
    say = console(True)
    say.print(
        f"to ask: {cost['calls']} calls, about {cost['tokens']:,} tokens ({cost['cached']} answers are cached already)"
    )
    for limit, need, unit in (
        (client.budget.calls, cost["calls"], "calls"),
        (client.budget.tokens, cost["tokens"], "tokens"),
    ):
        if limit is not None and need > limit:
            say.print(
                f"[yellow]the budget is {limit} {unit}: the rest will be unscored, and asked when the budget is raised"
            )


def _clients(
    endpoints: list[tuple[str, str]], folder: Path, key_env: str, calls: int | None, tokens: int | None, **options: Any
) -> list[JudgeClient]:
    from ..evals.judge.client import Budget, JudgeClient
    from ..evals.judge.run import cache_path

    budget = Budget(calls, tokens)
    return [
        JudgeClient(url, name, api_key_env=key_env, cache=cache_path(folder, name), budget=budget, **options)
        for url, name in endpoints
    ]


def _items(
    run: Path | None,
    file: Path | None,
    cpsycoune: Path | None,
    dialogues: int | None,
    seed: int,
    models: list[str] | None,
) -> list[Judged]:
    from ..evals.judge import sources

    if (run is None) == (file is None):
        raise UserError("expected a RUN or --in FILE, one of the two")
    if file is not None:
        return sources.from_file(file)
    assert run is not None
    if cpsycoune is not None:
        from ..evals.evaluate import progress
        from ..evals.judge.answers import answer_cpsycoune

        return answer_cpsycoune(str(run), cpsycoune, models, progress)
    from ..run import RunDir

    return sources.from_generations(RunDir.open(run).generations, dialogues=dialogues, seed=seed, models=models)


def _verdicts(folder: Path, mode: str) -> list[Any]:
    from ..evals.judge.scoring import Verdict
    from ..files import read_jsonl

    return [Verdict(**row) for _, row in read_jsonl(folder / f"verdicts.{mode}.jsonl")]


def _pair(text: str) -> tuple[str, str]:
    before, comma, after = text.partition(",")
    if not comma:
        raise UserError(f"expected BEFORE,AFTER, found {text!r}", where="--pairwise")
    return before.strip(), after.strip()


def _endpoint(text: str) -> tuple[str, str]:
    url, mark, name = text.partition("#")
    if not mark or not name:
        raise UserError(f"expected URL#MODEL, found {text!r}", where="--judge")
    return url, name
