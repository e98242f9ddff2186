"""Audit before training: what a data set holds, teaches, leaks and lacks, counted, with examples and places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..recipe import Persona
from ..types import Dialogue
from . import identity, licences, openings, persona, signs, stats
from .clean import Cleaner
from .cpsycound import NUMBERED, SPEAKER
from .dedup import Signatures, comparable, content_key, groups, near_pairs
from .labels import ANYWHERE
from .length import Count, conclusion, token_lengths
from .privacy import Scrubber
from .records import Record, count_reasons, shorten

ENOUGH = 500
"""Diverse samples below which a warning is given (the course's requirement of the original project)."""
EXAMPLES = 5


def audit(
    records: Iterable[Record],
    name: str,
    *,
    licence: str = "",
    own: bool = False,
    tokens: Count | None = None,
    cutoff: int = 1024,
    near: float = 0.8,
    personal: bool = True,
) -> dict[str, Any]:
    """Audit a source.

    Args:
        records: what a reader yields.
        licence: as the owner states it.
        own: the project's own writing (its names are right as they are).
        tokens: counts tokens of a text with the base's tokenizer; None estimates.
        cutoff: training cutoff in tokens.
        near: similarity from which dialogues are near-duplicates; 0 skips the search.
        personal: look for personal data (the slowest part).

    Returns:
        A JSON-able report; its parts are described in docs/data.md.
    """
    rows = list(records)
    raw = [r.dialogue for r in rows if r.dialogue is not None]
    notes = [n for r in rows for n in r.notes]
    cleaner = Cleaner(Persona.model_validate({}), own=own)
    outcome = [cleaner(d) for d in raw]
    clean = [o.dialogue for o in outcome if o.dialogue is not None]
    report: dict[str, Any] = {
        "name": name,
        "records": len(raw) + sum(any(n.action == "dropped" for n in r.notes) for r in rows if r.dialogue is None),
        "dialogues": len(raw),
        "self_cognition_pairs": sum(1 for _ in persona.pairs(Persona.model_validate({}))) if own else 0,
        "dropped": count_reasons(notes, ("dropped",)),
        "reading": count_reasons(notes, ("read", "merged", "cut", "removed", "replaced", "skipped")),
        "cleaning": dict(Counter(reason for o in outcome for _, reason, _, _ in o.changes).most_common()),
        "transcripts": anatomy(sorted({r.file for r in rows if r.file.endswith(".txt")})),
        "label_leaks_after_cleaning": sum(
            bool(ANYWHERE.search(m.content)) for d in clean for m in d.messages if m.role == "assistant"
        ),
        **stats.lengths(clean),
        "escalation": _escalation(clean),
        "signs": _signs(raw, clean),
        "topics": dict(Counter(d.meta.get("topic") or signs.topic(_said(d, "user")) for d in clean).most_common()),
        "diversity": _diversity(clean),
        "duplicates": _duplicates(clean, near),
        "licence": licences.ledger({name: licence}),
    }
    if personal:
        report["personal_data"] = _personal(clean)
    report["tokens"] = token_lengths(clean, tokens, cutoff)
    report["length_conclusion"] = conclusion(report, cutoff)
    report["warnings"] = _warnings(report)
    return report


def anatomy(files: Sequence[str]) -> dict[str, int]:
    """How many transcript files (CPsyCounD's shape) have each irregularity, before anything is mended."""
    counts: Counter[str] = Counter()
    lengths: list[int] = []
    for file in files:
        data = Path(file).read_bytes()
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
        roles = "".join(
            "C" if line.startswith("来访者：") else "S"
            for line in lines
            if line.startswith(("来访者：", "心理咨询师："))
        )
        counts["files"] += 1
        counts["crlf"] += b"\r\n" in data
        counts["trailing_client_turn"] += roles.endswith("C")
        counts["consecutive_counsellor_turns"] += "SS" in roles
        counts["consecutive_client_turns"] += "CC" in roles
        counts["numbered_lines"] += any(re.match(r"\d", line) and NUMBERED.match(line) for line in lines)
        counts["labels_with_names"] += any(re.match(r"(?:来访者|心理咨询师)（", line) for line in lines)
        counts["third_speakers"] += any(
            SPEAKER.match(line) and not line.startswith(("来访者", "心理咨询师")) for line in lines
        )
        counts["stage_directions"] += any(line[0] in "（(【" for line in lines)
        lengths.append(len(text))
    if lengths:
        counts |= Counter(
            {"shortest": min(lengths), "longest": max(lengths), "mean_characters": round(sum(lengths) / len(lengths))}
        )
    return dict(counts)


def _said(dialogue: Dialogue, role: str) -> str:
    return "\n".join(m.content for m in dialogue.messages if m.role == role)


def _escalation(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """Dialogues in which the client speaks of suicide or self-harm, and what the counsellor does in them."""
    risky = [d for d in dialogues if signs.RISK.search(_said(d, "user"))]
    replies = {d.id: _said(d, "assistant") for d in risky}
    return {
        "dialogues_with_risk_words": len(risky),
        "names_hotline_or_emergency": sum(bool(signs.RESOURCE.search(replies[d.id])) for d in risky),
        "asks_directly": sum(bool(signs.ASKS.search(replies[d.id])) for d in risky),
        "refers_to_professional_help": sum(bool(signs.REFERRAL.search(replies[d.id])) for d in risky),
        "examples": [_example(d, signs.RISK, "user") for d in risky[:EXAMPLES]],
    }


def _example(dialogue: Dialogue, pattern: re.Pattern[str], role: str) -> dict[str, str]:
    text = _said(dialogue, role)
    found = pattern.search(text)
    start = max(0, found.start() - 25) if found else 0
    return {"id": dialogue.id, "quote": shorten(text[start : start + 80])}


def _signs(raw: Sequence[Dialogue], clean: Sequence[Dialogue]) -> dict[str, Any]:
    """For each sign: dialogues and replies that show it, with examples. Foreign names and system prompts are counted before cleaning."""
    replies = [(d, m.content) for d in clean for m in d.messages if m.role == "assistant"]
    out: dict[str, Any] = {}
    for name, pattern in (
        ("diagnosis", signs.DIAGNOSIS),
        ("medication", signs.MEDICATION),
        ("prescription", signs.PRESCRIPTION),
        ("dependence", identity.DEPENDENT),
        ("standing_offer", identity.OFFER),
        ("emoji", signs.EMOJI),
        ("markdown", signs.MARKDOWN),
        ("control_tokens", signs.CONTROL),
    ):
        hits = [(d, text) for d, text in replies if pattern.search(text)]
        first = list({d.id: d for d, _ in hits}.values())[:EXAMPLES]
        out[name] = {
            "dialogues": len({d.id for d, _ in hits}),
            "replies": len(hits),
            "share_of_replies": round(len(hits) / max(len(replies), 1), 4),
            "examples": [_example(d, pattern, "assistant") for d in first],
        }
    foreign = [
        d for d in raw if identity.COUNSELLOR_NAMES.search(_everything(d)) or identity.OWN.search(_everything(d))
    ]
    out["foreign_identity_before_cleaning"] = {"dialogues": len(foreign)}
    prompts = [
        d for d in raw if d.messages[0].role == "system" and identity.DEPENDENT_PROMPT.search(d.messages[0].content)
    ]
    out["dependence_seeking_system_prompt_before_cleaning"] = {"dialogues": len(prompts)}
    return out


def _everything(dialogue: Dialogue) -> str:
    return "\n".join(m.content for m in dialogue.messages)


def _diversity(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """Distinct openings of all replies and n-gram distinctness (share of distinct among all, Li et al. 2016) of the counsellor's words."""
    heads = Counter(openings.head(m.content) for d in dialogues for m in d.messages if m.role == "assistant")
    first = openings.count(dialogues)
    text = [m.content for d in dialogues for m in d.messages if m.role == "assistant"]
    out: dict[str, Any] = {
        "distinct_first_openings": len(first),
        "most_frequent_first_openings": first.most_common(5),
        "distinct_reply_openings": len(heads),
        "replies": len(text),
        "most_frequent_reply_openings": heads.most_common(10),
        "most_used_reply_opening": heads.most_common(1)[0][1] if heads else 0,
    }
    for n in (2, 4):
        grams: Counter[str] = Counter()
        for reply in text[:20000]:
            grams.update(reply[i : i + n] for i in range(len(reply) - n + 1))
        out[f"distinct_{n}_characters"] = round(len(grams) / max(sum(grams.values()), 1), 4)
    return out


def _duplicates(dialogues: Sequence[Dialogue], near: float) -> dict[str, Any]:
    keys = Counter(content_key(d) for d in dialogues)
    out: dict[str, Any] = {"exact": sum(n - 1 for n in keys.values())}
    if near:
        texts = [comparable(d) for d in dialogues]
        signatures = Signatures()
        for text in texts:
            signatures.add(text)
        pairs = near_pairs(signatures, near, texts)
        sizes = Counter(groups(len(texts), pairs))
        involved = sum(n for n in sizes.values() if n > 1)
        out |= {
            "near_threshold": near,
            "near_groups": sum(n > 1 for n in sizes.values()),
            "near_dialogues": involved,
            "near_share": round(involved / max(len(texts), 1), 4),
        }
        out["examples"] = [
            {"a": dialogues[i].id, "b": dialogues[j].id, "similarity": round(s, 3)}
            for i, j, s in sorted(pairs, key=lambda p: -p[2])[:EXAMPLES]
        ]
    return out


def _personal(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """Personal data by type: spans and dialogues. Values are not shown: an audit must not spread what it finds."""
    scrubber = Scrubber(keep=(Persona.model_validate({}).name, Persona.model_validate({}).developer))
    spans: Counter[str] = Counter()
    holders: Counter[str] = Counter()
    for d in dialogues:
        found = [s for m in d.messages for s in scrubber.find(m.content)]
        spans.update(s.type for s in found)
        holders.update({s.type for s in found})
        holders["any"] += bool(found)
    return {
        "dialogues": holders["any"],
        "by_type": {t: {"spans": n, "dialogues": holders[t]} for t, n in spans.most_common()},
    }


def _warnings(report: dict[str, Any]) -> list[dict[str, str]]:
    """What a builder must know before training, most serious first."""
    out: list[dict[str, str]] = []

    def warn(zh: str, en: str) -> None:
        out.append({"zh": zh, "en": en})

    risk = report["escalation"]
    if (
        risk["dialogues_with_risk_words"]
        and risk["names_hotline_or_emergency"] < 0.5 * risk["dialogues_with_risk_words"]
    ):
        n, k = risk["dialogues_with_risk_words"], risk["names_hotline_or_emergency"]
        warn(
            f"{n} 个对话中来访者谈到自杀或自伤，咨询师提到热线或急救的有 {k} 个：用它训练学不会转介，危机保护必须在模型之外。",
            f"In {n} dialogues the client speaks of suicide or self-harm; in {k} the counsellor names a hotline or emergency service: training on this teaches no escalation, so the crisis layer must be code outside the model.",
        )
    elif not risk["dialogues_with_risk_words"]:
        warn(
            "没有任何对话谈到自杀或自伤：模型对危险一无所知，危机保护必须在模型之外。",
            "No dialogue speaks of suicide or self-harm: the model learns nothing of danger, so the crisis layer must be code outside the model.",
        )
    if report["label_leaks_after_cleaning"]:
        warn("清洗后仍有角色标签留在回复里。", "Role labels are left in replies after cleaning.")
    if report["dialogues"] + report["self_cognition_pairs"] < ENOUGH:
        warn(
            f"只有 {report['dialogues']} 个对话，少于 {ENOUGH} 个多样的样本。",
            f"Only {report['dialogues']} dialogues, fewer than {ENOUGH} diverse samples.",
        )
    for key, zh, en in (
        ("prescription", "开药或给出剂量", "prescribe or give dosage"),
        ("diagnosis", "下诊断", "diagnose"),
        ("dependence", "诱导依赖", "seek dependence"),
    ):
        if n := report["signs"][key]["replies"]:
            warn(f"{n} 条回复似在{zh}。", f"{n} replies seem to {en}.")
    if report["signs"]["dependence_seeking_system_prompt_before_cleaning"]["dialogues"]:
        warn(
            "含有要求讨好或依赖的系统提示；清洗时替换。",
            "It holds system prompts that ask for servility or dependence; cleaning replaces them.",
        )
    if people := report.get("personal_data", {}).get("dialogues"):
        warn(
            f"{people} 个对话疑似含个人信息；训练前请脱敏（data.scrub: true）。",
            f"Dialogues that seem to hold personal data: {people}; scrub before training (data.scrub: true).",
        )
    if report["duplicates"].get("near_share", 0) >= 0.01:
        warn(
            f"{report['duplicates']['near_share']:.1%} 的对话近似重复。",
            f"{report['duplicates']['near_share']:.1%} of the dialogues are near-duplicates.",
        )
    if report["licence"]["publish"] != "yes":
        warn(
            "许可不明或受限：发布适配器之前请询问数据所有者。",
            "Licence unknown or restricted: ask the owner before publishing an adapter.",
        )
    elif report["licence"]["commercial"] == "no":
        warn("许可不允许商业用途。", "The licence does not allow commercial use.")
    return out
