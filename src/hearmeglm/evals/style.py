"""Style: does a reply read like a person? Plain counts that anybody can check by eye; no model judges here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..types import Generation, Message
from .language import han_share, language
from .overlap_more import words

if TYPE_CHECKING:
    from rich.table import Table

_MARKDOWN = re.compile(
    r"^\s{0,3}(?:#{1,6}\s|[-*+•]\s|\d{1,2}[.、)）]\s*\S|>\s|```|\|.*\|)|\*\*[^*\n]+\*\*|__[^_\n]+__|`[^`\n]+`|\[[^\]\n]+\]\([^)\n]+\)",
    re.M,
)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\U0001f1e6-\U0001f1ff\u2b50\u2764]")
_EMPATHY = re.compile(
    r"^(?:嗯[，,。]?|哦[，,]?|唉[，,]?)?(?:我(?:能|可以|很|非常|完全)?(?:理解|感受|明白|听到|听见|体会|知道你)|听起来|听上去|看起来你|这(?:一定|真的|确实|听起来|种感觉)|你(?:一定|真的|现在|已经)|谢谢你(?:愿意|告诉|的信任)|辛苦)"
    r"|^(?:I(?:'m| am) (?:so )?sorry|I (?:hear|can (?:hear|see|feel|understand|imagine)|understand)|(?:That|It|This) (?:sounds|must|seems)|Thank you for)",
    re.I,
)
_ROLE_EMOJI = re.compile(r"emoji|表情", re.I)
METRICS = ("markdown", "questions", "empathy-opening", "emoji", "echo", "language-kept", "introduces")


def opening(text: str) -> str:
    """The first clause in lower case, at most twelve characters or six words: what monotony is counted on."""
    clause = re.split(r"[，。！？,.!?\n…]", text.strip(), maxsplit=1)[0].strip().lower()
    return " ".join(clause.split()[:6]) if language(clause) == "en" else clause[:12]


def uses_client_words(reply: str, asked: str) -> float | None:
    """Share of the reply's content words that stand in the client's last message; None without content words.

    Content words: Chinese words of two characters or more, English words of four letters or more.
    """
    lang = language(asked)
    long = 2 if lang == "zh" else 4
    mine = {w.lower() for w in words(reply, lang) if len(w) >= long and w[0].isalnum()}
    theirs = {w.lower() for w in words(asked, lang) if len(w) >= long and w[0].isalnum()}
    return len(mine & theirs) / len(mine) if mine else None


def style(reply: str, history: Sequence[Message]) -> dict[str, float | None]:
    """Counts about one reply.

    Returns:
        `markdown`, `questions` (number), `empathy-opening`, `emoji` (number), `echo` (client's own words), `language-kept`
        (1 if the reply is in the client's language), `introduces` (1 if it introduces itself).
    """
    asked = history[-1].content
    kept = None
    if language(asked) == "en":
        kept = float(han_share(reply) < 0.1)
    elif han_share(asked) > 0.8:
        kept = float(language(reply) == "zh")
    return {
        "markdown": float(bool(_MARKDOWN.search(reply))),
        "questions": float(len(re.findall(r"[？?]+", reply))),
        "empathy-opening": float(bool(_EMPATHY.match(reply.strip()))),
        "emoji": float(len(_EMOJI.findall(reply))),
        "echo": uses_client_words(reply, asked),
        "language-kept": kept,
        "introduces": float(bool(re.match(r".{0,12}(?:我是|我叫|I am |I'm |my name is)\s*[A-Z][a-z]+", reply.strip()))),
    }


def wants_emoji(history: Sequence[Message]) -> bool:
    """True if the role given by the system message asks for emoji."""
    return any(m.role == "system" and _ROLE_EMOJI.search(m.content) for m in history)


def summarise(generations: Sequence[Generation]) -> dict[str, Any]:
    """Style of one model's replies beside the references of the same prompts; every mean with its n."""
    return {
        "replies": _group([(g.prediction, g) for g in generations]),
        "references": _group([(g.reference, g) for g in generations if g.reference]),
    }


def _group(pairs: Sequence[tuple[str, Generation]]) -> dict[str, Any]:
    rows = [style(text, g.messages) for text, g in pairs]
    out: dict[str, Any] = {"n": len(rows)}
    for metric in METRICS:
        known = [v for r in rows if (v := r[metric]) is not None]
        out[metric] = {"mean": round(sum(known) / len(known), 4), "n": len(known)} if known else None
    openings = Counter(opening(text) for text, _ in pairs if text.strip())
    total = sum(openings.values())
    common = openings.most_common(3)
    out["openings"] = {
        "distinct": len(openings),
        "commonest_share": round(common[0][1] / total, 4) if total else None,
        "commonest": [[text, n] for text, n in common],
    }
    ratios = [len(text) / len(g.reference) for text, g in pairs if g.reference]
    out["length_ratio"] = round(sum(ratios) / len(ratios), 4) if ratios else None
    asked = [style(text, g.messages)["emoji"] for text, g in pairs if wants_emoji(g.messages)]
    plain = [style(text, g.messages)["emoji"] for text, g in pairs if not wants_emoji(g.messages)]
    out["emoji_when_asked"] = (
        {"share": round(sum(bool(v) for v in asked) / len(asked), 4), "n": len(asked)} if asked else None
    )
    out["emoji_unasked"] = (
        {"share": round(sum(bool(v) for v in plain) / len(plain), 4), "n": len(plain)} if plain else None
    )
    return out


def table(models: dict[str, dict[str, Any]]) -> Table:
    """Style of each model, the references in the last column."""
    from rich.table import Table

    out = Table(title="Style 文风（像不像真人）")
    out.add_column("")
    for name in [*models, "reference"]:
        out.add_column(name, justify="right")
    columns = [m["replies"] for m in models.values()]
    columns.append(next(iter(models.values()))["references"])
    labels = {
        "markdown": "Markdown 标记", "questions": "questions per reply 提问", "empathy-opening": "opens with empathy 共情开头", "emoji": "emoji per reply",
        "echo": "client's own words 用来访者的话", "language-kept": "keeps the language 语言一致", "introduces": "introduces itself 自我介绍",
    }  # fmt: skip
    for metric, label in labels.items():
        out.add_row(label, *(f"{c[metric]['mean']:.3f}" if c.get(metric) else "–" for c in columns))
    out.add_row(
        "commonest opening 最常见开头",
        *(f"{c['openings']['commonest_share']:.0%}" if c["openings"]["commonest_share"] else "–" for c in columns),
    )
    out.add_row(
        "length / reference 长度比",
        *("–" if c["length_ratio"] is None else f"{c['length_ratio']:.2f}" for c in columns),
    )
    for key, label in (
        ("emoji_when_asked", "emoji when the role asks 要求时用表情"),
        ("emoji_unasked", "emoji unasked 未要求时用表情"),
    ):
        out.add_row(label, *(f"{c[key]['share']:.0%} (n={c[key]['n']})" if c.get(key) else "–" for c in columns))
    out.add_row("n", *(str(c["n"]) for c in columns))
    return out
