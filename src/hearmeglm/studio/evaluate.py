"""The Evaluate tab: choose models and suites, watch, read the before/after table, browse answers, set up the judge."""

from __future__ import annotations

from typing import Any

from ..evals.contestants import BASE, PROMPTED
from ..recipe import Recipe
from ..run import RunDir
from . import form, judging, markup, results
from .desk import Desk, Sheet

SUITES = ("persona", "knowledge", "style", "crisis", "episodes", "talks")
BASIC = ("evaluation.limit", "evaluation.batch_size")


def build(desk: Desk, run: Any, pulse: Any, timer: Any) -> None:
    """Place the tab's controls and wire them."""
    import gradio as gr

    w, known = desk.words, form.by_path(Recipe)
    gr.HTML(f'<p class="hm-lead">{w("eval.lead")}</p>')
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            gr.HTML(f"<h2>{w('eval.who')}</h2>")
            models = gr.CheckboxGroup([], label=w("eval.models"), info=w("eval.models.info"))
            sheet = Sheet(desk)
            with gr.Row():
                sheet.add(BASIC, known)
            with gr.Accordion(w("advanced"), open=False):
                sheet.add(
                    [
                        "evaluation.turns",
                        "evaluation.every",
                        *(p for p in known if p.startswith("evaluation.sampling.")),
                    ],
                    known,
                )
            start = gr.Button(w("eval.start"), variant="primary")
            said = gr.HTML()
            going = gr.HTML()
            gr.HTML(f"<h2>{w('eval.suites')}</h2>")
            suite = gr.Dropdown(
                [(w(f"suite.{s}"), s) for s in SUITES],
                value="persona",
                label=w("eval.suite"),
                info=w("eval.suite.info"),
            )
            ask = gr.Button(w("eval.suite.do"))
            with gr.Accordion(w("judge.title"), open=False):
                judging.build(desk, run, pulse)
        with gr.Column(scale=7, min_width=320), gr.Tabs():
            with gr.Tab(w("eval.table")):
                table = gr.HTML(markup.empty(w, "eval.none"))
            with gr.Tab(w("eval.browser")):
                _browser(desk, run, pulse)
            with gr.Tab(w("eval.failures")):
                failures = gr.HTML(markup.empty(w, "eval.nosuite"))
            with gr.Tab(w("eval.judged")):
                judged = gr.HTML(markup.empty(w, "judge.none"))

    def opened(name: str | None) -> Any:
        folder = desk.run(name)
        recipe = folder.recipe if folder else None
        names = [BASE, PROMPTED, *recipe.stages] if recipe else []
        chosen = recipe.evaluation.models if recipe else []
        return [gr.update(choices=names, value=chosen), *sheet.show(folder)]

    gr.on([pulse.change], desk.safe(opened), [run], [models, *sheet.controls], show_progress="hidden")
    desk.fade(pulse, said)
    nothing = gr.State("")
    sheet.on_edit(run, nothing, lambda name: "", [said])

    def shown(name: str | None) -> Any:
        folder = desk.run(name)
        return results.table(folder, desk), results.failures(folder, desk), results.judged(folder, desk)

    gr.on([pulse.change], desk.safe(shown), [run], [table, failures, judged], show_progress="hidden")

    def begin(name: str | None, who: list[str], *raw: Any) -> str:
        sheet.save(name, "", raw)
        folder = desk.store.open(name)
        desk.store.edit(str(name), {"evaluation.models": _in_order(folder, who)})
        return desk.start(name, "evaluate", "evaluate", str(folder.path))

    start.click(desk.safe(begin), [run, models, *sheet.controls], [said])

    def put(name: str | None, which: str) -> str:
        more = ["--guard"] if which == "crisis" else []
        return desk.start(name, which, "suite", which, str(desk.store.open(name).path), *more)

    ask.click(desk.safe(put), [run, suite], [said])
    timer.tick(desk.safe(lambda name: results.progress(desk.run(name), desk)), [run], [going], show_progress="hidden")


def _in_order(run: RunDir, chosen: list[str]) -> list[str]:
    return [m for m in (BASE, PROMPTED, *run.recipe.stages) if m in chosen]


def _browser(desk: Desk, run: Any, pulse: Any) -> None:
    import gradio as gr

    w = desk.words
    with gr.Row():
        find = gr.Textbox("", label=w("search"), placeholder=w("data.search"), max_lines=1, min_width=160)
        mark = gr.Checkbox(True, label=w("eval.mark"), info=w("eval.mark.info"), min_width=160)
    view = gr.HTML(markup.empty(w, "eval.none"))
    place = gr.State(0)
    with gr.Row():
        back, on = gr.Button(w("previous"), size="sm"), gr.Button(w("next"), size="sm")

    def show(step: int, name: str | None, text: str, differences: bool, at: int) -> Any:
        return results.browse(desk.run(name), desk, text, differences, at + step)

    inputs = [run, find, mark, place]
    fresh = desk.safe(lambda name, text, differ, at: show(0, name, text, differ, 0))
    gr.on([pulse.change, find.submit, find.blur], fresh, inputs, [view, place], show_progress="hidden")
    mark.input(desk.safe(lambda *a: show(0, *a)), inputs, [view, place], show_progress="hidden")
    back.click(desk.safe(lambda *a: show(-1, *a)), inputs, [view, place], show_progress="hidden")
    on.click(desk.safe(lambda *a: show(1, *a)), inputs, [view, place], show_progress="hidden")
