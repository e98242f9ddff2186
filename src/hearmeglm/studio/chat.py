"""The Chat tab: one model, two side by side on one message, or blind; the guard's notices and the region's help lines in sight.

Both columns answer the same talk. After a vote the chosen reply becomes what was said, otherwise the right-hand one (the tuned
model), so that the next message again has one history, and a vote is a preference between two replies to the same prompt.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from ..chat.guarded import GuardedModel, GuardEvent
from ..chat.terminal import replace_seed
from ..recipe import Sampling
from ..safety import hotlines, policy
from ..types import Message
from . import form, markup, votes
from .desk import Desk
from .models import Stream, together
from .talk import Talk, Turn, choices, export_text, opponents

MODES = ("side", "blind", "single")
PRESETS = ("none", "warm", "original")
DEFAULTS = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 256}


def build(desk: Desk, run: Any, pulse: Any) -> None:
    """Place the tab's controls and wire them."""
    import gradio as gr

    w = desk.words
    regions = [(f"{hotlines.load().regions[r].get(w.lang, r)} ({r})", r) for r in hotlines.regions()]
    home = hotlines.load().default_region
    gr.HTML(f'<p class="hm-lead">{w("chat.lead")}</p>' + _first_notice(desk, home))
    with gr.Row():
        mode = gr.Radio(
            [(w(f"chat.mode.{m}"), m) for m in MODES],
            value="side",
            label=w("chat.mode"),
            info=w("chat.mode.info"),
            min_width=260,
        )
        left = gr.Dropdown([], label=w("chat.left"), info=w("chat.model.info"), allow_custom_value=True, min_width=200)
        right = gr.Dropdown(
            [], label=w("chat.right"), info=w("chat.model.info"), allow_custom_value=True, min_width=200
        )
        region = gr.Dropdown(regions, value=home, label=w("chat.region"), info=w("chat.region.info"), min_width=180)
    with gr.Accordion(w("chat.more"), open=False):
        guarded = gr.Checkbox(True, label=w("chat.guard"), info=w("chat.guard.info"))
        preset = gr.Dropdown(
            [(w(f"preset.{p}"), p) for p in PRESETS], value="none", label=w("chat.preset"), info=w("chat.preset.info")
        )
        system = gr.Textbox("", label=w("chat.system"), lines=2)
        sampling = _sampling_controls(desk)
    notice = gr.HTML()
    with gr.Row():
        boxes = [_column(desk, "A"), _column(desk, "B")]
    with gr.Row(equal_height=True):
        text = gr.Textbox("", label=w("chat.say"), placeholder=w("chat.placeholder"), lines=2, max_lines=6, scale=6)
        send = gr.Button(w("chat.send"), variant="primary", scale=1, min_width=90)
        halt = gr.Button(w("chat.stop"), scale=1, min_width=90)
    with gr.Column(visible=False, elem_classes=["hm-vote"]) as voting:
        gr.HTML(f"<h2>{w('vote.lead')}</h2>")
        consent = gr.Checkbox(False, label=w("vote.consent"), info=w("vote.consent.info"))
        with gr.Row():
            buttons = {v: gr.Button(w(f"vote.{v}"), size="sm") for v in votes.CHOICES}
    voted = gr.HTML()
    with gr.Row():
        again = gr.Button(w("chat.retry"), size="sm")
        clear = gr.Button(w("chat.clear"), size="sm", variant="stop")
        save = gr.DownloadButton(w("chat.export"), size="sm")
        sheet = gr.Button(w("vote.sheet"), size="sm")
    state = gr.State(lambda: Talk())
    numbers = gr.HTML(_lines(desk, home))

    def answer(
        name: str | None,
        kind: str,
        a: str | None,
        b: str | None,
        where: str,
        guard: bool,
        prompt: str,
        said: str,
        talk: Talk,
        *raw: Any,
        redraw: bool = False,
    ) -> Any:
        """Yields (text box, two columns, notice, talk, vote box, vote result); `redraw` answers the last message anew."""
        if redraw:
            said = talk.turns[-1].said if talk.turns else ""
        if not said.strip():
            yield said, *talk.shown(), "", talk, gr.skip(), ""
            return
        first = talk.settled() if not redraw else talk
        pair = list(opponents(desk.run(name), w, a, b))
        refs = pair[1:] if kind == "single" else pair
        order = [0, 1] if kind != "blind" else random.sample([0, 1], 2)
        settings = _sampling(raw)
        if redraw and first.turns:
            drawn = first.turns[-1].drawn + 1
            settings = replace_seed(settings, settings.seed + drawn)
            first = replace(first, turns=first.turns[:-1])
        else:
            drawn = 0
        turn = Turn(said.strip(), ["", ""], refs, order, drawn=drawn, blind=kind == "blind")
        talk = replace(first, turns=[*first.turns, turn])
        yield "", *talk.shown(), markup.notice(w("chat.loading")), talk, gr.update(visible=False), ""
        events: dict[int, GuardEvent] = {}
        history = [
            *([Message("system", prompt.strip())] if prompt.strip() else []),
            *first.history(),
            Message("user", turn.said),
        ]
        streams = []
        for place, ref in enumerate(refs):
            inner = desk.models.get(ref)
            model = GuardedModel(inner, region=where, on_event=partial(events.__setitem__, place)) if guard else inner
            streams.append(Stream(model, history, settings))
        desk.models.at_work[talk.id] = streams
        try:
            for _ in together(streams):
                turn.replies = [s.text.strip() for s in streams]
                yield "", *talk.shown(), _seen(desk, events, where, guard), talk, gr.skip(), gr.skip()
        finally:
            desk.models.at_work.pop(talk.id, None)
        # A written reply is the same on both sides and no model's: there is nothing to vote on.
        votable = kind != "single" and not any(e.intervened == "written" for e in events.values())
        yield "", *talk.shown(), _seen(desk, events, where, guard), talk, gr.update(visible=votable), ""

    inputs = [run, mode, left, right, region, guarded, system, text, state, *sampling]
    outputs = [text, *boxes, notice, state, voting, voted]
    gr.on([send.click, text.submit], desk.safe(answer), inputs, outputs, show_progress="hidden", concurrency_limit=4)
    again.click(desk.safe(partial(answer, redraw=True)), inputs, outputs, show_progress="hidden", concurrency_limit=4)
    halt.click(lambda talk: desk.models.halt(talk.id), [state], None, queue=False)

    def vote(choice: str, name: str | None, agreed: bool, prompt: str, talk: Talk) -> Any:
        if not talk.turns or not all(talk.turns[-1].replies):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        turn = talk.turns[-1]
        turn.vote = choice
        names = [turn.refs[i] for i in turn.order]
        told = w("vote.reveal", a=_label(names[0]), b=_label(names[1]))
        folder = desk.run(name)
        stored = w("vote.notstored")
        if agreed and folder is not None:
            votes.store(folder.path, talk, prompt)
            stored = w("vote.stored", n=votes.count(folder.path))
        return *talk.shown(), talk, gr.update(visible=False), markup.notice(told, "good", stored)

    for choice, button in buttons.items():
        button.click(
            desk.safe(lambda *a, c=choice: vote(c, *a)),
            [run, consent, system, state],
            [*boxes, state, voting, voted],
        )

    def cleared(ok: bool, talk: Talk) -> Any:
        if not ok:
            return [gr.skip()] * 5
        desk.models.halt(talk.id)
        return [], [], Talk(), "", gr.update(visible=False)

    no = gr.Checkbox(visible=False)
    clear.click(cleared, [no, state], [*boxes, state, notice, voting], js=desk.confirmed("chat.clear.ask", 1))

    def offered(name: str | None) -> Any:
        folder = desk.run(name)
        found, (one, other) = choices(folder, w), opponents(folder, w)
        return gr.update(choices=found, value=one), gr.update(choices=found, value=other)

    gr.on([pulse.change], desk.safe(offered), [run], [left, right], show_progress="hidden")
    region.change(lambda code: _lines(desk, code), [region], [numbers], show_progress="hidden")
    preset.input(lambda p: "" if p == "none" else w(f"preset.{p}.text"), [preset], [system], show_progress="hidden")

    def shape(kind: str) -> Any:
        return gr.update(visible=kind != "single"), gr.update(visible=kind != "single"), gr.update(visible=False)

    mode.input(shape, [mode], [boxes[0], left, voting], show_progress="hidden")
    state.change(
        lambda talk, prompt: export_text(talk, prompt, w) if talk.turns else None,
        [state, system],
        [save],
        show_progress="hidden",
    )

    def sheeted(name: str | None) -> str:
        paths = votes.human_sheet(desk.store.open(name))
        return markup.notice(
            w("vote.sheet.done"), "good", str(paths["html"]), w("vote.sheet.key", path=str(paths["key"]))
        )

    sheet.click(desk.safe(sheeted), [run], [voted])


