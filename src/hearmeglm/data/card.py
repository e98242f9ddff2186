"""The data card of the packaged corpus, written from its audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from ..recipe import Persona
from ..types import Dialogue
from . import openings, persona, signs, starter, stats
from .audit import audit
from .sources import read

WANTED = {"counselling": 260, "knowledge": 120, "emoji": 60, "crisis": 40}
"""How many dialogues of each kind the corpus sets out to hold, self-cognition pairs aside."""


def corpus_card(tokens: Callable[[str], int] | None = None) -> str:
    """The card in Markdown (Chinese summary, English body), every number counted now."""
    records = list(read(""))
    dialogues = [r.dialogue for r in records if r.dialogue is not None]
    report = audit(records, "starter", licence=starter.LICENCE, own=True, tokens=tokens)
    pairs = list(persona.pairs(Persona.model_validate({})))
    kinds = Counter(d.meta.get("kind", "?") for d in dialogues)
    langs = Counter(stats.language(d) for d in dialogues)
    topics = Counter(d.meta.get("topic", "?") for d in dialogues)
    approaches = Counter(d.meta.get("approach", "?") for d in dialogues if d.meta.get("kind") == "counselling")
    heads = Counter(openings.head(m.content) for d in dialogues for m in d.messages if m.role == "assistant")
    often = [(o, n) for o, n in heads.most_common() if n > 3]
    crisis = [d for d in dialogues if d.meta.get("kind") == "crisis"]
    risk, signs_, twins = report["escalation"], report["signs"], report["duplicates"]

    def row(name: str, counts: Counter[str]) -> str:
        return f"| {name} | " + ", ".join(f"{k} {v}" for k, v in counts.most_common()) + " |"

    lines = [
        "# Data card: the HearMeGLM starter corpus",
        "",
        "<!-- Written by `hearme data card` from the corpus and its audit. Do not edit by hand. -->",
        "",
        f"中文摘要：本语料由本项目逐篇撰写（非模板拼接），共 {len(dialogues)} 个对话、{report['turns']} 个咨询师轮次，另有 {len(pairs)} 条自我认知问答；许可 {starter.LICENCE}。全部为虚构人物，不含真实个人信息。"
        f"危机对话 {len(crisis)} 个，咨询师直接询问、陪伴并转介；热线号码以占位符书写，由热线表填入。",
        "",
        "## What it is",
        "",
        f'{len(dialogues)} dialogues and {len(pairs)} self-cognition pairs, written one by one for this project by its authors (language models directed by the project\'s maintainers), in Chinese and English. All clients are imagined. Licence: {starter.LICENCE}; credit "HearMeGLM starter corpus".',
        "",
        "| | counts |",
        "|---|---|",
        row("kinds", kinds),
        row("languages", langs),
        row("topics", topics),
        row("schools of therapy (counselling)", approaches),
        f"| aims not yet reached | {', '.join(f'{k} {kinds[k]} of {n}' for k, n in WANTED.items() if kinds[k] < n) or 'none'} |",
        "",
        "## Its own audit",
        "",
        "| | |",
        "|---|---|",
        f"| counsellor turns | {report['turns']} |",
        f"| characters a dialogue | median {report['characters']['p50']:g}, 5 % to 95 %: {report['characters']['p05']:g} to {report['characters']['p95']:g} |",
        f"| turns a dialogue | median {report['turns_a_dialogue']['p50']:g}, longest {report['turns_a_dialogue']['max']:g} |",
        f"| characters a reply | median {report['characters_a_reply']['p50']:g}, 95 %: {report['characters_a_reply']['p95']:g} |",
        f"| tokens a dialogue ({'estimated' if report['tokens']['estimated'] else 'base tokenizer'}) | median {report['tokens']['p50']:g}, longest {report['tokens']['max']:g}, over {report['tokens']['cutoff']}: {report['tokens']['over_cutoff']} |",
        f"| dialogues with words of suicide or self-harm | {risk['dialogues_with_risk_words']}; hotline or emergency named in {risk['names_hotline_or_emergency']}, asked directly in {risk['asks_directly']} |",
        f"| crisis dialogues that name a hotline or emergency number | {_refers(crisis)} of {len(crisis)} |",
        f"| replies that prescribe, diagnose, seek dependence | {signs_['prescription']['replies']}, {signs_['diagnosis']['replies']}, {signs_['dependence']['replies']} |",
        f"| replies with emoji, with Markdown | {signs_['emoji']['replies']}, {signs_['markdown']['replies']} |",
        f"| exact duplicates; near-duplicates (Jaccard of 5-grams ≥ {twins['near_threshold']}) | {twins['exact']}; {twins['near_dialogues']} dialogues ({twins['near_share']:.2%}) |",
        f"| reply openings (6 characters, 4 words) used more than 3 times | {', '.join(f'{o!r} {n}' for o, n in often[:12]) or 'none'} |",
        f"| personal data found by the scrubber | {report['personal_data']['dialogues']} dialogues |",
        f"| role labels in replies | {report['label_leaks_after_cleaning']} |",
        "",
        "## Length",
        "",
        report["length_conclusion"]["en"],
        "",
        "## Warnings of the audit",
        "",
        *[f"- {w['en']}" for w in report["warnings"]],
        *([] if report["warnings"] else ["None."]),
        "",
        "## Limits",
        "",
        "Written text, not transcripts of real sessions; no clinician has reviewed it dialogue by dialogue. It shows manner and referral; it makes no model safe: the guard outside the model is what protects people. The numbers filled into the placeholders are examples of one region a language.",
        "",
    ]
    return "\n".join(lines)


def _refers(crisis: Sequence[Dialogue]) -> int:
    return sum(
        bool(signs.RESOURCE.search("\n".join(m.content for m in d.messages if m.role == "assistant"))) for d in crisis
    )
