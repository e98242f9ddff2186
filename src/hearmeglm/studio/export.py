"""The Export & report tab: a model that others can run, and the bilingual report with preview and download."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..models.gguf_quantize import QUANTS
from ..recipe import Recipe
from ..run import RunDir
from . import form, markup
from .desk import Desk, Sheet

USUAL = ("q8_0", "q4_k_m")
OWNER = ("report.student_id", "report.name", "report.class_name", "report.instructor")
SHOWN = (".gguf", ".safetensors", "Modelfile", ".json", ".md", ".pdf", ".html", ".docx")


def build(desk: Desk, run: Any, pulse: Any) -> None:
    """Place the tab's controls and wire them."""
    import gradio as gr

    w, known = desk.words, form.by_path(Recipe)
    gr.HTML(f'<p class="hm-lead">{w("export.lead")}</p>')
    with gr.Row():
        with gr.Column(min_width=320):
            gr.HTML(f"<h2>{w('export.model')}</h2>")
            stage = gr.Dropdown([], label=w("export.stage"), info=w("export.stage.info"))
            kind = gr.Radio(
                [(w("export.hf"), "hf"), (w("export.gguf"), "gguf")],
                value="gguf",
                label=w("export.format"),
                info=w("export.format.info"),
            )
            quants = gr.CheckboxGroup(
                list(QUANTS), value=list(USUAL), label=w("export.quants"), info=w("export.quants.info")
            )
            gr.HTML(_quant_table(desk))
            do = gr.Button(w("export.do"), variant="primary")
            said = gr.HTML()
            made = gr.HTML(markup.empty(w, "export.none"))
            files = gr.Files(label=w("export.files"), interactive=False, visible=False)
        with gr.Column(min_width=320):
            gr.HTML(f"<h2>{w('report.title')}</h2>")
            sheet = Sheet(desk)
            for pair in (OWNER[:2], OWNER[2:]):
                with gr.Row():
                    sheet.add([p for p in pair if p in known], known)
            with gr.Row():
                lang = gr.Radio(
                    [(w(f"report.lang.{x}"), x) for x in ("both", "zh", "en")], value="both", label=w("report.lang")
                )
                shape = gr.Radio(["html", "pdf", "docx"], value="html", label=w("report.format"))
            write = gr.Button(w("report.do"), variant="primary")
            told = gr.HTML()
            preview = gr.HTML(markup.empty(w, "report.none"))
            reports = gr.Files(label=w("report.files"), interactive=False, visible=False)

    def opened(name: str | None) -> Any:
        folder = desk.run(name)
        stages = [s for s in folder.recipe.stages if folder.step(s).manifest_path.is_file()] if folder else []
        listed, found = _exports(folder, desk)
        page, papers = _reports(folder, desk)
        return [
            gr.update(choices=stages, value=stages[-1] if stages else None), *sheet.show(folder),
            listed, gr.update(value=found, visible=bool(found)), page, gr.update(value=papers, visible=bool(papers)),
        ]  # fmt: skip

    gr.on(
        [pulse.change],
        desk.safe(opened),
        [run],
        [stage, *sheet.controls, made, files, preview, reports],
        show_progress="hidden",
    )
    desk.fade(pulse, said, told)
    nothing = gr.State("")
    sheet.on_edit(run, nothing, lambda name: "", [told])
    kind.input(lambda k: gr.update(visible=k == "gguf"), [kind], [quants], show_progress="hidden")

    def export(name: str | None, part: str | None, how: str, wanted: list[str]) -> str:
        path = desk.store.open(name).path
        ref = f"{path}:{part}" if part else str(path)
        asked = [x for q in wanted for x in ("--quant", q)] if how == "gguf" else []
        return desk.start(name, "export", "export", ref, "--format", how, *asked)

    do.click(desk.safe(export), [run, stage, kind, quants], [said])

    def report(name: str | None, language: str, paper: str, *raw: Any) -> str:
        sheet.save(name, "", raw)
        path = desk.store.open(name).path
        return desk.start(name, "report", "report", str(path), "--lang", language, "--format", paper)

    write.click(desk.safe(report), [run, lang, shape, *sheet.controls], [told])


def _quant_table(desk: Desk) -> str:
    """What the usual presets mean, for a student."""
    w = desk.words
    rows = [(q, w(f"quant.{q}")) for q in ("f16", "q8_0", "q5_k_m", "q4_k_m", "q2_k")]
    return markup.table([w("export.quant"), w("export.meaning")], rows)


def _exports(run: RunDir | None, desk: Desk) -> tuple[str, list[str]]:
    w = desk.words
    folder = run.path / "export" if run else None
    found = (
        sorted(p for p in folder.rglob("*") if p.is_file() and p.name.endswith(SHOWN))
        if folder and folder.is_dir()
        else []
    )
    if not found or folder is None:
        return markup.empty(w, "export.none"), []
    rows = [(str(p.relative_to(folder)), markup.size(p.stat().st_size)) for p in found]
    parts = [markup.table([w("data.file"), w("runs.size")], rows, w("export.made"))]
    for p in found:
        if p.name == "Modelfile":
            parts.append(
                f'<details class="hm-code"><summary>{escape(str(p.relative_to(folder)))}</summary><pre tabindex="0">{escape(p.read_text(encoding="utf-8"))}</pre></details>'
            )
    return "".join(parts), [str(p) for p in found if p.suffix in (".gguf", ".md") or p.name == "Modelfile"]


def _reports(run: RunDir | None, desk: Desk) -> tuple[str, list[str]]:
    w = desk.words
    folder = run.path / "report" if run else None
    found: list[Path] = (
        sorted(p for p in folder.glob("*.*") if p.suffix in (".pdf", ".html", ".docx"))
        if folder and folder.is_dir()
        else []
    )
    if not found:
        return markup.empty(w, "report.none"), []
    newest = max((p for p in found if p.suffix == ".html"), key=lambda p: p.stat().st_mtime, default=None)
    if newest is None:
        return markup.notice(w("report.ready"), "good", *(p.name for p in found)), [str(p) for p in found]
    source = f"/report/{quote(run.path.name)}/{quote(newest.name)}?{newest.stat().st_mtime_ns}" if run else ""
    frame = f'<iframe class="hm-report" title="{escape(w("report.preview"))}" sandbox src="{escape(source)}"></iframe>'
    return frame, [str(p) for p in found]
