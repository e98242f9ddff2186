"""Train the trained layers of the guard: `rules/weights.npz` (linear, n-grams) and `rules/listener.npz` (head on the embedded base).

    python scripts/train_guard.py --psysuicide ../shared/data/psysuicide/valid.json --client-turns ../shared/data/cpsycound

Data: the building half of PsySUICIDE's validation split (MIT), the building half of the project's own corpus, and, as plain
negatives, client turns of CPsyCounD (CC BY 4.0) in which no rule finds anything; and letters, lines of the corpus within calm turns
of CPsyCounD and of the starter corpus (`safety.letters`). The measuring halves are never read here except to be left out
(`safety.measure.building`; of the starter corpus, every other dialogue). Thresholds come from cross-validation on the building half. The rules were mended
on most of it, but never on FRESH: how far a rule is to be believed is learnt on those lines and PsySUICIDE alone.
The base's part is FOLDS fits that each leave a part out, whose log odds choose mix and thresholds, then one fit of everything;
`--base FILE` keeps all that, to choose mix and thresholds again.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from listener_lora import Net, Texts, fit, logits, lower_states
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from hearmeglm.data import starter
from hearmeglm.safety.classifier import BUCKETS, gram_set
from hearmeglm.safety.decision import Found, Thresholds, decide
from hearmeglm.safety.guard import RULES, Guard
from hearmeglm.safety.letters import calm_turns, letters
from hearmeglm.safety.lexicon import HIGH, KINDS, LOW, MODERATE
from hearmeglm.safety.listener import load_base
from hearmeglm.safety.measure import Example, building, corpus, psysuicide

SEED, FOLDS = 7, 2
LETTERS, LETTER_LENGTH = 1600, 190
FRESH = ("_extra_voices", "_extra_posts", "_extra_talks")
"""Files of the corpus on which no rule was mended."""
LAYERS = (6, 9, 12)
GUARD = Guard.load(layers="rules")


def texts(example: Example) -> tuple[str, str, Found]:
    """(masked end of the talk, the talk as written, what the rules make of its last turn)."""
    session, tail, hits = GUARD.session(), "", []
    for turn in example.turns:
        masked, hits, _ = GUARD.findings(turn, session)
        session.turns, session.before = session.turns + 1, masked[-160:]
        tail = f"{tail}\n{masked}"[-700:] if tail else masked[-700:]
    return tail, "\n".join(example.turns)[-700:], Found.of(hits)


def matrix(rows: list[str]) -> csr_matrix:
    """Rows of n-grams / sqrt(n)."""
    sets = [gram_set(text) for text in rows]
    data = np.concatenate([np.full(len(g), 1 / np.sqrt(len(g))) for g in sets])
    indptr = np.cumsum([0, *map(len, sets)])
    return csr_matrix((data, np.concatenate(sets), indptr), shape=(len(rows), BUCKETS))


def read_by_base(
    said: list[str], y: np.ndarray, use: np.ndarray, w: np.ndarray, kinds: list[str], fold: np.ndarray
) -> dict[str, np.ndarray]:
    """What listener.npz takes, of updates that have seen all texts, and `held_out`: (n, 2) log odds by updates that have not seen the text's fold."""
    tokenizer, model = load_base(max(LAYERS))
    low, mean, scale = lower_states(tokenizer, model, said, LAYERS)
    print(f"{len(low)} texts, {sum(map(len, low))} tokens", flush=True)
    data = Texts(
        low,
        torch.tensor(y, dtype=torch.float32),
        torch.tensor(use, dtype=torch.float32),
        torch.tensor([KINDS.index(k) if k in KINDS else -100 for k in kinds]),
        torch.tensor(w, dtype=torch.float32),
    )
    z = np.zeros((len(low), 2))
    for f in range(FOLDS):
        net = fit(Net(model, LAYERS, mean, scale, 2 + len(KINDS)), data, fold != f)
        z[fold == f] = logits(net, data, np.flatnonzero(fold == f))[:, :2]
    net = fit(Net(model, LAYERS, mean, scale, 2 + len(KINDS)), data, np.ones(len(low), dtype=bool))
    heads, bias = (p.detach().numpy() for p in (net.heads.weight, net.heads.bias))
    return {
        "held_out": z,
        **net.factors(),
        "mean": mean.numpy(),
        "scale": scale.numpy(),
        "heads": heads.astype(np.float16),
        "bias": bias,
    }


