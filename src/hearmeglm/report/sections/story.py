"""Why and what: direction and value, needs, innovations, the base model. Texts come from the recipe, else from the package."""

from __future__ import annotations

from ...sections import Text
from ..blocks import Block, Bullets, NotRun, Para, Table
from ..data import ReportData
from ..words import Words, number, percent


def _own(text: Text, w: Words, fallback: str) -> str:
    return (text.zh if w.lang == "zh" else text.en) or fallback


def _paras(text: str) -> tuple[Block, ...]:
    return tuple(Para(line.strip()) for line in text.splitlines() if line.strip())


def direction(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Why this direction, and what society gains."""
    written = d.recipe.report
    return (
        *_paras(_own(written.direction, w, w("direction", name=d.recipe.persona.name))),
        *_paras(_own(written.value, w, w("value"))),
    )


def needs(d: ReportData, w: Words) -> tuple[Block, ...]:
    """What the task asks for."""
    text = _own(d.recipe.report.needs, w, w("needs"))
    return (Bullets(tuple(line.strip() for line in text.splitlines() if line.strip())),)


def innovation(d: ReportData, w: Words) -> tuple[Block, ...]:
    """What is new."""
    own = tuple(t.zh if w.lang == "zh" else t.en for t in d.recipe.report.innovations)
    return (Bullets(own or w.lines("innovations"), ordered=True),)


def base(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Which base model and why; its size and the adapter's where a stage was trained."""
    recipe = d.recipe
    packaged = w("base.reason.starter") if recipe.base == "starter" else ""
    reason = _own(
        recipe.report.base_reason, w, packaged or w("base.reason.other", base=d.base_name, template=recipe.template)
    )
    if not d.stages:
        return (*_paras(reason), NotRun("tab:model", w("cap.base"), f"hearme train {d.run}"))
    last = d.stages[-1]
    r = last.result
    trainable, whole = float(r.get("trainable_parameters") or 0), float(r.get("all_parameters") or 0)
    rows = (
        (w("base.name"), d.base_name),
        (w("base.template"), recipe.template),
        (w("base.all"), number(int(whole))),
        (w("base.trainable"), number(int(trainable))),
        (w("base.share"), percent(trainable, whole)),
        (w("base.adapter"), number(last.adapter_bytes)),
        (w("base.dtype"), str(r.get("dtype", "–"))),
        (w("base.device"), str(r.get("device", "–"))),
    )
    head = (w("head.measure"), last.name)
    return (*_paras(reason), Table("tab:model", w("cap.base"), head, rows, "ll", (1, 1.4), f"{last.name}/result.json"))
