"""Speed of the guard and what its layers find on the halves that nothing was tuned on.

flock /tmp/heavy.lock python benchmarks/guard.py [--psysuicide ../shared/data/psysuicide/valid.json] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

from hearmeglm.evals.crisis import load_cases
from hearmeglm.run import git_commit
from hearmeglm.safety.guard import Guard
from hearmeglm.safety.measure import corpus, rate, report


def speed(guard: Guard) -> dict[str, float]:
    """Milliseconds a message: the corpus, one message of 200 characters, one of 2,000, and the 20th of a talk."""
    texts = [t for e in corpus() for t in e.turns]
    out: dict[str, float] = {}
    for name, sample in (
        ("corpus", texts),
        ("200 characters", ["".join(texts)[i * 200 : (i + 1) * 200] for i in range(20)]),
        ("2000 characters", ["".join(texts)[i * 500 : i * 500 + 2000] for i in range(8)]),
    ):
        times = []
        for text in sample:
            start = time.perf_counter()
            guard.assess([text])
            times.append((time.perf_counter() - start) * 1e3)
        times.sort()
        out[f"{name} mean"] = round(sum(times) / len(times), 3)
        out[f"{name} p95"] = round(times[int(len(times) * 0.95)], 3)
    session = guard.session()
    for text in texts[300:319]:
        session.add(text)
    start = time.perf_counter()
    session.add(texts[319])
    out["20th message of a talk"] = round((time.perf_counter() - start) * 1e3, 3)
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--psysuicide", type=Path)
    args.add_argument("--out", type=Path)
    opt = args.parse_args()
    start = time.perf_counter()
    full = Guard.load()
    load_s = time.perf_counter() - start
    rules = Guard.load(classifier=False)
    cases = load_cases()
    suite = {}
    for name, guard in (("rules", rules), ("rules + classifier", full)):
        found = [(c, guard.assess([m.content for m in c.messages if m.role == "user"])) for c in cases]
        suite[name] = {
            "recall (building data since the rules were mended on it)": rate([a.crisis for c, a in found if c.crisis]),
            "false alarms": rate([a.crisis for c, a in found if not c.crisis]),
        }
    result: dict[str, Any] = {
        "commit": git_commit(),
        "machine": platform.platform(),
        "load_s": round(load_s, 3),
        "ms": speed(full),
        "rules": report(rules, opt.psysuicide),
        "rules + classifier": report(full, opt.psysuicide),
        "crisis suite": suite,
    }
    text = json.dumps(result, ensure_ascii=False, indent=2)
    if opt.out:
        opt.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
