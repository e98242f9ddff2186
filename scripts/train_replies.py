"""Train the heads of the check on replies, `rules/replies.npz`, for the `rules/listener.npz` that is there (some four minutes on two cores).

    python scripts/train_replies.py --client-turns ../shared/data/cpsycound

Data: the project's own labelled replies (`safety/corpus/replies`), and as replies that may be shown what counsellors say in the starter
corpus and in CPsyCounD (CC BY 4.0), in every other dialogue of both (the others only measure), and every other answer to who Jerry is. A bad reply is learnt whole, a good one also
in the parts that the check reads. From which log odds on a reply is refused is chosen by cross-validation, in which all parts of a reply
stay together: of our own good replies, most of them near twins of bad ones, `--false-alarms` are refused, of counsellors' far fewer.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from hearmeglm.data import starter
from hearmeglm.data.persona import pairs as pairs_of
from hearmeglm.files import read_jsonl
from hearmeglm.recipe import Persona
from hearmeglm.safety.guard import RULES
from hearmeglm.safety.listener import Listener
from hearmeglm.safety.measure import Reply, replies
from hearmeglm.safety.reply_heads import REASONS, WINDOWS, fingerprint, odds, pairs

SEED = 7
STRENGTH = 0.03
"""Inverse strength of the L2 penalty; cross-validated, 0.003 to 0.1 are as good."""


def counsellors(folder: Path | None, wanted: int) -> list[Reply]:
    """What counsellors say in the even dialogues of the starter corpus, and of CPsyCounD if its folder is given: so many of each."""
    dialogues = [row for file in starter.files() for _, row in read_jsonl(file)][::2]
    said = [
        Reply("ok", starter.fill_placeholders(m["content"], row["lang"]), row["lang"])
        for row in dialogues
        for m in row["messages"]
        if m["role"] == "assistant"
    ]
    cases = sorted(folder.glob("case_*[02468].txt")) if folder else []
    told = [
        text for p in cases for text in re.findall(r"^心理咨询师：(.+)$", p.read_text(encoding="utf-8"), flags=re.M)
    ]
    rng = np.random.default_rng(SEED)

    def some(of: list[Reply]) -> list[Reply]:
        return [of[i] for i in rng.permutation(len(of))[:wanted]]

    return some(said) + some([Reply("ok", text, "zh") for text in told])


def introductions() -> list[Reply]:
    """What Jerry, and another by another name, say of themselves in every other self-cognition pair."""
    who = [Persona(), Persona(name="小禾", developer="暖阳工作室", role_zh="AI倾听者", role_en="AI listener")]
    said = [dialogue for persona in who for dialogue in list(pairs_of(persona))[::2]]
    return [Reply("ok", d.messages[1].content, str(d.meta["lang"])) for d in said]


def worst(z: np.ndarray, part_of: np.ndarray, n: int) -> np.ndarray:
    """(n,) greatest log odds of each reply's parts that the check reads."""
    out = np.full(n, -np.inf)
    np.maximum.at(out, part_of, odds(z[:, 1:], z[:, 0]))
    return out


def main() -> None:
    """Read, choose, fit, write."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--client-turns", type=Path, help="folder of CPsyCounD")
    args.add_argument("--counsellors", type=int, default=1300, help="so many of their replies of each corpus")
    args.add_argument(
        "--false-alarms", type=float, default=0.015, help="share of our own good replies that may be refused"
    )
    args.add_argument("--out", type=Path, default=RULES)
    opt = args.parse_args()

    own = [r for r in replies() if r.label in ("ok", *REASONS)]
    everyday = counsellors(opt.client_turns, opt.counsellors) + introductions()
    said = own + everyday
    print(f"{len(said)} replies: {dict(Counter(r.label for r in said))}")
    listener = Listener.load(opt.out / "listener.npz")
    parts = [(i, part, True) for i, r in enumerate(said) for part in pairs(r.text)]
    parts += [(i, r.text, False) for i, r in enumerate(said) if len(pairs(r.text)) > 1]
    read = listener.read([text for _, text, _ in parts], WINDOWS)
    if read is None:
        raise SystemExit(f"the base cannot be loaded: {listener.why}")
    x = np.concatenate(read)
    windows = [len(of) for of in read]
    of = np.repeat([i for i, *_ in parts], windows)
    checked = np.repeat([is_so for *_, is_so in parts], windows)
    y = np.array([0 if r.label == "ok" else 1 + REASONS.index(r.label) for r in said])
    whole = np.repeat([not is_so or len(pairs(said[i].text)) == 1 for i, _, is_so in parts], windows)
    learnt = whole | (y[of] == 0)
    bad, usual = y > 0, np.arange(len(said)) >= len(own)

    def fit(rows: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=STRENGTH, max_iter=200).fit(x[rows], y[of[rows]])

    z = np.zeros((len(x), 1 + len(REASONS)))
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=SEED).split(x, y[of], of):
        z[test] = fit(train[learnt[train]]).decision_function(x[test])
    total = worst(z[checked], of[checked], len(said))
    hard = ~bad & ~usual
    least = float(np.quantile(total[hard], 1 - opt.false_alarms))
    print(
        f"refused from log odds {least:.2f}: bad {np.mean(total[bad] >= least):.3f}, good {np.mean(total[hard] >= least):.3f}, "
        f"counsellors' {np.mean(total[usual] >= least):.4f}; AUC on our own {roc_auc_score(bad[~usual], total[~usual]):.4f}"
    )
    for n, reason in enumerate(REASONS, 1):
        print(f"  {reason}: {np.mean(total[y == n] >= least):.3f} of {np.sum(y == n)}")
    model = fit(np.flatnonzero(learnt))
    with open(opt.out / "replies.npz", "wb") as out:
        np.savez_compressed(
            out,
            weights=model.coef_.astype(np.float16),
            bias=model.intercept_.astype(np.float32),
            least=np.float32(least),
            listener=np.array(fingerprint(listener)),
        )
    print(f"replies.npz: {(opt.out / 'replies.npz').stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