def _column(desk: Desk, side: str) -> Any:
    import gradio as gr

    w = desk.words
    return gr.Chatbot(
        label=w(f"chat.column.{side}"), height=420, buttons=["copy"], placeholder=w("chat.empty"), feedback_options=None, min_width=280,
        allow_file_downloads=False, render_markdown=False, group_consecutive_messages=False, layout="bubble", elem_classes=["hm-talk"],
    )  # fmt: skip


def _sampling_controls(desk: Desk) -> list[Any]:
    import gradio as gr

    out = []
    given = Sampling.model_validate(DEFAULTS)
    found = list(form.fields(Sampling, "evaluation.sampling."))
    for start in range(0, len(found), 3):
        with gr.Row():
            out += [f.control(desk.words, getattr(given, f.path.rsplit(".", 1)[-1])) for f in found[start : start + 3]]
    return out


def _sampling(raw: tuple[Any, ...]) -> Sampling:
    from pydantic import ValidationError

    from ..errors import RecipeError

    found = list(form.fields(Sampling))
    try:
        return Sampling.model_validate({f.path: f.read(v) for f, v in zip(found, raw, strict=True)})
    except ValidationError as err:
        said = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in err.errors())
        raise RecipeError(said, where="sampling") from None


def _label(ref: str) -> str:
    folder, colon, stage = ref.rpartition(":")
    return f"{Path(folder).name}:{stage}" if colon and "/" in folder and "/" not in stage else ref


