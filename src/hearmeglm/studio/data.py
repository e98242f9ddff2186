"""The Data tab: sources, what reading them gave, statistics, audit, a browser of samples, the split, a privacy preview."""

from __future__ import annotations

import shutil
import time
from html import escape
from pathlib import Path
from typing import Any

from ..errors import HearmeError
from ..files import data_dir, read_json, read_jsonl, sha256_file
from ..recipe import Recipe, Source
from ..run import RunDir
from . import browse, form, markup
from .desk import Desk, Sheet

SOURCE = ("format", "kind", "licence", "limit")
SPLIT = ("data.split.train", "data.split.valid", "data.split.test", "data.split.reason")
MORE = (
    "data.limits.train",
    "data.limits.valid",
    "data.limits.test",
    "data.near_duplicate",
    "data.max_opening",
    "data.scrub",
)
LEDGER_ROWS = 200


def build(desk: Desk, run: Any, pulse: Any) -> None:
    """Place the tab's controls and wire them."""
    import gradio as gr

    w = desk.words
    gr.HTML(f'<p class="hm-lead">{w("data.lead")}</p>')
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            gr.HTML(f"<h2>{w('data.sources')}</h2>")
            sources = gr.HTML(markup.empty(w, "data.none"))
            with gr.Accordion(w("data.add"), open=False):
                adding = _source_controls(desk)
            with gr.Accordion(w("data.remove"), open=False):
                gone = gr.Dropdown(label=w("data.which"), choices=[], interactive=True)
                remove = gr.Button(w("data.remove.do"), variant="stop", size="sm")
            gr.HTML(f"<h2>{w('data.split')}</h2>")
            sheet = Sheet(desk)
            with gr.Row():
                sheet.add(SPLIT[:3])
            sheet.add(SPLIT[3:])
            with gr.Accordion(w("advanced"), open=False):
                sheet.add(MORE)
            prepare = gr.Button(w("data.prepare"), variant="primary")
            said = gr.HTML()
        with gr.Column(scale=6, min_width=320), gr.Tabs():
            with gr.Tab(w("data.stats")):
                stats = gr.HTML(markup.empty(w, "data.unprepared"))
            with gr.Tab(w("data.ledger")):
                ledger = gr.HTML(markup.empty(w, "data.unprepared"))
            with gr.Tab(w("data.audit")):
                look = gr.Button(w("audit.do"), size="sm")
                audit = gr.HTML(markup.empty(w, "audit.none"))
            with gr.Tab(w("data.samples")):
                browse.samples(desk, run, pulse)
            with gr.Tab(w("data.privacy")):
                browse.privacy(desk, run, pulse)

    def shown(name: str | None) -> Any:
        folder = desk.run(name)
        recipe = folder.recipe if folder else None
        names = list(recipe.data.sources) if recipe else []
        return [
            _sources(recipe, desk),
            gr.update(choices=names, value=None),
            *sheet.show(folder),
            _stats(folder, desk),
            _ledger(folder, desk),
        ]

    outputs = [sources, gone, *sheet.controls, stats, ledger]
    gr.on([pulse.change], desk.safe(shown), [run], outputs, show_progress="hidden")
    gr.on(
        [pulse.change],
        desk.safe(lambda name: _audit(desk.run(name), desk)),
        [run],
        [audit],
        show_progress="hidden",
    )
    look.click(
        desk.safe(lambda name: desk.start(name, "audit", *browse.audit_command(desk.store.open(name)))), [run], [said]
    )
    desk.fade(pulse, said)
    nothing = gr.State("")
    sheet.on_edit(run, nothing, lambda name: _sources(desk.store.open(name).recipe, desk), [sources])

    def begin(name: str | None, *raw: Any) -> str:
        sheet.save(name, "", raw)
        path = desk.store.open(name).path
        return desk.start(name, "prepare", "prepare", str(path / "recipe.yaml"), "--run", str(path))

    prepare.click(desk.safe(begin), [run, *sheet.controls], [said])

    def take_out(ok: bool, name: str | None, source: str | None) -> Any:
        if not ok or not source:
            return [gr.skip() for _ in outputs]
        recipe = desk.store.open(name).recipe
        left = {k: v.model_dump(mode="json") for k, v in recipe.data.sources.items() if k != source}
        desk.store.edit(str(name), {"data.sources": left})
        return shown(name)

    no = gr.Checkbox(visible=False)
    remove.click(desk.safe(take_out), [no, run, gone], outputs, js=desk.confirmed("data.remove.ask", 2))
    _wire_adding(desk, adding, run, outputs, shown)


