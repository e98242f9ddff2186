"""CPsyCounD: one transcript a text file, `来访者：…` and `心理咨询师：…`, an utterance a paragraph, with all its irregularities."""

from __future__ import annotations

import re
from pathlib import Path

from ..types import Role
from .decode import Unreadable, Warn, read_text
from .labels import AT_START, role_of
from .records import Draft

NUMBERED = re.compile(
    r"(?:\d{1,2}|[一二三四五六七八九十]{1,2})\s*[.、．)）]|第[一二三四五六七八九十\d]+[步点，、]|[•·●\-]\s"
)
SPEAKER = re.compile(r"(?P<name>[\u4e00-\u9fffA-Za-z]{1,8})[：:](?=.*[\u4e00-\u9fff])")
"""A short name and a colon at the start of a line: somebody else speaks."""
LEAD_IN = re.compile(
    r"(?:例如|比如|注意|总结|建议|步骤|首先|其次|最后|目标|方法|练习|作业|问题|如下|包括|答|问|即|如|第.{1,3})$"
)
"""Words before a colon that open an enumeration, not a speech."""
STAGE = re.compile(r"[（(【\[].*[）)】\]][。，.]?$|……?[（(].*[）)]?$")
"""A line that is nothing but a stage direction."""
NARRATION = re.compile(
    r"(?:^(?:在?接下来|后续|此后|在?随后|在此后|经过).{0,40}咨询|心理咨询师.{0,60}来访者|来访者.{0,60}心理咨询师)"
)
ROLE_PLAY = re.compile(r"扮演")


def parse(path: Path, warn: Warn) -> Draft:
    """Read one transcript.

    Continuation lines (numbered advice, further paragraphs) go to the utterance they continue. Stage directions and narration
    are removed. Where a third person begins to speak the dialogue is cut, since from there on the roles are not known; several
    clients (`来访者（姚先生）：`, `来访者1：`) stay clients without their names.

    Raises:
        Unreadable: unknown encoding, empty, or no line with a role label.
    """
    text = read_text(path, warn)
    lines = [(n, stripped) for n, line in enumerate(text.split("\n"), 1) if (stripped := line.strip())]
    if not lines:
        raise Unreadable("expected a transcript, found an empty file")
    if not any(AT_START.match(line) for _, line in lines):
        raise Unreadable(f"expected lines that begin with 来访者： or 心理咨询师：, found {lines[0][1][:30]!r}")
    draft = Draft([])
    for number, line in lines:
        if not _take(draft, line):
            left = sum(bool(AT_START.match(rest)) for n, rest in lines if n > number)
            draft.notes.append(("third speaker", "cut", f"line {number}, {left} utterances after it: {line}"))
            break
    return draft


def _take(draft: Draft, line: str) -> bool:
    """Add one line to the draft; False if the dialogue ends here."""
    label = AT_START.match(line)
    if label:
        role, extra = role_of(label["word"]), label["extra"].strip()
        if extra:
            draft.notes.append(("labelled speaker", "replaced", line))
            if ROLE_PLAY.search(extra):
                return False
        _utterance(draft, role, line[label.end() :])
    elif STAGE.match(line):
        draft.notes.append(("stage direction", "removed", line))
    elif (speaker := SPEAKER.match(line)) and not LEAD_IN.search(speaker["name"]):
        return False
    elif NARRATION.search(line) or not draft.turns or line in ("来访者", "心理咨询师"):
        draft.notes.append(("narration", "removed", line))
    else:
        role, before = draft.turns[-1]
        draft.turns[-1] = (role, f"{before}\n{line}")
        draft.notes.append(("numbered continuation" if NUMBERED.match(line) else "continuation line", "merged", line))
    return True


def _utterance(draft: Draft, role: Role, text: str) -> None:
    """Add an utterance; a second label at its head (`来访者：心理咨询师：…`) says who really speaks."""
    while inner := AT_START.match(text):
        role, text = role_of(inner["word"]), text[inner.end() :]
        draft.notes.append(("two role labels in one line", "replaced", text))
    draft.turns.append((role, text))