def _first_notice(desk: Desk, region: str) -> str:
    text = policy.notice("start", region, desk.words.lang)  # type: ignore[arg-type]
    return f'<div class="hm-note info" role="note">{escape(text)}</div>'


def _lines(desk: Desk, region: str) -> str:
    """The region's help lines, always in sight."""
    w = desk.words
    rows = "".join(f"<li>{escape(r.text(w.lang))}</li>" for r in hotlines.get(region))  # type: ignore[arg-type]
    return f'<section class="hm-lines" aria-label="{escape(w("chat.lines"))}"><b>{escape(w("chat.lines"))}</b><ul>{rows}</ul></section>'


def _seen(desk: Desk, events: dict[int, GuardEvent], region: str, guard: bool) -> str:
    """What the guard found and did."""
    w = desk.words
    if not guard:
        return markup.notice(w("guard.off"), "warn")
    event = next(iter(events.values()), None)
    if event is None:
        return ""
    found = event.assessment
    done = [w(f"guard.did.{e.intervened}") for e in events.values() if e.intervened]
    if found.crisis:
        lines = [r.text(w.lang) for r in hotlines.get(region, ("crisis", "emergency"))]  # type: ignore[arg-type]
        what = w("guard.crisis", kind=w(f"guard.kind.{found.kind}"), level=w(f"guard.level.{found.level}"))
        return markup.notice(what, "bad", *dict.fromkeys(done), *lines)
    if found.risk:
        what = w("guard.risk", kind=w(f"guard.kind.{found.kind}"))
        return markup.notice(what, "warn", *dict.fromkeys(done))
    return markup.notice(done[0], "warn") if done else ""
