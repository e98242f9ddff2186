"""Speed of the guard and what its layers find on the halves that nothing was tuned on.

python benchmarks/guard.py [--psysuicide ../shared/data/psysuicide/valid.json] [--out FILE]
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


def speed(guard: Guard, every: int = 1) -> dict[str, float]:
    """Of every so-manieth text: CPU milliseconds a message: the corpus, Chinese of 100 characters, English of 200, 2,000 mixed, and the 20th message of a talk."""
    texts = [t for e in corpus() for t in e.turns]
    out: dict[str, float] = {}
    guard.assess([texts[0]])  # loads the base where the guard has one
    zh, en = (
        "，".join(t for e in corpus() if e.lang == "zh" for t in e.turns),
        ". ".join(t for e in corpus() if e.lang == "en" for t in e.turns),
    )
    for name, sample in (
        ("corpus line", texts[::every]),
        ("Chinese, 100 characters", [zh[i * 100 : (i + 1) * 100] for i in range(0, 60, every)]),
        ("English, 200 characters", [en[i * 200 : (i + 1) * 200] for i in range(0, 60, every)]),
        ("mixed, 2000 characters", [zh[i * 1000 : (i + 1) * 1000] + en[i * 1000 : (i + 1) * 1000] for i in range(6)]),
    ):
        times = []
        for text in sample:
            start = time.process_time()
            guard.assess([text])
            times.append((time.process_time() - start) * 1e3)
        times.sort()
        out[f"{name} mean"] = round(sum(times) / len(times), 3)
        out[f"{name} p95"] = round(times[int(len(times) * 0.95)], 3)
    session = guard.session()
    for text in texts[300:319]:
        session.add(text)
    start = time.process_time()
    session.add(texts[319])
    out["20th message of a talk"] = round((time.process_time() - start) * 1e3, 3)
    return out


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
        "machine": platform.platform(),
        "load_s": round(load_s, 3),
        "ms, always on": speed(full),
        "ms, all": speed(everything, 20),
        "rules": report(rules, opt.psysuicide),
        "rules + linear": report(full, opt.psysuicide),
        "all": report(everything, opt.psysuicide),
        "crisis suite": suite,
    }
    text = json.dumps(result, ensure_ascii=False, indent=2)
    if opt.out:
        opt.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
