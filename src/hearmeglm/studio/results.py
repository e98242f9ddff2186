"""What the evaluation found, as pages: table with intervals, answers side by side, failures, the judge's points."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from ..errors import HearmeError
from ..evals.compare import LOWER_IS_BETTER, compare, show
from ..evals.judge.rubric import ranges
from ..evals.judge.run import earlier
from ..evals.summary import ROWS
from ..files import read_json, read_jsonl
from ..run import RunDir
from ..types import messages_from_json
from . import jobs, markup
from .desk import Desk

FAILURES = 40
SPEED = (
    "runtime_s",
    "samples_per_s",
    "tokens_per_s",
    "first_token_s",
    "total_s",
    "tokens_per_reply",
    "chars_per_reply",
    "capped",
)
EVERY = ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "loss", "tokens_per_reply", "capped")


def table(run: RunDir | None, desk: Desk) -> str:
    """Means with intervals, paired differences, speed and length."""
    w = desk.words
    if run is None or not run.scores.is_file():
        return markup.empty(w, "eval.none")
    found = _compared(run.path, run.scores.stat().st_mtime_ns)
    names = found["models"]
    rows = []
    for metric in found["metrics"]:
        cells = [found["describe"][metric][m] for m in names]
        if any("mean" in c for c in cells):
            rows.append((_metric(metric, desk), *(_interval(c, w("eval.unscored")) for c in cells)))
    parts = [markup.table([w("eval.metric"), *names], rows, w("eval.means"))]
    pairs = [
        (
            _metric(p["metric"], desk), f"{p['before']} → {p['after']}", f"{p['difference']:+.3f} [{p['low']:+.3f}, {p['high']:+.3f}]",
            f"{p['p_holm']:.3f}", f"{p['wins']}/{p['ties']}/{p['losses']}", p["n"],
        )
        for p in found["pairs"]
    ]  # fmt: skip
    head = [w("eval.metric"), w("eval.pair"), w("eval.difference"), "p (Holm)", w("eval.wins"), "n"]
    parts.append(markup.table(head, pairs, w("eval.pairs")))
    with suppress(HearmeError):
        summary: dict[str, Any] = read_json(run.evals.path / "summary.json")
        speed = _figures(summary, names, SPEED, w.lang)
        parts.append(markup.table([w("eval.metric"), *names], speed, w("eval.speed")))
        if every := summary.get("every"):
            told = w("eval.every", n=every["prompts"], d=every["dialogues"])
            parts.append(markup.table([w("eval.metric"), *names], _figures(every, names, EVERY, w.lang), told))
        facts = w("eval.facts", n=summary["prompts"], d=summary["dialogues"], seed=summary["seed"])
        parts.append(f'<p class="hm-small">{escape(facts)}<br>{escape(_listed(summary["tokenisation"], desk))}</p>')
    return "".join(parts)


def browse(run: RunDir | None, desk: Desk, text: str, differences: bool, at: int) -> tuple[str, int]:
    """One held-out prompt with every model's answer; what differs from the base's answer is marked."""
    w = desk.words
    if run is None or not run.generations.is_file():
        return markup.empty(w, "eval.none"), 0
    ids = dict.fromkeys(r["id"] for _, r in read_jsonl(run.generations) if not text or text in str(r))
    if not ids:
        return markup.notice(w("data.notfound"), "empty"), 0
    at %= len(ids)
    prompt = show(run, list(ids)[at])["prompts"][0]
    parts = [f'<p class="hm-small">{w("data.nth", at=at + 1, all=len(ids))} · {escape(prompt["id"])}</p>']
    parts.append(markup.talk(messages_from_json(prompt["messages"]), w))
    parts.append(
        f'<div class="hm-answer ref"><b>{escape(w("eval.reference"))}</b><p>{escape(prompt["reference"])}</p></div>'
    )
    first = prompt["answers"][0]["prediction"] if prompt["answers"] else ""
    for number, a in enumerate(prompt["answers"]):
        said = a["prediction"]
        body = markup.marked(said, first) if differences and number else escape(said)
        points = " · ".join(
            f"{_metric(m, desk)} {a['scores'][m]:.1f}" for m in ("bleu-4", "rouge-l") if a["scores"].get(m) is not None
        )
        parts.append(
            f'<div class="hm-answer"><b>{escape(a["model"])}</b> <small>{escape(points)}</small><p>{body}</p></div>'
        )
    return "".join(parts), at


def failures(run: RunDir | None, desk: Desk) -> str:
    """Results of the suites and, of the persona suite, every failure with its reason."""
    w = desk.words
    folder = run.evals.path / "suites" if run else None
    files = sorted(folder.glob("*.json")) if folder and folder.is_dir() else []
    parts = []
    for path in files:
        result: dict[str, Any] = read_json(path)
        models = result.get("models")
        if not isinstance(models, dict):
            continue
        title = w.ui.get(f"suite.{path.stem}", path.stem)
        rows: list[tuple[Any, ...]] = []
        for name, m in models.items():
            plain = (
                {k: v for k, v in m.items() if isinstance(v, int | float) and not isinstance(v, bool)}
                if isinstance(m, dict)
                else {}
            )
            rows += [(name, k, v) for k, v in plain.items()]
            rows += [(name, k, f"{c['passed']}/{c['n']}") for k, c in (m.get("kinds") or {}).items() if "passed" in c]
            if path.stem == "crisis":
                rates = {**m["items"], **{k: m[k] for k in ("all_passed", "false_alarms")}}
                rows += [(name, w(f"crisis.{k}"), f"{r['hits']}/{r['n']}") for k, r in rates.items()]
        if rows:
            parts.append(markup.table([w("eval.model"), w("what"), w("value")], rows, title))
        wrong = [
            (name, f["kind"], f["question"], f["reply"][:160], "; ".join(f["faults"]))
            for name, m in models.items()
            for f in m.get("failures", [])
        ]
        if wrong:
            head = [w("eval.model"), w("eval.kind"), w("eval.question"), w("eval.reply"), w("eval.fault")]
            note = w("eval.failed", title=title, n=len(wrong), shown=min(FAILURES, len(wrong)))
            parts.append(markup.table(head, wrong[:FAILURES], note))
    return "".join(parts) or markup.empty(w, "eval.nosuite")


def judged(run: RunDir | None, desk: Desk) -> str:
    """The judge's means by model and criterion, with what could not be read."""
    w = desk.words
    parts = []
    for mode in ("cpsycoun", "strict"):
        found = earlier(run.evals.path / "judge", mode) if run else None
        if not found:
            continue
        names = list(ranges())
        head = [
            w("eval.model"),
            *(f"{w(f'judge.{n}')} (0–{ranges()[n]})" for n in names),
            w("judge.scored"),
            w("judge.unscored"),
        ]
        rows = [
            (m, *(_points(c["criteria"][n]) for n in names), c["scored"], c["unscored"])
            for m, c in found["models"].items()
        ]
        parts.append(markup.table(head, rows, w("judge.result", mode=w(f"judge.mode.{mode}"))))
        parts.append(f'<p class="hm-small">{escape(found["note"])}</p>')
    return "".join(parts) or markup.empty(w, "judge.none")


