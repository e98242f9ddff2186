"""Setting up the judge: endpoint, model, rubric, budget; what it will cost is told before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evals.judge.client import JudgeClient
from ..evals.judge.run import cache_path
from ..evals.judge.scoring import estimate
from ..evals.judge.sources import from_generations
from ..run import RunDir
from . import markup
from .desk import Desk

MODES = ("cpsycoun", "strict")


def build(desk: Desk, run: Any, pulse: Any) -> None:
    """Place the controls and wire them."""
    import gradio as gr

    w = desk.words
    gr.HTML(f'<p class="hm-small">{w("judge.lead")}</p>')
    url = gr.Textbox(
        value="", label=w("judge.url"), info=w("judge.url.info"), placeholder="http://127.0.0.1:8080/v1", max_lines=1
    )
    model = gr.Textbox("", label=w("judge.model"), max_lines=1)
    key = gr.Textbox("OPENAI_API_KEY", label=w("judge.key"), info=w("judge.key.info"), max_lines=1)
    mode = gr.Dropdown(
        [(w(f"judge.mode.{m}"), m) for m in MODES], value="cpsycoun", label=w("judge.mode"), info=w("judge.mode.info")
    )
    with gr.Row():
        dialogues = gr.Number(150, label=w("judge.dialogues"), info=w("judge.dialogues.info"), minimum=1, precision=0)
        budget = gr.Number(1000, label=w("judge.budget"), info=w("judge.budget.info"), minimum=1, precision=0)
    with gr.Row():
        cost = gr.Button(w("judge.cost"))
        start = gr.Button(w("judge.start"), variant="primary")
    said = gr.HTML()

    def costs(name: str | None, at: str, who: str, env: str, how: str, n: int) -> str:
        told = _cost(desk.store.open(name), at, who, env, how, int(n))
        rows = [
            (w("judge.calls"), told["calls"]),
            (w("judge.cached"), told["cached"]),
            (w("judge.tokens"), told["tokens"]),
        ]
        return markup.table([w("what"), w("value")], rows, w("judge.cost.title")) + markup.notice(
            w("judge.leaves", url=at), "warn"
        )

    def begin(ok: bool, name: str | None, at: str, who: str, env: str, how: str, n: int, most: int) -> str:
        if not ok:
            return ""
        folder = desk.store.open(name)
        _cost(folder, at, who, env, how, int(n))  # the same checks, before a job is made
        return desk.start(
            name, "judge", "judge", str(folder.path), "--base-url", at.strip(), "--model", who.strip(), "--api-key-env", env,
            "--mode", how, "--dialogues", str(int(n)), "--max-calls", str(int(most)),
        )  # fmt: skip

    inputs = [run, url, model, key, mode, dialogues]
    cost.click(desk.safe(costs), inputs, [said])
    no = gr.Checkbox(visible=False)
    start.click(desk.safe(begin), [no, *inputs, budget], [said], js=desk.confirmed("judge.ask", 7))


def _cost(run: RunDir, url: str, model: str, key: str, mode: str, dialogues: int) -> dict[str, int]:
    if not run.generations.is_file():
        raise UserError("expected an evaluated run, found none", where=str(run.path), hint="evaluate first")
    if not model.strip():
        raise UserError("expected the name of a judge model, found none", hint="for example gpt-4o-2024-08-06")
    items = from_generations(run.generations, dialogues=dialogues, seed=42)
    folder: Path = run.evals.path / "judge"
    client = JudgeClient(url.strip(), model.strip(), api_key_env=key, cache=cache_path(folder, model.strip()))
    try:
        return estimate([client], items, mode, 1, 0.0)
    finally:
        client.close()
