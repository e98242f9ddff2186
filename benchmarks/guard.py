"""Speed of the guard and what its layers find on the halves that nothing was tuned on.

python benchmarks/guard.py [--psysuicide ../shared/data/psysuicide/valid.json] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from hearmeglm.data import starter
from hearmeglm.evals.crisis import load_cases
from hearmeglm.run import git_commit
from hearmeglm.safety.guard import Guard, Session
from hearmeglm.safety.letters import calm_talks, letters
from hearmeglm.safety.measure import (
    Example,
    building,
    corpus,
    evaluate,
    evaluate_replies,
    rate,
    replies,
    report,
)

BLIND = Path(__file__).with_name("blind")
"""Sets by authors who saw neither rules nor corpus; they measure and never build."""


def on_blind_sets(guard: Guard) -> dict[str, Any]:
    """`evaluate` on each blind set, both languages together."""
    examples = corpus(BLIND)
    names = sorted({e.id.partition("-")[0][3:] for e in examples})
    return {name: evaluate(guard, [e for e in examples if f"_{name}-" in e.id]) for name in names}


def speed(guard: Guard, every: int = 1) -> dict[str, float]:
    """Milliseconds a message, by the clock, of every so-manieth text: the corpus's lines, 100 Chinese characters, 200 English ones, 2,000 mixed, the 20th message of a talk."""
    texts = [t for e in corpus() for t in e.turns]
    zh, en = (
        "，".join(t for e in corpus() if e.lang == "zh" for t in e.turns),
        ". ".join(t for e in corpus() if e.lang == "en" for t in e.turns),
    )
    guard.assess([texts[0]])  # loads the base where the guard has one

    def ms(text: str, session: Session) -> float:
        start = time.perf_counter()
        session.add(text)
        return (time.perf_counter() - start) * 1e3

    def twentieth(n: int) -> float:
        session = guard.session()
        return [ms(text, session) for text in texts[n : n + 20]][-1]

    times = {
        "corpus line": [ms(t, guard.session()) for t in texts[::every]],
        "Chinese, 100 characters": [ms(zh[i * 100 : (i + 1) * 100], guard.session()) for i in range(0, 60, every)],
        "English, 200 characters": [ms(en[i * 200 : (i + 1) * 200], guard.session()) for i in range(0, 60, every)],
        "mixed, 2000 characters": [
            ms(zh[i * 1000 : (i + 1) * 1000] + en[i * 1000 : (i + 1) * 1000], guard.session()) for i in range(6)
        ],
        "20th message of a talk": [twentieth(n) for n in range(300, 1300, 50)],
    }
    out: dict[str, float] = {}
    for name, found in times.items():
        out[f"{name} mean"] = round(sum(found) / len(found), 3)
        out[f"{name} p95"] = round(sorted(found)[int(len(found) * 0.95)], 3)
    return out


def in_letters(guard: Guard) -> dict[str, Any]:
    """`evaluate` on 400 letters: lines of the measuring half in stories told in the starter corpus, in talks no training has seen."""
    lines = [e for e in corpus() if not building(e) and len(e.turns) == 1]
    calm = calm_talks(Guard.load(layers="rules"), starter.client_talks()[1::2])
    return evaluate(guard, letters(lines, calm, wanted=400, longest=400, seed=1))


def in_everyday_talks(guard: Guard) -> dict[str, Any]:
    """False alarms in counselling talks without danger (starter corpus, the half no training has seen): of messages alone and whole talks."""
    talks = starter.client_talks()[1::2]
    said = [(lang, (message,)) for lang, turns in talks for message in turns[::3]]
    said += [(lang, tuple(turns)) for lang, turns in talks]
    examples = [
        Example(f"starter-{i}", t, False, False, "none", "none", lang, "own") for i, (lang, t) in enumerate(said)
    ]
    return {name: found for name, found in evaluate(guard, examples)["crisis"].items() if "risk=" not in name}


def without_ids(result: Any) -> Any:
    """The result without which texts were missed: who mends the guard must not know them."""
    if not isinstance(result, dict):
        return result
    return {key: without_ids(value) for key, value in result.items() if key not in ("missed", "false")}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--psysuicide", type=Path)
    args.add_argument("--out", type=Path)
    opt = args.parse_args()
    start = time.process_time()
    full = Guard.load(layers="rules+linear")
    load_s = time.process_time() - start
    rules, everything = Guard.load(layers="rules"), Guard.load(layers="all")
    cases = load_cases()
    suite = {}
    for name, guard in (("rules", rules), ("rules + linear", full), ("all", everything)):
        found = [(c, guard.assess([m.content for m in c.messages if m.role == "user"])) for c in cases]
        suite[name] = {
            "recall (building data since the rules were mended on it)": rate([a.crisis for c, a in found if c.crisis]),
            "false alarms": rate([a.crisis for c, a in found if not c.crisis]),
        }
    result: dict[str, Any] = {
        "commit": git_commit(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_s": round(load_s, 3),
        "ms, always on": speed(full),
        "ms, all": speed(everything, 20),
        "rules": report(rules, opt.psysuicide),
        "rules + linear": report(full, opt.psysuicide),
        "all": report(everything, opt.psysuicide),
        "all, on blind sets": on_blind_sets(everything),
        "all, in letters": in_letters(everything),
        "all, in everyday talks": in_everyday_talks(everything),
        "crisis suite": suite,
        "replies, patterns": evaluate_replies(replies(BLIND / "replies"), trained=False),
        "replies, all": evaluate_replies(replies(BLIND / "replies")),
    }
    text = json.dumps(without_ids(result), ensure_ascii=False, indent=1)
    if opt.out:
        opt.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