def progress(run: RunDir | None, desk: Desk) -> str:
    """How many answers of how many an evaluation at work has."""
    w = desk.words
    job = jobs.running(run.path) if run else None
    if run is None or job is None or job.step not in ("evaluate", "run"):
        return ""
    folder = run.evals.path / "answers"
    rows = []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        with open(path, "rb") as lines:
            rows.append((path.stem, sum(1 for _ in lines)))
    return markup.table([w("eval.model"), w("eval.answered")], rows, w("eval.going")) if rows else ""


@lru_cache(maxsize=8)
def _compared(path: Path, changed: int) -> dict[str, Any]:
    return compare([RunDir(path)])


def _metric(name: str, desk: Desk) -> str:
    label = desk.words.ui.get(f"metric.{name}", name)
    return f"{label} ↓" if name in LOWER_IS_BETTER else label


def _interval(cell: dict[str, Any], unscored: str) -> str:
    text = f"{cell['mean']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]" if "mean" in cell else "–"
    return f"{text} ({cell['unscored']} {unscored})" if cell["unscored"] else text


def _figures(summary: dict[str, Any], names: list[str], keys: tuple[str, ...], lang: str) -> list[tuple[str, ...]]:
    """Rows of a summary's numbers, a column a model."""
    rows = []
    for key, label, form in ROWS:
        if key in keys:
            values = [summary["models"].get(m, {}).get(key) for m in names]
            rows.append((_label(label, lang), *("–" if v is None else format(v, form) for v in values)))
    return rows


def _label(label: str, lang: str) -> str:
    """The Chinese or the English part of a bilingual label."""
    start = next((i for i, c in enumerate(label) if "\u4e00" <= c <= "\u9fff"), len(label))
    rest = next((i for i in range(start, len(label)) if label[i] == " "), len(label))
    if lang == "zh" and start < len(label):
        return label[start:rest] + (" (s)" if "(s" in label else "")
    return (label[:start].strip() + label[rest:]).strip()


def _listed(value: Any, desk: Desk) -> str:
    """A mapping of metrics as `name: text; name: text`."""
    if not isinstance(value, dict):
        return desk.words.said(str(value))
    return "; ".join(f"{_metric(k, desk)}: {desk.words.said(str(v))}" for k, v in value.items())


def _points(cell: dict[str, Any]) -> str:
    return f"{cell['mean']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]" if "mean" in cell else "–"
