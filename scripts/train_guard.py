"""Train the trained layers of the guard: `rules/weights.npz` (linear, n-grams) and `rules/listener.npz` (head on the embedded base).

    python scripts/train_guard.py --psysuicide ../shared/data/psysuicide/valid.json --client-turns ../shared/data/cpsycound

Data: the building half of PsySUICIDE's validation split (MIT), the building half of the project's own corpus, and, as plain
negatives, client turns of CPsyCounD (CC BY 4.0) in which no rule finds anything. The measuring halves are never read here
except to be left out (`safety.measure.building`). Thresholds come from cross-validation on the building half. The rules were mended
on most of it, but never on `*_extra_voices.txt`: how far a rule is to be believed is learnt on those lines and PsySUICIDE alone.
Reading all texts with the base takes about five minutes; `--features FILE` keeps what it made of them.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from hearmeglm.safety.classifier import BUCKETS, gram_set
from hearmeglm.safety.decision import Found, Thresholds, decide
from hearmeglm.safety.guard import RULES, Guard
from hearmeglm.safety.lexicon import HIGH, KINDS, LOW, MODERATE
from hearmeglm.safety.listener import features as model_features
from hearmeglm.safety.listener import load_base
from hearmeglm.safety.measure import Example, building, corpus, psysuicide

SEED, FOLDS = 7, 4
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


def read_by_base(rows: list[str], keep: Path | None) -> np.ndarray:
    """The base's features of the texts; those in `keep` are taken from there, and it gets the others."""
    known: dict[str, np.ndarray] = {}
    if keep and keep.is_file():
        with np.load(keep) as file:
            known = dict(zip(file["ids"].tolist(), file["x"], strict=True))
    ids = [hashlib.sha256(t.encode()).hexdigest() for t in rows]
    new = {i: t for i, t in zip(ids, rows, strict=True) if i not in known}
    print(f"{len(new)} of {len(rows)} texts to be read by the base", flush=True)
    if new:
        tokenizer, model = load_base(max(LAYERS))
        order, part = list(new), 256
        for start in range(0, len(order), part):
            some = order[start : start + part]
            known |= dict(zip(some, model_features(tokenizer, model, [new[i] for i in some], LAYERS), strict=True))
            print(f"{min(start + part, len(order))}/{len(order)}", file=sys.stderr, flush=True)
        if keep:
            np.savez(keep, ids=np.array(list(known)), x=np.stack(list(known.values())).astype(np.float16))
    return np.stack([known[i] for i in ids]).astype(np.float32)


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
        "--false-alarms", type=float, default=0.04, help="share of fresh negatives that may raise an alarm"
    )
    args.add_argument("--features", type=Path, help="keeps the base's features between runs")
    args.add_argument("--linear-only", action="store_true", help="leave listener.npz alone")
    args.add_argument("--out", type=Path, default=RULES)
    opt = args.parse_args()

    examples = [e for e in [*corpus(), *psysuicide(opt.psysuicide)] if building(e)]
    if opt.client_turns:
        examples += client_turns(opt.client_turns, opt.negatives)
    masked, said, found = (list(column) for column in zip(*map(texts, examples), strict=True))
    y = np.array([[e.risk, bool(e.crisis)] for e in examples])
    use = np.array([[True, e.crisis is not None] for e in examples])
    w = np.array([{"own": 1.0, "psysuicide": 1.0, "cpsycound": 0.3}[e.source] for e in examples])
    fresh = use[:, 1] & np.array(["_extra_voices" in e.id or e.source == "psysuicide" for e in examples])
    posts = np.array([e.source == "psysuicide" for e in examples])
    fold = np.random.default_rng(SEED).integers(0, FOLDS, len(examples))
    print(f"{len(examples)} texts; risk {y[:, 0].mean():.3f}, crisis {y[use[:, 1], 1].mean():.3f}", flush=True)

    x = matrix(masked)
    linear = [cross_validated(x, y[:, h], use[:, h], w, fold, 10.0) for h in (0, 1)]
    z = np.stack([scores for scores, _ in linear], axis=1)
    t = choose(found, sigmoid(z), y, fresh, posts, opt.false_alarms)
    show("rules + linear", examples, found, sigmoid(z), t)
    write_linear(opt.out / "weights.npz", [model for _, model in linear], t)
    if opt.linear_only:
        return
    states = read_by_base(said, opt.features)
    mean, scale = states.mean(0), states.std(0) + 1e-3
    states = (states - mean) / scale
    heads = [cross_validated(states, y[:, h], use[:, h], w, fold, 0.005) for h in (0, 1)]
    mix, both = np.zeros((2, 3)), np.zeros_like(z)
    for h in (0, 1):
        pair = np.stack([heads[h][0], z[:, h]], axis=1)
        mixer = LogisticRegression(C=1.0).fit(pair[fresh], y[fresh, h])
        mix[h], both[:, h] = [*mixer.coef_[0], mixer.intercept_[0]], mixer.decision_function(pair)
    print("mix (base, linear, 1):", mix.round(3).tolist())
    t = choose(found, sigmoid(both), y, fresh, posts, opt.false_alarms)
    show("rules + linear + base", examples, found, sigmoid(both), t)
    known = np.array([e.source == "own" and e.kind in KINDS for e in examples])
    kinds = LogisticRegression(C=0.002, max_iter=200, class_weight="balanced")
    kinds.fit(states[known], [e.kind for e, k in zip(examples, known, strict=True) if k])
    row = [list(kinds.classes_).index(k) for k in KINDS]
    with open(opt.out / "listener.npz", "wb") as out:
        np.savez_compressed(
            out,
            layers=np.array(LAYERS),
            mean=mean,
            scale=scale,
            heads=np.concatenate([*(m.coef_ for _, m in heads), kinds.coef_[row]]).astype(np.float16),
            bias=np.concatenate([*(m.intercept_ for _, m in heads), kinds.intercept_[row]]).astype(np.float32),
            mix=mix.astype(np.float32),
            thresholds=np.array(astuple(t)),
        )


def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-z))


def show(name: str, examples: list[Example], found: list[Found], p: np.ndarray, t: Thresholds) -> None:
    """Cross-validated recall and false alarms of `crisis`, and F1 of `risk`, by source."""
    print(name, t)
    source = np.array(["voices" if "_extra_voices" in e.id else e.source for e in examples])
    level = np.array([decide(f, a, b, t) for f, (a, b) in zip(found, p, strict=True)])
    for s in ("voices", "own", "psysuicide", "cpsycound"):
        crisis = [bool(level[i] >= MODERATE) for i, e in enumerate(examples) if source[i] == s and e.crisis]
        false = [bool(level[i] >= MODERATE) for i, e in enumerate(examples) if source[i] == s and e.crisis is False]
        said, risk = level[source == s] > 0, np.array([e.risk for e, o in zip(examples, source, strict=True) if o == s])
        hits = (said & risk).sum()
        f1 = f"{2 * hits / max(1, said.sum() + risk.sum()):.3f} ({hits}/{said.sum()} right, {hits}/{risk.sum()} found)"
        print(
            f"  {s}: recall {np.mean(crisis or [0]):.3f} of {len(crisis)}, false {np.mean(false):.3f} of {len(false)}, risk F1 {f1}",
            flush=True,
        )


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
