"""A stage at work, read from the files it writes: curves, speed, time left, memory, answers of checkpoints; and the plan before it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from ..errors import HearmeError, RunError
from ..files import read_json, read_jsonl
from ..run import RunDir
from ..train.curves import smooth
from . import charts, jobs, markup
from .desk import Desk

Rows = list[dict[str, Any]]
PLAN_S = 600


def metrics(run: RunDir, stage: str) -> Rows:
    """The log of a stage so far: one row a logged step or evaluation."""
    with suppress(HearmeError):
        return [row for _, row in read_jsonl(run.path / stage / "metrics.jsonl")]
    return []


def stages_with_curves(run: RunDir) -> list[str]:
    """Stages that have a log, in the recipe's order."""
    return [s for s in run.recipe.stages if (run.path / s / "metrics.jsonl").is_file()]


def watch(run: RunDir | None, desk: Desk, weight: float) -> tuple[str, str, str]:
    """(curves and numbers, answers of the checkpoints, log) of a run's training."""
    w = desk.words
    if run is None:
        return markup.empty(w, "train.nothing"), markup.empty(w, "train.noanswers"), ""
    job = next((j for j in jobs.jobs(run.path) if j.step in ("train", "run", "prepare")), None)
    log = job.log() if job else ""
    parts = []
    if job and job.state in ("failed", "lost"):
        parts.append(markup.notice(w(f"job.{job.state}"), "bad", w.said(job.error()), w("job.failed.how")))
    for stage in reversed(stages_with_curves(run)):
        rows = metrics(run, stage)
        if rows:
            at_work = job is not None and job.state == "running" and run.step(stage).manifest() is None
            parts.append(_stage(run, stage, rows, desk, weight, job if at_work else None))
    answers = _answers(run, desk)
    return "".join(parts) or markup.empty(w, "train.nothing"), answers or markup.empty(w, "train.noanswers"), log


def curves(rows: Rows, key: str) -> list[charts.Point]:
    """(step, value) of the rows that have `key`."""
    return [(float(r["step"]), float(r[key])) for r in rows if key in r]


def plan(run: RunDir, desk: Desk) -> str:
    """Memory, time, whether it fits, and why, before anything is started.

    A process of its own (`hearme plan RUN --json`), since the probe measures the memory of the process that it runs in.

    Raises:
        RunError: what the plan ran into.
    """
    w = desk.words
    command = [sys.executable, "-m", "hearmeglm", "plan", str(run.path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=PLAN_S)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise RunError(said[-1].removeprefix("hearme: "), where=run.path.name)
    made: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    memory_of: dict[str, int] = made["memory"]
    peak = max((s["peak_bytes"] for s in made["stages"]), default=0)
    why = w(
        "plan.why",
        peak=markup.size(peak),
        free=markup.size(memory_of["available"]),
        total=markup.size(memory_of["total"]),
    )
    verdict = (
        markup.notice(w("plan.fits"), "good", why)
        if made["fits"]
        else markup.notice(w("plan.nofit"), "bad", why, w("plan.how"))
    )
    facts = [
        (w("plan.time"), markup.seconds(made["seconds"])),
        (w("plan.device"), made["device"]),
        (w("plan.parameters"), f"{made['parameters']:,}"),
        (w("plan.trainable"), f"{made['trainable']:,}"),
        (w("plan.speed"), f"{made['tokens_per_second']:.0f}" if made["tokens_per_second"] else "–"),
    ]
    cards = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    head = [w("plan.stage"), w("plan.examples"), w("plan.tokens"), w("plan.steps"), w("time"), w("plan.peak")]
    rows = [
        (s["stage"], s["examples"], s["tokens"], s["steps"], markup.seconds(s["seconds"]), markup.size(s["peak_bytes"]))
        for s in made["stages"]
    ]
    notes = "".join(f'<p class="hm-small">{escape(w.said(n))}</p>' for n in made["notes"])
    return f'{verdict}<dl class="hm-facts">{cards}</dl>{markup.table(head, rows)}{notes}'


def memory(job: jobs.Job) -> int | None:
    """Resident bytes of the job's processes, where the system tells (Linux)."""
    try:
        group = int(read_json(job.folder / "pid.json")["pid"])
    except (HearmeError, KeyError, ValueError):
        return None
    pages = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                pages += int((entry / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") if pages else None


def _stage(run: RunDir, stage: str, rows: Rows, desk: Desk, weight: float, job: jobs.Job | None) -> str:
    w = desk.words
    train, held = curves(rows, "loss"), curves(rows, "eval_loss")
    soft = list(zip([x for x, _ in train], smooth([y for _, y in train], weight), strict=True))
    names = {"raw": w("train.raw"), "soft": w("train.soft"), "held": w("train.held")}
    series = {names["raw"]: train, names["soft"]: soft, names["held"]: held}
    loss = charts.lines(
        series, f"{stage} · {w('train.loss')}", w("train.step"), faint=[names["raw"]], dots=[names["held"]]
    )
    rate = charts.lines(
        {w("train.rate"): curves(rows, "learning_rate")}, w("train.rate"), w("train.step"), width=charts.HALF
    )
    speed = charts.lines(
        {w("train.speed"): curves(rows, "tokens_per_second")}, w("train.speed"), w("train.step"), width=charts.HALF
    )
    last_step = int(rows[-1]["step"])
    spent = next((r["seconds"] for r in reversed(rows) if "seconds" in r), None)
    progress = job.progress() if job else None
    whole = progress[1] if progress else last_step
    left = spent / last_step * (whole - last_step) if spent and last_step and job else None
    result: dict[str, Any] = {}
    if run.step(stage).manifest() is not None:
        with suppress(HearmeError):
            result = read_json(run.path / stage / "result.json")
    used = memory(job) if job else result.get("peak_memory_bytes")
    tokens = next((r["tokens_per_second"] for r in reversed(rows) if "tokens_per_second" in r), None)
    facts = [
        (w("train.at"), f"{last_step} / {whole}"),
        (w("train.loss.now"), f"{soft[-1][1]:.3f}" if soft else "–"),
        (w("train.held"), f"{held[-1][1]:.3f}" if held else "–"),
        (w("train.speed"), f"{tokens:.0f}" if tokens else "–"),
        (w("train.left") if job else w("train.took"), markup.seconds(left if job else spent)),
        (w("train.memory" if job else "train.peak"), markup.size(used) if used else "–"),
    ]
    cards = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    moving = markup.bar(last_step, whole, w("train.at")) if job else ""
    return f'{moving}<dl class="hm-facts">{cards}</dl>{loss}<div class="hm-pair">{rate}{speed}</div>'


def _answers(run: RunDir, desk: Desk) -> str:
    """The fixed questions: what each checkpoint answered, the latest stage first."""
    out = []
    for stage in reversed(list(run.recipe.stages)):
        path = run.path / stage / "samples.jsonl"
        if not path.is_file():
            continue
        with suppress(HearmeError):
            asked: dict[str, list[dict[str, Any]]] = {}
            for _, row in read_jsonl(path):
                asked.setdefault(row["question"], []).append(row)
            for question, rows in asked.items():
                said = "".join(f"<li><b>{escape(stage)} · {r['step']}</b> {escape(r['answer'])}</li>" for r in rows)
                out.append(
                    f'<div class="hm-say user"><p>{escape(question)}</p></div><ul class="hm-answers">{said}</ul>'
                )
    return "".join(out)
