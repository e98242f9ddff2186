"""Looking at prepared data: a browser of samples, the audit's findings, what the privacy step would take out."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from ..files import read_json, read_jsonl
from ..run import RunDir
from ..types import Dialogue, Message
from . import markup
from .desk import Desk

SPLITS = ("train", "valid", "test")


def dialogues(run: RunDir, split: str = "") -> list[Dialogue]:
    """The prepared dialogues of one split, or of all."""
    out: list[Dialogue] = []
    for name in [split] if split else SPLITS:
        path = run.data.path / f"{name}.jsonl"
        if path.is_file():
            out += _load(path, path.stat().st_mtime_ns)
    return out


@lru_cache(maxsize=12)
def _load(path: Path, changed: int) -> tuple[Dialogue, ...]:
    return tuple(Dialogue.from_json(obj) for _, obj in read_jsonl(path))


def samples(desk: Desk, run: Any, pulse: Any) -> None:
    """A browser: split, source, words to look for, one dialogue at a time."""
    import gradio as gr

    w = desk.words
    with gr.Row():
        split = gr.Dropdown(
            [(w(f"split.{s}"), s) for s in SPLITS], value="train", label=w("data.split.which"), min_width=110
        )
        source = gr.Dropdown([(w("all"), "")], value="", label=w("data.source"), min_width=110)
        find = gr.Textbox("", label=w("search"), placeholder=w("data.search"), max_lines=1, min_width=140)
    view = gr.HTML(markup.empty(w, "data.unprepared"))
    place = gr.State(0)
    with gr.Row():
        back = gr.Button(w("previous"), size="sm")
        on = gr.Button(w("next"), size="sm")

    def show(name: str | None, which: str, only: str, text: str, at: int) -> Any:
        folder = desk.run(name)
        if folder is None or folder.data.manifest() is None:
            return markup.empty(w, "data.unprepared"), 0
        found = [
            d for d in dialogues(folder, which)
            if (not only or d.source == only) and (not text or any(text.lower() in m.content.lower() for m in d.messages))
        ]  # fmt: skip
        if not found:
            return markup.notice(w("data.notfound"), "empty"), 0
        at %= len(found)
        one = found[at]
        meta = " · ".join([one.id, *(w.said(str(one.meta[k])) for k in ("kind", "topic", "lang") if k in one.meta)])
        head = f'<p class="hm-small">{w("data.nth", at=at + 1, all=len(found))} · {escape(meta)}</p>'
        return head + markup.talk(one.messages, w), at

    def sources(name: str | None) -> Any:
        folder = desk.run(name)
        names = sorted({d.source for d in dialogues(folder)}) if folder else []
        return gr.update(choices=[(w("all"), ""), *((n, n) for n in names)], value="")

    inputs = [run, split, source, find]
    gr.on([pulse.change], desk.safe(sources), [run], [source], show_progress="hidden")
    fresh = desk.safe(lambda name, which, only, words: show(name, which, only, words, 0))
    gr.on(
        [pulse.change, split.input, source.input, find.submit, find.blur],
        fresh,
        inputs,
        [view, place],
        show_progress="hidden",
    )
    back.click(
        desk.safe(lambda name, which, only, words, at: show(name, which, only, words, at - 1)),
        [*inputs, place],
        [view, place],
        show_progress="hidden",
    )
    on.click(
        desk.safe(lambda name, which, only, words, at: show(name, which, only, words, at + 1)),
        [*inputs, place],
        [view, place],
        show_progress="hidden",
    )


def privacy(desk: Desk, run: Any, pulse: Any) -> None:
    """Type or paste a text: what would be replaced, and by what."""
    import gradio as gr

    w = desk.words
    gr.HTML(f'<p class="hm-small">{w("privacy.lead")}</p>')
    text = gr.Textbox(w("privacy.example"), label=w("privacy.text"), lines=3)
    look = gr.Button(w("privacy.do"))
    out = gr.HTML()

    def preview(given: str) -> str:
        from ..data.privacy import Scrubber

        clean, spans = Scrubber().text(given)
        if not spans:
            return markup.notice(w("privacy.none"), "good")
        marked, at = "", 0
        for s in spans:
            marked += escape(given[at : s.start]) + f"<mark>{escape(given[s.start : s.end])}</mark>"
            at = s.end
        marked += escape(given[at:])
        rows = [(w.said(s.type), s.value) for s in spans]
        return (
            f'<div class="hm-say user"><b>{w("privacy.found")}</b><p>{marked}</p></div>'
            + markup.talk([Message("assistant", clean)], w).replace(
                escape(w("who.assistant")), escape(w("privacy.after")), 1
            )
            + markup.table([w("privacy.type"), w("privacy.value")], rows)
        )

    look.click(desk.safe(preview), [text], [out])


def audit_command(run: RunDir) -> list[str]:
    """The words after `hearme` that audit every source of a run into `RUN/audit`."""
    sources = [s for s in run.recipe.data.sources.values() if s.enabled and (not s.path or Path(s.path).exists())]
    return ["data", "audit", *(s.path or "starter" for s in sources), "--out", str(run.path / "audit")]


def audit(run: RunDir, desk: Desk) -> str:
    """The audit's findings: what must be known before training first."""
    w = desk.words
    path = run.path / "audit" / "audit.json"
    if not path.is_file():
        return markup.empty(w, "audit.none")
    parts = []
    for report in read_json(path)["audits"]:
        warnings = [x[w.lang] for x in report["warnings"]]
        parts.append(f"<h2>{escape(Path(report['name']).name)}</h2>")
        parts.append(
            markup.notice(w("audit.warnings"), "warn", *warnings)
            if warnings
            else markup.notice(w("audit.clean"), "good")
        )
        risk = report["escalation"]
        personal = report.get("personal_data") or {}
        rows = [
            (w("dialogues"), report["dialogues"]),
            (w("audit.risk"), risk["dialogues_with_risk_words"]),
            (w("audit.hotline"), risk["names_hotline_or_emergency"]),
            (w("audit.asks"), risk["asks_directly"]),
            (w("audit.leaks"), report["label_leaks_after_cleaning"]),
        ]
        rows += [(w("audit.personal"), personal["dialogues"])] if "dialogues" in personal else []
        conclusion = report["length_conclusion"]
        parts.append(markup.table([w("what"), w("value")], rows))
        parts.append(f'<p class="hm-small">{escape(str(conclusion.get(w.lang, "")))}</p>')
    return (
        "".join(parts)
        + f'<p class="hm-small">{escape(w("audit.page", path=str(path.with_name("audit.html")).removeprefix(f"{Path.cwd()}/")))}</p>'
    )
