"""The report's sections: each a function from ReportData and words to blocks, in reading order."""

from __future__ import annotations

from ..blocks import Section
from ..data import ReportData
from ..words import Words
from . import closing, corpus, evaluation, story, training

ORDER = (
    ("direction", story.direction),
    ("needs", story.needs),
    ("innovation", story.innovation),
    ("sources", corpus.sources),
    ("samples", corpus.samples),
    ("conversion", corpus.conversion),
    ("cleaning", corpus.cleaning),
    ("split", corpus.split),
    ("base", story.base),
    ("setup", training.setup),
    ("training", training.results),
    ("method", evaluation.method),
    ("results", evaluation.before_after),
    ("judge", evaluation.judge),
    ("persona", evaluation.persona),
    ("dialogues", evaluation.dialogues),
    ("deployment", closing.deployment),
    ("safety", closing.safety),
    ("limits", closing.limits),
    ("licences", closing.licences),
    ("log", closing.log),
    ("reproduce", closing.reproduce),
    ("references", closing.references),
)
"""Key and builder of each section; the checklist follows them, since it looks at what they hold."""


def sections(d: ReportData, w: Words) -> list[Section]:
    """Every section of `ORDER` in one language."""
    return [Section(key, w(f"sec.{key}"), build(d, w)) for key, build in ORDER]