def client_turns(folder: Path, wanted: int) -> list[Example]:
    """Client turns of CPsyCounD without any finding, evenly drawn."""
    turns: list[str] = []
    for path in sorted(folder.glob("case_*.txt")):
        turns += re.findall(r"^来访者[^：]*：(.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    rng = np.random.default_rng(SEED)
    out = []
    for i in rng.permutation(len(turns)):
        if len(out) == wanted:
            break
        if not GUARD.assess([turns[i]]).risk:
            out.append(Example(f"cpsycound-{i}", (turns[i],), False, False, "none", "none", "zh", "cpsycound"))
    return out


def cross_validated(
    x: Any, y: np.ndarray, use: np.ndarray, w: np.ndarray, fold: np.ndarray, c: float
) -> tuple[np.ndarray, Any]:
    """(log odds of each row by a model that has not seen its fold, the model of all rows)."""

    def fit(pick: np.ndarray) -> LogisticRegression:
        model = LogisticRegression(C=c, max_iter=150, class_weight="balanced")
        return model.fit(x[pick], y[pick], sample_weight=w[pick])

    z = np.zeros(len(y))
    for f in range(FOLDS):
        z[fold == f] = fit(use & (fold != f)).decision_function(x[fold == f])
    return z, fit(use)


def choose(
    found: list[Found], p: np.ndarray, y: np.ndarray, fresh: np.ndarray, posts: np.ndarray, share: float
) -> Thresholds:
    """Thresholds at which about this share of the fresh negatives is a false alarm, and recall is highest.

    Args:
        p: (n, 2) cross-validated probabilities. y: (n, 2) labels. fresh: rows whose rules' findings are not flattering.
        posts: rows on which F1 of risk is to be best.
    """
    group = np.array([g(f) for f in found])
    grid = np.concatenate([np.linspace(0.0, 0.98, 50), [0.99, 0.995, 1.01]])

    def at(price: float) -> Thresholds:
        best = {}
        for name in ("alone", "low", "moderate", "high", "framed"):
            pick = fresh & (group == name)
            gain = [
                (y[pick, 1] & (p[pick, 1] >= t)).sum() - price * (~y[pick, 1] & (p[pick, 1] >= t)).sum() for t in grid
            ]
            best[name] = float(grid[len(grid) - 1 - int(np.argmax(gain[::-1]))]) if pick.any() else 0.5
        return Thresholds(
            2.0, max(best["alone"], 0.05), 0.0, min(best["moderate"], 0.2), best["low"], 0.0, min(best["high"], 0.2)
        )

    def false_alarms(t: Thresholds) -> float:
        return float(
            np.mean(
                [decide(f, a, b, t) >= MODERATE for f, (a, b), n in zip(found, p, fresh & ~y[:, 1], strict=True) if n]
            )
        )

    t = next((t for price in np.geomspace(0.1, 20, 40) if false_alarms(t := at(price)) <= share), at(20.0))

    def f1(t: Thresholds) -> float:
        said = np.array([decide(f, a, b, t) > 0 for f, (a, b), k in zip(found, p, posts, strict=True) if k])
        return float(2 * (said & y[posts, 0]).sum() / (said.sum() + y[posts, 0].sum()))

    for name in ("risk", "weak_risk", "word"):
        t = max((replace(t, **{name: float(v)}) for v in np.linspace(0.05, 0.95, 19)), key=f1)
    return t


def g(found: Found) -> str:
    """Which threshold of `decide` holds for the crisis of such a row."""
    if found.level == HIGH:
        return "high"
    if found.level == MODERATE:
        return "moderate"
    return "low" if found.level == LOW and found.unframed_low else "framed" if found.framed else "alone"


def main() -> None:
    """Train, choose thresholds, write the files."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--psysuicide", type=Path, required=True)
    args.add_argument("--client-turns", type=Path)
    args.add_argument("--negatives", type=int, default=1000)
    args.add_argument(
        "--false-alarms", type=float, default=0.13, help="share of fresh negatives that may raise an alarm"
    )
    args.add_argument("--base", type=Path, help="keeps what the base has learnt between runs")
    args.add_argument("--linear-only", action="store_true", help="leave listener.npz alone")
    args.add_argument("--out", type=Path, default=RULES)
    opt = args.parse_args()

    examples = [e for e in [*corpus(), *psysuicide(opt.psysuicide)] if building(e)]
    lines = [e for e in examples if e.source == "own" and len(e.turns) == 1]
    calm = calm_turns(GUARD, starter.client_talks()[::2])
    if opt.client_turns:
        drawn = client_turns(opt.client_turns, opt.negatives)
        examples += drawn
        calm["zh"] += [e.turns[0] for e in drawn]
    fold = np.random.default_rng(SEED).integers(0, FOLDS, len(examples))
    fold_of = dict(zip((e.id for e in examples), fold.tolist(), strict=True))
    longer = letters(lines, calm, wanted=LETTERS, longest=LETTER_LENGTH, seed=SEED)
    examples += longer
    fold = np.append(fold, [fold_of[e.id.rpartition("-letter")[0]] for e in longer])
    masked, said, found = (list(column) for column in zip(*map(texts, examples), strict=True))
    y = np.array([[e.risk, bool(e.crisis)] for e in examples])
    use = np.array([[True, e.crisis is not None] for e in examples])
    w = np.array([{"own": 1.0, "psysuicide": 1.0, "cpsycound": 0.3}[e.source] for e in examples])
    fresh = use[:, 1] & np.array([e.source == "psysuicide" or any(f in e.id for f in FRESH) for e in examples])
    posts = np.array([e.source == "psysuicide" for e in examples])
    print(f"{len(examples)} texts; risk {y[:, 0].mean():.3f}, crisis {y[use[:, 1], 1].mean():.3f}", flush=True)

    x = matrix(masked)
    linear = [cross_validated(x, y[:, h], use[:, h], w, fold, 10.0) for h in (0, 1)]
    z = np.stack([scores for scores, _ in linear], axis=1)
    t = choose(found, sigmoid(z), y, fresh, posts, opt.false_alarms)
    show("rules + linear", examples, found, sigmoid(z), t)
    write_linear(opt.out / "weights.npz", [model for _, model in linear], t)
    if opt.linear_only:
        return
    kinds = [e.kind if e.source == "own" else "" for e in examples]
    if opt.base and opt.base.is_file():
        with np.load(opt.base) as file:
            parts = {k: file[k] for k in file.files}
    else:
        parts = read_by_base(said, y, use, w, kinds, fold)
        if opt.base:
            np.savez(opt.base, **parts)
    heard = parts.pop("held_out")
    mix, both = np.zeros((2, 3)), np.zeros_like(z)
    for h in (0, 1):
        pair = np.stack([heard[:, h], z[:, h]], axis=1)
        mixer = LogisticRegression(C=1.0).fit(pair[fresh], y[fresh, h])
        mix[h], both[:, h] = [*mixer.coef_[0], mixer.intercept_[0]], mixer.decision_function(pair)
    print("mix (base, linear, 1):", mix.round(3).tolist())
    t = choose(found, sigmoid(both), y, fresh, posts, opt.false_alarms)
    show("rules + linear + base", examples, found, sigmoid(both), t)
    with open(opt.out / "listener.npz", "wb") as out:
        np.savez_compressed(
            out, layers=np.array(LAYERS), mix=mix.astype(np.float32), thresholds=np.array(astuple(t)), **parts
        )


def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-z))


def show(name: str, examples: list[Example], found: list[Found], p: np.ndarray, t: Thresholds) -> None:
    """Cross-validated recall and false alarms of `crisis`, and F1 of `risk`, by source."""
    print(name, t)
    source = np.array([_group(e) for e in examples])
    level = np.array([decide(f, a, b, t) for f, (a, b) in zip(found, p, strict=True)])
    for s in ("letters", "fresh", "own", "psysuicide", "cpsycound"):
        crisis = [bool(level[i] >= MODERATE) for i, e in enumerate(examples) if source[i] == s and e.crisis]
        false = [bool(level[i] >= MODERATE) for i, e in enumerate(examples) if source[i] == s and e.crisis is False]
        said, risk = level[source == s] > 0, np.array([e.risk for e, o in zip(examples, source, strict=True) if o == s])
        hits = (said & risk).sum()
        f1 = f"{2 * hits / max(1, said.sum() + risk.sum()):.3f} ({hits}/{said.sum()} right, {hits}/{risk.sum()} found)"
        print(
            f"  {s}: recall {np.mean(crisis or [0]):.3f} of {len(crisis)}, false {np.mean(false):.3f} of {len(false)}, risk F1 {f1}",
            flush=True,
        )


def _group(example: Example) -> str:
    if "-letter" in example.id:
        return "letters"
    return "fresh" if any(f in example.id for f in FRESH) else example.source


def write_linear(path: Path, heads: list[Any], t: Thresholds) -> None:
    """int8 weights with one scale a head."""
    words = np.stack([h.coef_[0] for h in heads])
    scale = np.abs(words).max(axis=1) / 127
    with open(path, "wb") as out:
        np.savez_compressed(
            out,
            weights=np.round(words / scale[:, None]).astype(np.int8),
            scale=scale.astype(np.float32),
            bias=np.array([h.intercept_[0] for h in heads], dtype=np.float32),
            thresholds=np.array(astuple(t)),
        )
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
