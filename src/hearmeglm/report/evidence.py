"""What evaluations have left in a run, typed: before/after, suites, judge, episodes, benchmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_json, read_jsonl
from ..run import RunDir, Step
from ..types import Generation, messages_from_json
from .data import (
    Delta,
    Episode,
    EvalPart,
    GuardRow,
    JudgeMean,
    JudgePart,
    Knowledge,
    Made,
    ModelPart,
    StyleRow,
    SuitePart,
    SuiteScore,
)

PAIRED = ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "loss")
"""Metrics that are compared prompt by prompt."""
BASES = ("base", "base-prompted")
SELF = ("accuracy", "precision", "recall", "f1")


def made_of(step: Step) -> Made | None:
    """The step's manifest, typed; None if the step is not complete."""
    found = step.manifest()
    if found is None:
        return None
    try:
        machine = found["machine"]
        return Made(
            step=found["step"],
            finished=found["finished"],
            seed=found["seed"],
            machine=f"{machine['system']}, {machine['processor']}, {machine['cores']} cores",
            commit=found["git_commit"] or "",
            versions=found["versions"],
            inputs=found["inputs"],
            files=found["files"],
        )
    except (KeyError, TypeError) as err:
        raise DataError(f"expected a manifest, found none of {err}", where=str(step.manifest_path)) from None


def collect_evals(run: RunDir) -> EvalPart | None:
    """The before/after comparison of `evals/summary.json`."""
    path = run.evals.path / "summary.json"
    if not path.is_file():
        return None
    summary = read_json(path)
    try:
        models = tuple(_model(name, m) for name, m in summary["models"].items())
        every = summary.get("every") or {"models": {}, "prompts": 0, "dialogues": 0}
        return EvalPart(
            models=models,
            deltas=tuple(_deltas(run, int(summary["seed"]))),
            dialogues=summary["dialogues"],
            prompts=summary["prompts"],
            turns=summary["turns"],
            seed=summary["seed"],
            batch_size=summary["batch_size"],
            sampling={k: v for k, v in summary["sampling"].items() if isinstance(v, int | float | str)},
            tokenisation=str(summary["tokenisation"]),
            made=made_of(run.evals),
            every=tuple(_model(name, m) for name, m in every["models"].items()),
            every_prompts=every["prompts"],
            every_dialogues=every["dialogues"],
        )
    except (KeyError, TypeError) as err:
        raise DataError(f"expected an evaluation summary, found no {err}", where=str(path)) from None


def _model(name: str, m: Mapping[str, Any]) -> ModelPart:
    values = {k: v for k, v in m.items() if v is None or isinstance(v, int | float)}
    return ModelPart(name, values, m.get("unscored") or {})


def _deltas(run: RunDir, seed: int) -> Iterator[Delta]:
    """The last model against the untuned and the prompted base, paired by prompt, dialogues resampled."""
    from ..evals.compare import describe, paired, read_board

    if not run.scores.is_file() or not run.generations.is_file():
        return
    board = read_board([run])
    if len(board.models) < 2:
        return
    after = board.models[-1]
    for before in [m for m in board.models[:-1] if m in BASES]:
        for metric in PAIRED:
            found = paired(board, metric, before, after, seed=seed)
            left, right = (describe(board, metric, m, seed=seed).get("mean") for m in (before, after))
            if found is not None and left is not None and right is not None:
                numbers = (found[k] for k in ("difference", "low", "high", "p", "dialogues", "n"))
                yield Delta(metric, before, after, left, right, *numbers)


def collect_suites(run: RunDir) -> tuple[SuitePart, ...]:
    """Every question suite's result in `evals/suites/`: what has `suite`, `digest` and kinds for each model."""
    out = []
    for path in sorted((run.evals.path / "suites").glob("*.json")):
        found = read_json(path)
        if isinstance(found, dict) and {"suite", "digest", "models"} <= found.keys():
            scores = tuple(_suite_score(name, m, path) for name, m in found["models"].items() if "kinds" in m)
            if scores:
                out.append(SuitePart(found["suite"], found["digest"], f"evals/suites/{path.name}", scores))
    return tuple(out)


def _suite_score(name: str, m: Mapping[str, Any], path: Path) -> SuiteScore:
    try:
        kinds = tuple((k, int(v["passed"]), int(v["n"])) for k, v in m["kinds"].items())
        figures = {k: m["self_identification"][k] for k in SELF} if "self_identification" in m else {}
        return SuiteScore(name, int(m["n"]), int(m["passed"]), kinds, figures)
    except (KeyError, TypeError) as err:
        raise DataError(f"expected a suite's result, found no {err}", where=f"{path}: {name}") from None


