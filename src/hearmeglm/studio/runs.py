"""The Runs tab: every run with its steps and disk use; curves and settings side by side; rename, archive; the jobs it had."""

from __future__ import annotations

import time
from typing import Any

from ..run import RunDir
from ..train.curves import smooth
from . import charts, form, jobs, live, markup
from .desk import Desk


def build(desk: Desk, run: Any, pulse: Any) -> None:
    """Place the tab's controls and wire them."""
    import gradio as gr

    w = desk.words
    gr.HTML(f'<p class="hm-lead">{w("runs.lead")}</p>')
    listing = gr.HTML(_list(desk))
    with gr.Row():
        again = gr.Button(w("runs.refresh"), size="sm", elem_classes=["hm-narrow"])
    gr.HTML(f"<h2>{w('runs.compare')}</h2>")
    chosen = gr.Dropdown(desk.store.names(), multiselect=True, label=w("runs.which"), info=w("runs.which.info"))
    beside = gr.HTML(markup.empty(w, "runs.nothing"))
    gr.HTML(f"<h2>{w('runs.jobs')}</h2>")
    history = gr.HTML()
    gr.HTML(f"<h2>{w('runs.tidy')}</h2>")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            new = gr.Textbox("", label=w("runs.newname"), max_lines=1)
            rename = gr.Button(w("runs.rename"))
        with gr.Column(min_width=280):
            gr.HTML(f'<p class="hm-small">{w("runs.archive.info")}</p>')
            archive = gr.Button(w("runs.archive"), variant="stop")
    said = gr.HTML()

    def refresh(name: str | None) -> Any:
        return _list(desk), gr.update(choices=desk.store.names()), _history(desk.run(name), desk)

    outputs = [listing, chosen, history]
    gr.on([again.click, pulse.change], desk.safe(refresh), [run], outputs, show_progress="hidden")
    chosen.input(desk.safe(lambda names: compare(desk, names or [])), [chosen], [beside])

    def renamed(name: str | None, to: str) -> Any:
        desk.store.rename(desk.store.open(name).path.name, to)
        return gr.update(choices=desk.store.names(), value=to.strip()), markup.notice(
            w("runs.renamed", name=to), "good"
        )

    def archived(ok: bool, name: str | None) -> Any:
        if not ok:
            return gr.skip(), gr.skip()
        target = desk.store.archive(desk.store.open(name).path.name)
        names = desk.store.names()
        return gr.update(choices=names, value=names[0] if names else None), markup.notice(
            w("runs.archived"), "good", str(target)
        )

    rename.click(desk.safe(renamed), [run, new], [run, said])
    no = gr.Checkbox(visible=False)
    archive.click(desk.safe(archived), [no, run], [run, said], js=desk.confirmed("runs.archive.ask", 1))


def compare(desk: Desk, names: list[str]) -> str:
    """Runs side by side: validation and training loss in one chart, results, and the settings that differ."""
    w = desk.words
    runs = [desk.store.open(n) for n in names]
    if not runs:
        return markup.empty(w, "runs.nothing")
    series: dict[str, list[charts.Point]] = {}
    rows = []
    for name, run in zip(names, runs, strict=True):
        for stage in live.stages_with_curves(run):
            log = live.metrics(run, stage)
            train = live.curves(log, "loss")
            label = f"{name} · {stage}"
            series[label] = list(zip([x for x, _ in train], smooth([y for _, y in train]), strict=True))
            held = live.curves(log, "eval_loss")
            spent = next((r["seconds"] for r in reversed(log) if "seconds" in r), None)
            rows.append(
                (
                    label,
                    len(train),
                    train[-1][1] if train else None,
                    held[-1][1] if held else None,
                    markup.seconds(spent),
                )
            )
    parts = [charts.lines(series, w("runs.curves"), w("train.step"))]
    if rows:
        parts.append(markup.table([w("runs.run"), w("train.step"), w("train.loss"), w("train.held"), w("time")], rows))
    different = _differences(runs)
    if different:
        parts.append(markup.table([w("runs.setting"), *names], different, w("runs.differ")))
    elif len(runs) > 1:
        parts.append(markup.notice(w("runs.same"), "info"))
    return "".join(parts)


def _differences(runs: list[RunDir]) -> list[tuple[Any, ...]]:
    flat = [_flat(r.recipe.model_dump(mode="json")) for r in runs]
    keys = list(dict.fromkeys(k for f in flat for k in f if k != "name"))
    return [
        (k, *(form.Field(k, "yaml", "").shown(f.get(k)) for f in flat))
        for k in keys
        if len({repr(f.get(k)) for f in flat}) > 1
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for k, v in tree.items():
        if isinstance(v, dict) and v:
            out |= _flat(v, f"{prefix}{k}.")
        else:
            out[f"{prefix}{k}"] = v
    return out


def _list(desk: Desk) -> str:
    w = desk.words
    found = desk.store.list()
    if not found:
        return markup.empty(w, "runs.none")
    rows = []
    for one in found:
        busy = jobs.running(one.path)
        done = " ".join(
            f"{'●' if ok else '○'} {w(f'step.{s}') if s in ('data', 'evals') else s}" for s, ok in one.steps.items()
        )
        state = (
            markup.Raw(markup.notice(w.said(one.problem), "bad"))
            if one.problem
            else (w("state.work") + f" ({busy.step})" if busy else done)
        )
        rows.append(
            (
                one.name,
                w.said(one.description),
                state,
                markup.size(one.bytes),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(one.modified)),
            )
        )
    return markup.table([w("runs.run"), w("runs.about"), w("steps"), w("runs.size"), w("runs.changed")], rows)


def _history(run: RunDir | None, desk: Desk) -> str:
    w = desk.words
    found = jobs.jobs(run.path) if run else []
    if not found:
        return markup.empty(w, "runs.nojobs")
    rows = []
    for j in found[:20]:
        took = markup.seconds((j.ended or time.time()) - j.started) if j.ended or j.state == "running" else "–"
        began = time.strftime("%m-%d %H:%M:%S", time.localtime(j.started))
        rows.append(
            (
                j.folder.name,
                w(f"job.state.{j.state}"),
                began,
                took,
                w.said(j.error())[:160] if j.state in ("failed", "lost") else "",
                j.command,
            )
        )
    return markup.table(
        [w("runs.job"), w("runs.state"), w("runs.began"), w("time"), w("runs.said"), w("runs.command")], rows
    )
