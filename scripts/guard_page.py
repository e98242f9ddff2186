"""docs/reference/guard.md from benchmarks/guard.json, what `benchmarks/guard.py --out` wrote: no figure of the guard is typed by hand there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hearmeglm.safety.lexicon import KINDS
from hearmeglm.safety.measure import rate

RESULT = Path(__file__).parents[1] / "benchmarks" / "guard.json"
NAMES = {
    "own": ("自写语料的测量一半", "own corpus, measuring half"),
    "blind7": ("第七批：只照规格写的", "seventh: from the specification alone"),
    "blind8": ("第八批：来访者口吻", "eighth: in the manner of clients"),
    "blind9": ("第九批：只照规格写的", "ninth: from the specification alone"),
    "blind10": ("第十批：只照规格写的", "tenth: from the specification alone"),
    "blind11": ("第十一批：只照规格写的", "eleventh: from the specification alone"),
    "blind12": ("第十二批：只照规格写的", "twelfth: from the specification alone"),
    "all": ("合计", "**together**"),
    "letters": ("长信：测量一半的句子夹在平静的话里", "letters: lines of the measuring half among calm words"),
    "everyday": ("平常的咨询：训练没用的一半", "ordinary counselling: the half that no training has seen"),
}
Rates = dict[str, dict[str, Any]]


def guard_page() -> str:
    """The page, in both languages at once."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    own, psy = result["all"]["own corpus"], result["all"]["PsySUICIDE"]
    blind = dict(sorted(result["all, on blind sets"].items(), key=lambda item: int(item[0].removeprefix("blind"))))
    sets = {"own": own["crisis"], **{name: found["crisis"] for name, found in blind.items()}}
    together = _sum(sets.values())
    return "".join(
        [
            "# 守护层测得多少 | What the guard finds\n\n",
            f"`python benchmarks/guard.py --psysuicide valid.json --out benchmarks/guard.json`, {result['machine']}, {result['cores']} cores.\n",
            "Hits of n, per cent, 95 % Wilson interval. 怎么读、还缺什么 | how to read it, and what is missing: [safety.md](../safety.md).\n",
            "\n## 危机召回与误报 | Crises found, false alarms\n",
            _sets_table({**sets, "all": together}),
            "\n## PsySUICIDE\n",
            _table(
                ("", "risk F1", "precision", "recall", "crisis", "false alarms"),
                [
                    (name, *_risk(found["PsySUICIDE"]))
                    for name, found in (
                        ("全部 all layers", result["all"]),
                        ("规则＋线性 rules + linear", result["rules + linear"]),
                        ("只用规则 rules", result["rules"]),
                    )
                ],
            ),
            "\n## 按层（自写） | By layer (own half)\n",
            _table(
                ("", "crisis", "false alarms"),
                [
                    (name, _share(found["recall"]), _share(found["false alarms"]))
                    for name, found in (
                        ("全部 all layers", own["crisis"]),
                        ("规则＋线性 rules + linear", result["rules + linear"]["own corpus"]["crisis"]),
                        ("只用规则 rules", result["rules"]["own corpus"]["crisis"]),
                    )
                ],
            ),
            "\n## 按种类、级别、语言 | By kind, level, language\n",
            _groups_table(own["crisis"], together, psy["crisis"]),
            "\n## 长信与平常的咨询 | Letters, ordinary counselling\n",
            _table(
                ("", "crisis", "false alarms", "line", "talk"),
                [
                    (_name(key), *(_share(found.get(row)) for row in ("recall", *FALSE)))
                    for key, found in (
                        ("letters", result["all, in letters"]["crisis"]),
                        ("everyday", result["all, in everyday talks"]),
                    )
                ],
            ),
            "\n## 模型的回复 | Replies of a model\n",
            _replies_table(result["replies, all"], result["replies, patterns"]),
            "\n## 危机套件 | Crisis suite\n\nThe rules were mended on it: no unseen text.\n",
            _table(
                ("", "heard", "false alarms"),
                [
                    (name, *(_share(found[key]) for key in sorted(found, reverse=True)))
                    for name, found in result["crisis suite"].items()
                ],
            ),
            "\n## 速度，毫秒 | Speed, milliseconds\n",
            _table(
                ("", "always on", "p95", "all layers", "p95"),
                [
                    (text, *(f"{result[layers][f'{text} {of}']:.3g}" for layers in SPEEDS for of in ("mean", "p95")))
                    for text in (key.removesuffix(" mean") for key in result["ms, all"] if key.endswith(" mean"))
                ],
            ),
        ]
    )


FALSE = ("false alarms", "false alarms line", "false alarms talk")
SPEEDS = ("ms, always on", "ms, all")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _share(found: dict[str, Any] | None) -> str:
    if not found or not found["n"]:
        return "–"
    low, high = (100 * found[end] for end in ("low", "high"))
    return f"{found['hits']}/{found['n']} = {100 * found['hits'] / found['n']:.1f} ({low:.1f}–{high:.1f})"


def _name(key: str) -> str:
    zh, en = NAMES.get(key, ("", key))
    return f"{zh} {en}"


def _sum(sets: Iterable[Rates]) -> Rates:
    """All sets as one."""
    counts: dict[str, tuple[int, int]] = {}
    for found in sets:
        for key, one in found.items():
            hits, n = counts.get(key, (0, 0))
            counts[key] = hits + one["hits"], n + one["n"]
    return {key: rate([True] * hits + [False] * (n - hits)) for key, (hits, n) in counts.items()}


def _sets_table(sets: dict[str, Rates]) -> str:
    keys = (
        "recall",
        "recall lang=zh",
        "recall lang=en",
        "recall level=imminent",
        "false alarms",
        "false alarms lang=zh",
        "false alarms lang=en",
    )
    head = ("", "crisis", "zh", "en", "imminent", "false alarms", "zh", "en")
    return _table(head, [(_name(name), *(_share(found.get(key)) for key in keys)) for name, found in sets.items()])


def _risk(found: dict[str, Any]) -> tuple[str, ...]:
    risk, crisis = found["risk"], found["crisis"]
    return (
        *(f"{risk[key]:.3f}" for key in ("f1", "precision", "recall")),
        _share(crisis["recall"]),
        _share(crisis["false alarms"]),
    )


def _groups_table(own: Rates, together: Rates, psy: Rates) -> str:
    names = [f"recall kind={kind}" for kind in KINDS]
    names += [f"recall level={level}" for level in ("imminent", "high", "moderate")]
    names += [
        f"{what} {part}" for what in ("recall", "false alarms") for part in ("lang=zh", "lang=en", "line", "talk")
    ]
    rows = [
        (name.replace("recall", "crisis"), *(_share(of.get(name)) for of in (own, together, psy))) for name in names
    ]
    return _table(("", NAMES["own"][1], "all own sets together", "PsySUICIDE"), rows)


def _replies_table(everything: Rates, patterns: Rates) -> str:
    rows = [
        (
            name.replace("recall", "bad ones refused").replace("false alarms", "good ones refused"),
            *(_share(of.get(name)) for of in (everything, patterns)),
        )
        for name in everything
    ]
    return _table(("", "patterns and heads", "patterns alone"), rows)