def _source_controls(desk: Desk) -> dict[str, Any]:
    import gradio as gr

    from ..data.sources import FORMATS

    w, known = desk.words, form.by_path(Recipe)
    out: dict[str, Any] = {"name": gr.Textbox("", label=w("data.name"), info=w("data.name.info"), max_lines=1)}
    out["path"] = gr.Textbox("", label=w("data.path"), info=w("data.path.info"), max_lines=1)
    out["upload"] = gr.File(label=w("data.upload"), file_types=[".json", ".jsonl", ".txt"], height=132)
    for key in SOURCE:
        one = known[f"data.sources.*.{key}"]
        label, info = w.field(one)
        if key == "format":
            out[key] = gr.Dropdown(list(FORMATS), value="auto", label=label, info=info)
        else:
            out[key] = one.control(w, {"kind": "counselling"}.get(key))
    with gr.Row():
        out["check"] = gr.Button(w("data.check"))
        out["add"] = gr.Button(w("data.add.do"), variant="primary")
    out["result"] = gr.HTML()
    return out


def _wire_adding(desk: Desk, c: dict[str, Any], run: Any, outputs: list[Any], shown: Any) -> None:
    w = desk.words

    def check(path: str, upload: str | None, format: str) -> str:
        from ..data.sources import survey

        try:
            began = time.perf_counter()
            reading = survey(_place(path, upload), format)
        except HearmeError as err:
            return markup.problem(w, err)
        facts = [
            (w("data.format"), reading.format),
            (w("dialogues"), reading.dialogues),
            (w("turns"), reading.turns),
            (w("dropped"), reading.dropped),
            (w("time"), markup.seconds(time.perf_counter() - began)),
        ]
        warnings = (
            markup.notice(w("data.warnings"), "warn", *map(w.said, reading.warnings[:12])) if reading.warnings else ""
        )
        return markup.notice(w("data.readable"), "good") + markup.table([w("what"), w("value")], facts) + warnings

    def add(
        name: str | None, source: str, path: str, upload: str | None, format: str, kind: str, licence: str, limit: Any
    ) -> Any:
        from ..data.sources import survey

        place = _place(path, upload)
        survey(place, format)
        one = Source.model_validate(
            {
                "format": format,
                "path": str(Path(place).resolve()) if place else "",
                "kind": kind,
                "licence": licence,
                "limit": limit or None,
            }
        )
        recipe = desk.store.open(name).recipe
        have = {k: v.model_dump(mode="json") for k, v in recipe.data.sources.items()}
        source = source.strip() or Path(place).stem or "starter"
        changes: dict[str, Any] = {"data.sources": {**have, source: one.model_dump(mode="json")}}
        if recipe.stages and source not in have:  # the last stage learns from it once, or nobody would
            last = list(recipe.stages)[-1]
            changes[f"stages.{last}.mix"] = {**recipe.stages[last].mix, source: 1}
        desk.store.edit(str(name), changes)
        return [*shown(name), markup.notice(w("data.added", name=source), "good", w("data.added.how"))]

    c["check"].click(check, [c["path"], c["upload"], c["format"]], [c["result"]])
    inputs = [run, c["name"], c["path"], c["upload"], *(c[k] for k in SOURCE)]
    c["add"].click(desk.safe(add), inputs, [*outputs, c["result"]])


