"""From a run's files to ReportData. A file that is absent leaves None: the report then says 'not run'."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.stats import characters
from ..errors import DataError
from ..files import read_json, read_jsonl
from ..recipe import PERSONA_SOURCE, Recipe
from ..run import RunDir, Step
from ..types import Dialogue
from .data import (
    Capture,
    DataPart,
    LedgerLine,
    Owner,
    Point,
    ReportData,
    Said,
    SourceData,
    SplitData,
    Spread,
    StagePart,
)
from .evidence import (
    collect_bench,
    collect_episodes,
    collect_evals,
    collect_guard,
    collect_heldout,
    collect_judge,
    collect_knowledge,
    collect_style,
    collect_suites,
    made_of,
)

SPLITS = ("train", "valid", "test")
MOMENTS = ("setup", "training", "evaluation", "inference")
PLACES = ("terminal", "studio")


def collect(run: RunDir) -> ReportData:
    """Read everything that a run has written.

    Raises:
        DataError: a file is there but is not what it should be; it is named.
    """
    recipe = run.recipe
    data = _data(run) if (run.data.path / "stats.json").is_file() else None
    stages = tuple(_stage(run, recipe, n) for n in recipe.stages if (run.path / n / "result.json").is_file())
    made = [m for s in _steps(run, recipe) if (m := made_of(s)) is not None]
    log = tuple(sorted(made, key=lambda m: m.finished))
    written = recipe.report
    owner = Owner(
        written.student_id,
        written.name,
        written.class_name,
        written.instructor,
        written.grade,
        written.date or (log[-1].finished[:10] if log else ""),
    )
    return ReportData(
        run=run.path.resolve().name,
        recipe=recipe,
        recipe_digest=recipe.digest(),
        owner=owner,
        data=data,
        stages=stages,
        evals=collect_evals(run),
        judge=collect_judge(run),
        suites=collect_suites(run),
        knowledge=collect_knowledge(run),
        style=collect_style(run),
        heldout=collect_heldout(run),
        episodes=collect_episodes(run),
        captures=tuple(_captures(run.path / recipe.report.captures)),
        guard=collect_guard(run),
        bench=collect_bench(run),
        log=log,
    )


def _steps(run: RunDir, recipe: Recipe) -> list[Step]:
    return [run.data, *(run.step(n) for n in recipe.stages), run.evals]


def _data(run: RunDir) -> DataPart:
    path = run.data.path / "stats.json"
    stats = read_json(path)
    dialogues = {name: _dialogues(run.data.path / f"{name}.jsonl") for name in SPLITS}
    kept: dict[str, list[Dialogue]] = defaultdict(list)
    for part in dialogues.values():
        for d in part:
            kept[d.source].append(d)
    try:
        sources = tuple(_source(name, s, kept[name]) for name, s in stats["sources"].items())
        splits = tuple(
            SplitData(n, s["dialogues"], s["turns"], s["sources"]) for n in SPLITS if (s := stats["splits"].get(n))
        )
        groups = int(stats["near_duplicate_groups"])
    except (KeyError, TypeError) as err:
        raise DataError(f"expected statistics, found no {err}", where=str(path)) from None
    talks = [d for d in dialogues["train"] if d.source != PERSONA_SOURCE]
    return DataPart(
        sources=sources,
        splits=splits,
        persona_pairs=len(kept[PERSONA_SOURCE]),
        near_duplicate_groups=groups,
        ledger=_ledger(run.data.path / "ledger.jsonl"),
        example=min((d for d in talks if d.turns >= 2), key=characters, default=None),
        emoji_example=min((d for d in talks if d.meta.get("kind") == "emoji"), key=characters, default=None),
        made=made_of(run.data),
    )


def _dialogues(path: Path) -> list[Dialogue]:
    if not path.is_file():
        return []
    out = []
    for line, row in read_jsonl(path):
        try:
            out.append(Dialogue.from_json(row))
        except (KeyError, TypeError, ValueError) as err:
            raise DataError(f"expected a dialogue, found {err}", where=f"{path}:{line}") from None
    return out


def _source(name: str, s: Mapping[str, Any], kept: list[Dialogue]) -> SourceData:
    return SourceData(
        name=name,
        kind=s["kind"],
        format=s["format"],
        licence=s["licence"],
        missing=bool(s.get("missing")),
        read=s["read"],
        kept=s["kept"],
        dropped=s["dropped"],
        changed=s["changed"],
        turns=s["turns"],
        languages=s["languages"],
        characters=_spread(s["characters"]),
        reply_characters=_spread(s["characters_a_reply"]),
        lengths=tuple(characters(d) for d in kept),
        turns_each=tuple(d.turns for d in kept),
    )


def _spread(s: Mapping[str, float]) -> Spread:
    return Spread(int(s["n"]), *(float(s.get(k, 0)) for k in ("mean", "min", "p50", "p95", "p99", "max")))


def _ledger(path: Path) -> tuple[LedgerLine, ...]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for _, row in read_jsonl(path) if path.is_file() else ():
        counts[(str(row.get("source", "")), str(row.get("action", "")), str(row.get("reason", "")))] += 1
    return tuple(LedgerLine(s, a, r, n) for (s, a, r), n in sorted(counts.items(), key=lambda x: (-x[1], x[0])))


def _stage(run: RunDir, recipe: Recipe, name: str) -> StagePart:
    step = run.step(name)
    result = {k: v for k, v in read_json(step.path / "result.json").items() if not isinstance(v, dict | list)}
    metrics = [row for _, row in read_jsonl(p)] if (p := step.path / "metrics.jsonl").is_file() else []
    said = [row for _, row in read_jsonl(p)] if (p := step.path / "samples.jsonl").is_file() else []
    return StagePart(
        name=name,
        settings=recipe.stages[name],
        result=result,
        train=tuple(Point(int(r["step"]), float(r["loss"])) for r in metrics if "loss" in r),
        valid=tuple(Point(int(r["step"]), float(r["eval_loss"])) for r in metrics if "eval_loss" in r),
        said=tuple(Said(int(r["step"]), r["question"], r["answer"]) for r in said),
        adapter_bytes=sum(p.stat().st_size for p in (step.path / "adapter").glob("*.safetensors")),
        made=made_of(step),
    )


def _captures(folder: Path) -> list[Capture]:
    """Pictures named `<terminal|studio>-<moment>.<svg|png|jpg>`."""
    out = []
    for where in PLACES:
        for moment in MOMENTS:
            found = [p for e in ("svg", "png", "jpg") if (p := folder / f"{where}-{moment}.{e}").is_file()]
            out += [Capture(where, moment, p) for p in found[:1]]
    return out
