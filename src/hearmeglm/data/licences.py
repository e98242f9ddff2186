"""The licence ledger: may an adapter trained on this mix be published, and used commercially? Information, not legal advice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a licence lets one do with a model trained on the data.

    Attributes:
        publish, commercial: yes, no, or unknown (ask the owner).
        duties: what publishing asks for.
    """

    publish: Answer
    commercial: Answer
    duties_zh: str
    duties_en: str


LICENCES: dict[str, Terms] = {
    "CC0-1.0": Terms("yes", "yes", "无", "none"),
    "MIT": Terms("yes", "yes", "附上版权与许可声明", "include the copyright and licence notice"),
    "APACHE-2.0": Terms("yes", "yes", "附上许可与 NOTICE", "include the licence and NOTICE"),
    "CC-BY-4.0": Terms("yes", "yes", "署名并注明修改", "credit the authors and say what was changed"),
    "CC-BY-3.0": Terms("yes", "yes", "署名并注明修改", "credit the authors and say what was changed"),
    "CC-BY-SA-4.0": Terms("yes", "yes", "署名；改编的数据以相同许可发布", "credit; adapted data under the same licence"),
    "CC-BY-NC-4.0": Terms("yes", "no", "署名；仅限非商业用途", "credit; non-commercial use only"),
    "CC-BY-NC-SA-4.0": Terms("yes", "no", "署名；非商业；相同许可", "credit; non-commercial; same licence"),
    "CC-BY-ND-4.0": Terms("unknown", "unknown", "不得发布改编", "no adaptations may be shared"),
    "RESEARCH-ONLY": Terms("unknown", "no", "仅限研究；发布前询问数据所有者", "research only; ask the owner before publishing"),
}  # fmt: skip
UNKNOWN = Terms(
    "unknown", "unknown", "许可不明：发布前询问数据所有者", "licence unknown: ask the owner before publishing"
)
_RANK: dict[Answer, int] = {"yes": 0, "unknown": 1, "no": 2}


def normalise(name: str) -> str:
    """`CC BY 4.0`, `cc-by-4.0` and the like as one key; empty stays empty."""
    key = re.sub(r"[\s_]+", "-", name.strip().upper().replace("LICENSE", "").replace("LICENCE", "")).strip("-")
    key = re.sub(r"^CC0$", "CC0-1.0", key)
    return {
        "APACHE": "APACHE-2.0",
        "APACHE2": "APACHE-2.0",
        "RESEARCH": "RESEARCH-ONLY",
        "NON-COMMERCIAL": "RESEARCH-ONLY",
    }.get(key, key)


def terms(name: str) -> Terms:
    """Terms of a licence by name; `UNKNOWN` for one that is not in the table or not given."""
    return LICENCES.get(normalise(name), UNKNOWN)


def ledger(sources: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Judge a mix of sources.

    Args:
        sources: source name -> licence as given.

    Returns:
        `{"sources": [{source, licence, publish, commercial, duties_zh, duties_en}], "publish", "commercial", "because"}`; the
        strictest source decides, and `because` names those that keep an answer from being yes.
    """
    items = sources.items() if isinstance(sources, Mapping) else sources
    judged = [(name, licence, terms(licence)) for name, licence in items]
    rows = [
        {
            "source": name,
            "licence": licence or "?",
            "publish": t.publish,
            "commercial": t.commercial,
            "duties_zh": t.duties_zh,
            "duties_en": t.duties_en,
        }
        for name, licence, t in judged
    ]
    worst: dict[str, Answer] = {
        "publish": max((t.publish for _, _, t in judged), key=_RANK.__getitem__, default="unknown"),
        "commercial": max((t.commercial for _, _, t in judged), key=_RANK.__getitem__, default="unknown"),
    }
    because = sorted({r["source"] for r in rows if r["publish"] != "yes" or r["commercial"] != "yes"})
    return {"sources": rows, **worst, "because": because}