def _place(path: str, upload: str | None) -> str:
    """The typed path, or a lasting copy of the upload (Gradio's own is temporary, and a cache may be emptied)."""
    if path.strip() or not upload:
        return str(Path(path.strip()).expanduser()) if path.strip() else ""
    # A folder by content: two uploads of one name must not overwrite each other.
    target = data_dir() / "uploads" / sha256_file(Path(upload))[:12] / Path(upload).name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(upload, target)
    return str(target)


def _sources(recipe: Recipe | None, desk: Desk) -> str:
    w = desk.words
    if recipe is None or not recipe.data.sources:
        return markup.empty(w, "data.none")
    head = [w("data.name"), w("data.format"), w("data.kind"), w("data.path"), w("data.licence")]
    rows = [
        (n, s.format, w(f"kind.{s.kind}"), _short(s.path) or w("data.packaged"), s.licence)
        for n, s in recipe.data.sources.items()
        if s.enabled
    ]
    return markup.table(head, rows)


def _short(path: str, most: int = 34) -> str:
    return path if len(path) <= most else "…" + path[-most + 1 :]


def _stats(run: RunDir | None, desk: Desk) -> str:
    from . import charts

    w = desk.words
    manifest = run.data.manifest() if run else None
    if run is None or manifest is None:
        return markup.empty(w, "data.unprepared")
    found: dict[str, Any] = read_json(run.data.path / "stats.json")
    splits = {w(f"split.{k}"): v["dialogues"] for k, v in found["splits"].items()}
    reason = found.get("split", {}).get("reason", "")
    parts = [charts.bars({k: float(v) for k, v in splits.items()}, w("data.splits"))]
    if reason:
        parts.append(f'<p class="hm-small">{w("data.reason")}{escape(w.said(reason))}</p>')
    head = [w("data.source"), w("read"), w("kept"), w("dropped"), w("changed"), w("turns")]
    rows = []
    for name, s in found["sources"].items():
        rows.append(
            (name, s["read"], s["kept"], sum(s["dropped"].values()), sum(s["changed"].values()), s.get("turns", 0))
        )
    parts.append(markup.table(head, rows, w("data.read.caption")))
    why: dict[str, int] = {}
    for s in found["sources"].values():
        for reason_name, n in s["dropped"].items():
            why[reason_name] = why.get(reason_name, 0) + n
    if why:
        parts.append(
            charts.bars({w.said(k): float(v) for k, v in sorted(why.items(), key=lambda i: -i[1])[:8]}, w("data.why"))
        )
    dialogues = browse.dialogues(run)
    lengths = [sum(len(m.content) for m in d.messages) for d in dialogues]
    parts.append(charts.histogram([float(x) for x in lengths], w("data.lengths"), w("characters")))
    parts.append(charts.histogram([float(d.turns) for d in dialogues], w("data.turns"), w("turns")))
    return "".join(parts)


def _ledger(run: RunDir | None, desk: Desk) -> str:
    w = desk.words
    path = run.data.path / "ledger.jsonl" if run else None
    if path is None or not path.is_file():
        return markup.empty(w, "data.unprepared")
    rows = [row for _, row in read_jsonl(path)]
    if not rows:
        return markup.notice(w("data.ledger.none"), "good")
    head = [w("data.source"), w("data.action"), w("data.reason.col"), w("data.file"), w("data.detail")]
    shown = [
        (
            r.get("source"),
            w.said(r.get("action", "")),
            w.said(r.get("reason", "")),
            f"{Path(r.get('file', '')).name} {r.get('place', '')}".strip(),
            str(r.get("detail", ""))[:90],
        )
        for r in rows[:LEDGER_ROWS]
    ]
    return f'<p class="hm-small">{w("data.ledger.note", shown=len(shown), all=len(rows))}</p>' + markup.table(
        head, shown
    )


def _audit(run: RunDir | None, desk: Desk) -> str:
    return browse.audit(run, desk) if run else markup.empty(desk.words, "audit.none")
