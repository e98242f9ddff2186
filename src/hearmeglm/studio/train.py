"""The Train tab: the recipe as a form or as YAML, the plan first, then start, watch, stop and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..recipe import Recipe
from ..run import RunDir
from . import form, live, markup
from .desk import Desk, Sheet
from .store import load_choice, recipe_choices

BASIC = ("mix", "learning_rate", "epochs", "batch_size", "accumulation", "max_length")
BASIC_LORA = ("lora.rank", "lora.alpha")
WHOLE = ("base", "template", "seed", "trust_remote_code")
WHO = ("persona.name", "persona.developer", "persona.role_zh", "persona.role_en", "persona.file")


def build(desk: Desk, run: Any, pulse: Any, timer: Any) -> None:
    """Place the tab's controls and wire them."""
    import gradio as gr

    w, known = desk.words, form.by_path(Recipe)
    of_stage = [p for p in known if p.startswith("stages.*.")]
    gr.HTML(f'<p class="hm-lead">{w("train.lead")}</p>')
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            gr.HTML(f"<h2>{w('train.settings')}</h2>")
            stage = gr.Radio(label=w("train.stage"), info=w("train.stage.info"), choices=[], interactive=True)
            sheet = Sheet(desk)
            sheet.add(["stages.*.mix"], known)
            for pair in (BASIC[1:3], BASIC[3:5], (BASIC[5],)):
                with gr.Row():
                    sheet.add([f"stages.*.{k}" for k in pair], known)
            with gr.Row():
                sheet.add(BASIC_LORA, known)
            with gr.Accordion(w("train.more.stage"), open=False):
                sheet.add([p for p in of_stage if p.split(".")[-1] not in BASIC], known)
            with gr.Accordion(w("train.more.lora"), open=False):
                sheet.add([p for p in known if p.startswith("lora.") and p not in BASIC_LORA], known)
            with gr.Accordion(w("train.more.whole"), open=False):
                sheet.add([*WHOLE, *WHO], known)
            with gr.Accordion(w("train.yaml"), open=False):
                text, said_yaml = _yaml_controls(desk, run)
        with gr.Column(scale=6, min_width=320):
            gr.HTML(f"<h2>{w('train.plan')}</h2>")
            plan = gr.Button(w("train.plan.do"))
            planned = gr.HTML(markup.empty(w, "train.noplan"))
            gr.HTML(f"<h2>{w('train.run')}</h2>")
            with gr.Row():
                start = gr.Button(w("train.start"), variant="primary")
                one = gr.Button(w("train.one"))
            said = gr.HTML()
            smooth = gr.Slider(0, 0.99, value=0.9, step=0.01, label=w("train.smooth"), info=w("train.smooth.info"))
            watching = gr.HTML(markup.empty(w, "train.nothing"))
            with gr.Accordion(w("train.answers"), open=False):
                answers = gr.HTML(markup.empty(w, "train.noanswers"))
            with gr.Accordion(w("train.log"), open=False):
                log = gr.Textbox(
                    value="",
                    label=w("train.log"),
                    lines=14,
                    max_lines=14,
                    interactive=False,
                    autoscroll=True,
                    elem_classes=["log"],
                )

    def opened(name: str | None) -> Any:
        folder = desk.run(name)
        recipe = folder.recipe if folder else None
        names = list(recipe.stages) if recipe else []
        first = names[0] if names else None
        return [gr.update(choices=names, value=first), *sheet.show(folder, first or ""), _yaml(folder)]

    outputs = [stage, *sheet.controls, text]
    gr.on([pulse.change], desk.safe(opened), [run], outputs, show_progress="hidden")
    stage.input(
        desk.safe(lambda name, s: sheet.show(desk.run(name), s)),
        [run, stage],
        sheet.controls,
        show_progress="hidden",
    )
    sheet.on_edit(run, stage, lambda name: _yaml(desk.run(name)), [text])

    def saved(name: str | None, body: str) -> Any:
        changed = desk.store.replace(str(name or ""), body)
        return [*opened(name), markup.notice(w("saved" if changed else "unchanged"), "good")]

    text.blur(desk.safe(saved), [run, text], [*outputs, said_yaml], show_progress="hidden")

    def planning(name: str | None, part: str, *raw: Any) -> str:
        sheet.save(name, part, raw)
        return live.plan(desk.store.open(name), desk)

    def begin(name: str | None, part: str, *raw: Any) -> str:
        sheet.save(name, part, raw)
        path = desk.store.open(name).path
        desk.models.forget(str(path))
        return desk.start(name, "train", "train", str(path))

    def begin_one(name: str | None, part: str, *raw: Any) -> str:
        sheet.save(name, part, raw)
        path = desk.store.open(name).path
        desk.models.forget(str(path))
        return desk.start(name, "train", "train", str(path), "--stage", part)

    inputs = [run, stage, *sheet.controls]
    plan.click(desk.safe(planning), inputs, [planned])
    start.click(desk.safe(begin), inputs, [said])
    one.click(desk.safe(begin_one), inputs, [said])
    desk.fade(pulse, said)

    def watch(name: str | None, weight: float, before: str) -> Any:
        shown = live.watch(desk.run(name), desk, weight)
        mark = str(hash(shown))
        return [gr.skip()] * 4 if mark == before else [*shown, mark]

    seen = gr.State("")
    gr.on(
        [timer.tick, smooth.release, pulse.change], desk.safe(watch), [run, smooth, seen], [watching, answers, log, seen],
        show_progress="hidden", trigger_mode="always_last",
    )  # fmt: skip


def _yaml_controls(desk: Desk, run: Any) -> tuple[Any, Any]:
    import gradio as gr

    w = desk.words
    gr.HTML(f'<p class="hm-small">{w("train.yaml.info")}</p>')
    text = gr.Code(
        label=w("train.yaml.label"), language="yaml", lines=16, max_lines=24, interactive=True, elem_classes=["yaml"]
    )
    said = gr.HTML()
    with gr.Row():
        load = gr.Dropdown(
            list(recipe_choices()), label=w("train.yaml.load"), info=w("train.yaml.load.info"), value=None
        )
        save = gr.DownloadButton(w("train.yaml.save"), size="sm")

    def taken(name: str | None, choice: str | None) -> str:
        if not choice:
            return ""
        import yaml

        recipe = load_choice(choice).model_copy(update={"name": desk.store.open(name).path.name})
        return yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True, sort_keys=False)

    load.input(desk.safe(taken), [run, load], [text])
    run.change(
        lambda name: str(f.recipe_path) if (f := desk.run(name)) else None, [run], [save], show_progress="hidden"
    )
    return text, said


def _yaml(run: RunDir | None) -> str:
    return Path(run.recipe_path).read_text(encoding="utf-8") if run else ""