def collect_judge(run: RunDir) -> JudgePart | None:
    """The judges' summary and first raw verdict in `evals/judge`: the original's rubric if it was used, else the strict one."""
    folder = run.evals.path / "judge"
    mode = next((m for m in ("cpsycoun", "strict") if (folder / f"summary.{m}.json").is_file()), None)
    if mode is None:
        return None
    path = folder / f"summary.{mode}.json"
    found = read_json(path)
    verdicts = folder / f"verdicts.{mode}.jsonl"
    try:
        raw = next((str(row["raw"]) for _, row in read_jsonl(verdicts) if row["raw"]), "") if verdicts.is_file() else ""
        means = tuple(
            JudgeMean(name, criterion, c.get("mean"), c.get("low"), c.get("high"), m["scored"], m["unscored"])
            for name, m in found["models"].items()
            for criterion, c in m["criteria"].items()
        )
        agreement = tuple((criterion, a["alpha"], a["units"]) for criterion, a in found["agreement"].items())
        return JudgePart(mode, tuple(found["judges"]), means, agreement, raw, found["seed"], f"evals/judge/{path.name}")
    except (KeyError, TypeError, AttributeError) as err:
        raise DataError(f"expected a judge's summary, found no {err}", where=str(path)) from None


def collect_style(run: RunDir) -> tuple[StyleRow, ...]:
    """Style counts of every model's replies, and of the references, from `generations.jsonl`."""
    from ..evals.style import METRICS, summarise

    if not run.generations.is_file():
        return ()
    by_model: dict[str, list[Generation]] = defaultdict(list)
    for _, row in read_jsonl(run.generations):
        by_model[str(row["model"])].append(Generation.from_json(row))
    out: list[StyleRow] = []
    for name, replies in by_model.items():
        found = summarise(replies)
        out.append(
            StyleRow(name, len(replies), {m: c["mean"] if (c := found["replies"][m]) else None for m in METRICS})
        )
    if out:
        found = summarise(next(iter(by_model.values())))["references"]
        out.append(StyleRow("reference", found["n"], {m: c["mean"] if (c := found[m]) else None for m in METRICS}))
    return tuple(out)


def collect_heldout(run: RunDir) -> tuple[Generation, ...]:
    """One test prompt with every model's answer: the dialogue with the most turns among the short ones (by id if equal)."""
    if not run.generations.is_file():
        return ()
    found = [Generation.from_json(row) for _, row in read_jsonl(run.generations)]
    fit = [g for g in found if len(g.messages) <= 5 and sum(len(m.content) for m in g.messages) <= 400]
    if not fit:
        return ()
    chosen = min(fit, key=lambda g: (-len(g.messages), g.id)).id
    return tuple(g for g in found if g.id == chosen)


def collect_episodes(run: RunDir) -> tuple[Episode, ...]:
    """The talks of `evals/suites/episodes.json`, a model at a time."""
    path = run.evals.path / "suites" / "episodes.json"
    if not path.is_file():
        return ()
    out = []
    found = read_json(path)
    try:
        for e in found["episodes"]:
            sampling = ", ".join(f"{k} {v:g}" for k, v in e["sampling"].items()) + f", seed {found['seed']}"
            for model, talk in e["talks"].items():
                messages = messages_from_json(talk)
                out.append(Episode(e["id"], model, e["system"] or "", sampling, messages, "evals/suites/episodes.json"))
    except (KeyError, TypeError, ValueError) as err:
        raise DataError(f"expected episodes, found {err}", where=str(path)) from None
    return tuple(out)


def collect_knowledge(run: RunDir) -> tuple[Knowledge, ...]:
    """Accuracy, recall and F1 on the keyed psychology questions of `evals/suites/knowledge.json`."""
    path = run.evals.path / "suites" / "knowledge.json"
    if not path.is_file():
        return ()
    keys = ("accuracy", "low", "high", "macro_recall", "macro_f1")
    try:
        return tuple(
            Knowledge(name, m["n"], m["unscored"], *(m[k] for k in keys))
            for name, m in read_json(path)["models"].items()
        )
    except (KeyError, TypeError) as err:
        raise DataError(f"expected a knowledge result, found no {err}", where=str(path)) from None


def collect_bench(run: RunDir) -> tuple[Mapping[str, float | str | None], ...]:
    """Rows of `evals/bench.json` (`hearme bench-model … --out`): one deployed form of the model each."""
    path = run.evals.path / "bench.json"
    if not path.is_file():
        return ()
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "model" in r for r in rows):
        raise DataError("expected a list of measured models", where=str(path), hint="hearme bench-model RUN --out FILE")
    return tuple(
        {
            **{k: v for k, v in r.items() if v is None or isinstance(v, int | float | str)},
            "model": Path(r["model"]).name,
        }
        for r in rows
    )


def collect_guard(run: RunDir) -> tuple[GuardRow, ...]:
    """Recall and false alarms of the guard, from `evals/guard.json` (`hearme guard eval --json`)."""
    path = run.evals.path / "guard.json"
    if not path.is_file():
        return ()
    try:
        return tuple(
            GuardRow(name, kind, int(r["n"]), float(r["rate"]), float(r["low"]), float(r["high"]))
            for name, found in read_json(path).items()
            for kind, r in found["crisis"].items()
        )
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise DataError(f"expected the guard's measures, found no {err}", where=str(path)) from None
