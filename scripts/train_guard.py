"""Train the trained layers of the guard: `rules/weights.npz` (linear, n-grams) and `rules/listener.npz` (head on the embedded base).

    python scripts/train_guard.py --psysuicide ../shared/data/psysuicide/valid.json --client-turns ../shared/data/cpsycound

Data: the building half of PsySUICIDE's validation split (MIT), the building half of the project's own corpus, and, as plain
negatives, client turns of CPsyCounD (CC BY 4.0) in which no rule finds anything; and letters, lines of the corpus within what clients
tell in CPsyCounD and in the starter corpus, and harmless lines (`safety.letters`). The measuring halves are never read here except to be left out
(`safety.measure.building`; of CPsyCounD and the starter corpus, every other dialogue). What clients say in the starter corpus's talks
without danger, alone and as talks, is in every fit and decides nothing. Decisions are learnt on cross-validated log odds. The rules were mended
on most of it, but never on FRESH: how far a rule is to be believed is learnt on those lines and PsySUICIDE alone, for risk on PsySUICIDE alone.
The base is fitted FOLDS times with a part left out, for the log odds that make the decision, and once with everything, which ships.
`--base FOLDER` keeps each fit, to go on after a stop or to decide again.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from listener_lora import Net, Texts, fit, logits, lower_states
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from hearmeglm.data import starter
from hearmeglm.safety.classifier import BUCKETS, gram_set
from hearmeglm.safety.decision import Found, Trust, decide
from hearmeglm.safety.guard import RULES, Guard
from hearmeglm.safety.letters import calm_talks, letters
from hearmeglm.safety.lexicon import IMMINENT, KINDS, LOW, MODERATE
from hearmeglm.safety.listener import load_base
from hearmeglm.safety.measure import Example, building, corpus, psysuicide

SEED, FOLDS = 7, 2
LETTERS, LETTER_LENGTH = 2400, 190
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
    said: list[str], y: np.ndarray, use: np.ndarray, w: np.ndarray, kinds: list[str], fold: np.ndarray, kept: Path
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """((n, 2) log odds of each text by the fit that has not seen it, what listener.npz takes: the fit that has seen all).

    Fits already in `kept` are not made again; those of other texts are an error.
    """
    missing = [f for f in range(FOLDS + 1) if not (kept / f"fit{f}.npz").is_file()]
    if missing:
        kept.mkdir(parents=True, exist_ok=True)
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
    for f in missing:  # the last leaves nothing out
        print(f"fit {f + 1} of {FOLDS + 1}", flush=True)
        net = fit(Net(model, LAYERS, mean, scale, 2 + len(KINDS)), data, fold != f)
        heads = {"heads": net.heads.weight.detach().numpy(), "bias": net.heads.bias.detach().numpy()}
        left_out = logits(net, data, np.flatnonzero(fold == f))[:, :2]
        parts = {**heads, **net.factors(), "mean": mean.numpy(), "scale": scale.numpy(), "left_out": left_out}
        np.savez(kept / "part.npz", **parts)
        (kept / "part.npz").replace(kept / f"fit{f}.npz")
    z, parts = np.zeros((len(said), 2)), {}
    for f in range(FOLDS + 1):
        parts = dict(np.load(kept / f"fit{f}.npz"))
        left_out = parts.pop("left_out")
        if len(left_out) != np.sum(fold == f):
            raise SystemExit(
                f"{kept}/fit{f}.npz left out {len(left_out)} texts, now {np.sum(fold == f)}: name another folder"
            )
        z[fold == f] = left_out
    return z, {**parts, "heads": parts["heads"].astype(np.float16)}


def client_talks(folder: Path) -> list[list[str]]:
    """What clients say without any finding, case by case, in the even cases of CPsyCounD."""
    cases = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("case_*[02468].txt"))]
    return calm_talks(GUARD, [("zh", re.findall(r"^来访者[^：]*：(.+)$", case, flags=re.M)) for case in cases])["zh"]


def client_turns(talks: list[list[str]], wanted: int) -> list[Example]:
    """Of those talks, messages that stand alone, evenly drawn."""
    turns = [turn for talk in talks for turn in talk]
    drawn = np.random.default_rng(SEED).permutation(len(turns))[:wanted].tolist()
    return [Example(f"cpsycound-{i}", (turns[i],), False, False, "none", "none", "zh", "cpsycound") for i in drawn]


def everyday(talks: list[tuple[str, list[str]]]) -> list[Example]:
    """What clients say in counselling talks without danger: each message alone, each talk whole and up to a random message."""
    rng = np.random.default_rng(SEED)
    parts = [(lang, (message,)) for lang, said in talks for message in said]
    longer = [(lang, said) for lang, said in talks if len(said) > 1]
    parts += [(lang, tuple(said[: int(rng.integers(2, len(said) + 1))])) for lang, said in longer]
    parts += [(lang, tuple(said)) for lang, said in longer]
    return [
        Example(f"starter-{i}", t, False, False, "none", "none", lang, "starter") for i, (lang, t) in enumerate(parts)
    ]


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


def trusted(
    found: list[Found], z: np.ndarray, y: np.ndarray, fresh: np.ndarray, posts: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """How the layers' log odds are mixed, and the rows of `Trust`, by one logistic model each for risk (of `posts`) and crisis (of `fresh`).

    About `share` of the fresh rows that are no crisis raise an alarm; F1 of risk is highest on `posts`. An imminent finding is believed
    so far that no more than 1 in 200 of the crises that have one is missed.

    Args:
        z: (layers, n, 2) held-out log odds. y: (n, 2) labels. fresh: rows whose findings are not flattering.
        posts: PsySUICIDE's rows, whose labels say what counts as a risk.

    Returns:
        (2, layers) weights and (2, 7).
    """
    findings = np.array([f.features() for f in found], dtype=float)
    mix, trust, total = [], [], []
    for h, rows in enumerate((posts, fresh)):
        x = np.concatenate([z[:, :, h].T, findings], axis=1)
        model = LogisticRegression(max_iter=500).fit(x[rows], y[rows, h])
        mix.append(model.coef_[0][: len(z)])
        trust.append([*model.coef_[0][len(z) :], model.intercept_[0]])
        total.append(model.decision_function(x))
    imminent = np.array([f.level == IMMINENT for f in found])
    calm = np.sort(np.where(imminent, np.inf, total[1])[fresh & ~y[:, 1]])[::-1]
    least = calm[int(share * len(calm))]
    more = max(0.0, least - np.quantile(total[1][fresh & y[:, 1] & imminent], 0.005))
    trust[1][IMMINENT - LOW] += more
    total[1] += more * imminent

    def f1(least_risk: float) -> float:
        said = ((total[1] > least) | (total[0] >= least_risk))[posts]
        return float(2 * (said & y[posts, 0]).sum() / (said.sum() + y[posts, 0].sum()))

    trust[0][-1] -= max(np.linspace(-3, 3, 61), key=f1)
    trust[1][-1] -= least
    return np.array(mix), np.array(trust)


def main() -> None:
    """Train, choose thresholds, write the files."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--psysuicide", type=Path, required=True)
    args.add_argument("--client-turns", type=Path)
    args.add_argument("--negatives", type=int, default=1000, help="client turns that stand alone")
    args.add_argument(
        "--false-alarms", type=float, default=0.13, help="share of fresh negatives that may raise an alarm"
    )
    args.add_argument("--base", type=Path, default=Path("runs/guard"), help="keeps the fits of the base between runs")
    args.add_argument("--linear-only", action="store_true", help="leave listener.npz alone")
    args.add_argument("--out", type=Path, default=RULES)
    opt = args.parse_args()

    examples = [e for e in [*corpus(), *psysuicide(opt.psysuicide)] if building(e)]
    lines = [e for e in examples if e.source == "own" and len(e.turns) == 1]
    talks = starter.client_talks()[::2]
    calm = calm_talks(GUARD, [(e.lang, e.turns) for e in lines if not e.risk])
    if opt.client_turns:
        cases = client_talks(opt.client_turns)
        examples += client_turns(cases, opt.negatives)
        calm["zh"] += cases
    for lang, told in calm_talks(GUARD, talks).items():  # half of what a letter draws, however few they are
        calm[lang] += told * max(1, round(len(calm[lang]) / len(told)))
    fold = np.random.default_rng(SEED).integers(0, FOLDS, len(examples))
    fold_of = dict(zip((e.id for e in examples), fold.tolist(), strict=True))
    longer = letters(lines, calm, wanted=LETTERS, longest=LETTER_LENGTH, seed=SEED)
    examples += longer
    usual = everyday([(lang, said) for lang, said in talks if not GUARD.assess(said).risk])
    examples += usual
    fold = np.concatenate([fold, [fold_of[e.id.rpartition("-letter")[0]] for e in longer], np.full(len(usual), -1)])
    masked, said, found = (list(column) for column in zip(*map(texts, examples), strict=True))
    y = np.array([[e.risk, bool(e.crisis)] for e in examples])
    use = np.array([[True, e.crisis is not None] for e in examples])
    w = np.array([{"own": 1.0, "psysuicide": 1.0, "cpsycound": 0.3, "starter": 1.0}[e.source] for e in examples])
    fresh = use[:, 1] & np.array([e.source == "psysuicide" or any(f in e.id for f in FRESH) for e in examples])
    posts = np.array([e.source == "psysuicide" for e in examples])
    print(f"{len(examples)} texts; risk {y[:, 0].mean():.3f}, crisis {y[use[:, 1], 1].mean():.3f}", flush=True)

    x = matrix(masked)
    linear = [cross_validated(x, y[:, h], use[:, h], w, fold, 10.0) for h in (0, 1)]
    z = np.stack([scores for scores, _ in linear], axis=1)
    mix, trust = trusted(found, z[None], y, fresh, posts, opt.false_alarms)
    trust /= mix  # in units of the only layer's log odds
    show("rules + linear", examples, found, z, trust)
    write_linear(opt.out / "weights.npz", [model for _, model in linear], trust)
    if opt.linear_only:
        return
    kinds = [e.kind if e.source == "own" else "" for e in examples]
    held_out, parts = read_by_base(said, y, use, w, kinds, fold, opt.base)
    both = np.stack([held_out, z])
    mix, trust = trusted(found, both, y, fresh, posts, opt.false_alarms)
    print("mix of base and linear:", mix.round(3).tolist())
    show("rules + linear + base", examples, found, np.einsum("lnh,hl->nh", both, mix), trust)
    with open(opt.out / "listener.npz", "wb") as out:
        np.savez_compressed(out, layers=np.array(LAYERS), mix=mix.astype(np.float32), trust=trust, **parts)


def show(name: str, examples: list[Example], found: list[Found], z: np.ndarray, trust: np.ndarray) -> None:
    """Cross-validated recall and false alarms of `crisis`, and F1 of `risk`, by source."""
    print(f"{name}; findings (low to imminent, framed, bare) and constant add {trust.round(2).tolist()}")
    source = np.array([_group(e) for e in examples])
    level = np.array([decide(f, a, b, Trust.of(trust)) for f, (a, b) in zip(found, z, strict=True)])
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


def write_linear(path: Path, heads: list[Any], trust: np.ndarray) -> None:
    """int8 weights with one scale a head."""
    words = np.stack([h.coef_[0] for h in heads])
    scale = np.abs(words).max(axis=1) / 127
    with open(path, "wb") as out:
        np.savez_compressed(
            out,
            weights=np.round(words / scale[:, None]).astype(np.int8),
            scale=scale.astype(np.float32),
            bias=np.array([h.intercept_[0] for h in heads], dtype=np.float32),
            trust=trust,
        )
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
