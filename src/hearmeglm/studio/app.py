"""The studio's pages: one Gradio app per language over the same runs, and the server around them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from . import chat, data, evaluate, export, jobs, markup, runs, train
from .desk import Desk
from .models import Models
from .store import Store, load_choice, recipe_choices, steps_done
from .words import LANGS, load

TICK_S = 2.0
TABS = ("data", "train", "evaluate", "chat", "export", "runs")


def page(desk: Desk) -> Any:
    """The Gradio Blocks of one language."""
    import gradio as gr

    w = desk.words
    other = next(lang for lang in LANGS if lang != w.lang)
    with gr.Blocks(title=w("title"), analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_banner(desk, other))
        with gr.Row(elem_classes=["hm-bar-top"]):
            run = gr.Dropdown(
                [], value=None, label=w("run.label"), info=w("run.info"), interactive=True, scale=2, min_width=220
            )
            with gr.Column(scale=3, min_width=300):
                strip = gr.HTML(markup.empty(w, "run.none"))
                with gr.Row():
                    whole = gr.Button(w("run.all"), size="sm", elem_classes=["hm-narrow"])
                    cancel = gr.Button(
                        w("job.stop"), size="sm", variant="stop", visible=False, elem_classes=["hm-narrow"]
                    )
                said = gr.HTML()
        with gr.Accordion(w("run.new"), open=not desk.store.names()) as making:
            with gr.Row():
                recipe = gr.Dropdown(
                    list(recipe_choices()),
                    value="demo",
                    label=w("run.recipe"),
                    info=w("run.recipe.info"),
                    min_width=200,
                )
                upload = gr.File(label=w("run.upload"), file_types=[".yaml", ".yml"], height=132, min_width=200)
                name = gr.Textbox("", label=w("run.name"), info=w("run.name.info"), max_lines=1, min_width=200)
            create = gr.Button(w("run.create"), variant="primary")
        pulse = gr.State("")
        timer = gr.Timer(TICK_S)
        working = gr.Timer(TICK_S, active=False)  # for what only changes while a job is at work
        with gr.Tabs() as tabs:
            with gr.Tab(w("tab.data"), id="data"):
                data.build(desk, run, pulse)
            with gr.Tab(w("tab.train"), id="train"):
                train.build(desk, run, pulse, working)
            with gr.Tab(w("tab.evaluate"), id="evaluate"):
                evaluate.build(desk, run, pulse, working)
            with gr.Tab(w("tab.chat"), id="chat"):
                chat.build(desk, run, pulse)
            with gr.Tab(w("tab.export"), id="export"):
                export.build(desk, run, pulse)
            with gr.Tab(w("tab.runs"), id="runs"):
                runs.build(desk, run, pulse)
        gr.HTML(f'<footer class="hm-foot">{escape(w("footer"))}</footer>')

        def opened(request: Any) -> Any:
            names = desk.store.names()
            asked = request.query_params.get("run")
            tab = request.query_params.get("tab")
            chosen = asked if asked in names else names[0] if names else None
            return (
                gr.update(choices=names, value=chosen),
                gr.update(selected=tab) if tab in TABS else gr.skip(),
                gr.update(open=not names),
            )

        def tick(name: str | None, before: str) -> Any:
            shown, mark, busy = status(desk, name)
            if mark == before and not busy:
                return gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return shown, gr.update(visible=busy), mark, gr.update(active=busy)

        def made(choice: str | None, file: str | None, wanted: str) -> Any:
            loaded = load_choice(file or choice or "demo")
            folder = desk.store.create(_free_name(desk.store, wanted or loaded.name, bool(wanted)), loaded)
            return (
                gr.update(choices=desk.store.names(), value=folder.path.name),
                gr.update(open=False),
                markup.notice(w("run.created"), "good", w("run.created.how")),
            )

        def everything(name_: str | None) -> str:
            path = desk.store.open(name_).path
            return desk.start(name_, "run", "run", str(path / "recipe.yaml"), "--run", str(path))

        def stopped(ok: bool, name_: str | None) -> str:
            job = jobs.running(desk.store.open(name_).path) if ok else None
            if job:
                jobs.stop(job)
            return markup.notice(w("job.stopping"), "info") if job else ""

        opened.__annotations__["request"] = (
            gr.Request
        )  # Gradio goes by the type, which has no name outside this function
        blocks.load(opened, None, [run, tabs, making], show_progress="hidden")
        gr.on(
            [timer.tick, run.change],
            desk.safe(tick),
            [run, pulse],
            [strip, cancel, pulse, working],
            show_progress="hidden",
            trigger_mode="always_last",
        )
        create.click(desk.safe(made), [recipe, upload, name], [run, making, said])
        whole.click(desk.safe(everything), [run], [said])
        no = gr.Checkbox(visible=False)
        cancel.click(desk.safe(stopped), [no, run], [said], js=desk.confirmed("job.stop.ask", 1))
        # A note of an earlier action makes way for what the job says.
        pulse.change(
            lambda mark: "" if mark.split("|")[2:3] not in ([], [""]) else gr.skip(),
            [pulse],
            [said],
            show_progress="hidden",
        )
        run.change(None, [run], None, js="(r) => window.hearme && window.hearme.remember('run', r)")
    return blocks


def status(desk: Desk, name: str | None) -> tuple[str, str, bool]:
    """(the line of steps and the job at work, a mark that changes when a step or job does, whether a job is at work)."""
    w = desk.words
    folder = desk.run(name)
    if folder is None:
        return markup.empty(w, "run.none"), "", False
    done = steps_done(folder, folder.recipe)
    found = jobs.jobs(folder.path)
    job = found[0] if found else None
    busy = job is not None and job.state == "running"
    at_work = _step_at_work(job, done) if job and busy else None
    parts = [markup.steps(done, at_work, w)]
    if job and busy:
        progress = job.progress()
        line = w("job.stopping") if job.stopping else w("job.running", step=w(f"job.step.{job.step}"))
        parts.append(
            f'<p class="hm-small" role="status"><i class="hm-pulse"></i>{escape(line)}{f" · {progress[0]}/{progress[1]}" if progress else ""}</p>'
        )
    elif job and job.state in ("failed", "lost"):
        parts.append(markup.notice(w(f"job.{job.state}"), "bad", w.said(job.error()), w("job.failed.how")))
    mark = f"{name}|{done}|{job.folder.name if job else ''}|{job.state if job else ''}"
    return "".join(parts), mark, busy


def _step_at_work(job: jobs.Job, done: dict[str, bool]) -> str | None:
    if job.step in ("prepare", "evaluate"):
        return {"prepare": "data", "evaluate": "evals"}[job.step]
    if "--stage" in job.argv:
        return job.argv[job.argv.index("--stage") + 1]
    if job.step == "train":
        return next((s for s, ok in done.items() if not ok and s not in ("data", "evals")), None)
    return next((s for s, ok in done.items() if not ok), None) if job.step == "run" else None


def _free_name(store: Store, name: str, asked: bool) -> str:
    """The name itself if somebody typed it, else the first of name, name-2, name-3 … that is free."""
    if asked:
        return name
    number = 1
    while (store.root / (free := name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return free


def _banner(desk: Desk, other: str) -> str:
    w = desk.words
    return (
        f'<header class="hm-head"><div><h1>{escape(w("title"))}</h1><p>{escape(w("subtitle"))}</p></div>'
        f'<nav aria-label="{escape(w("nav"))}"><a href="../{other}/" data-lang="{other}" lang="{other}" hreflang="{other}">{escape(w("other"))}</a>'
        f'<button type="button" data-theme-switch aria-label="{escape(w("theme"))}" title="{escape(w("theme"))}">◐</button></nav></header>'
    )


def desks(root: Path) -> dict[str, Desk]:
    """The studio in every language over the runs of a folder."""
    store, models = Store(root), Models()
    return {lang: Desk(load(lang), store, models) for lang in LANGS}
