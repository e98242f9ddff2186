"""Train the trained layers of the guard: `rules/weights.npz` (linear, n-grams) and `rules/listener.npz` (updates of the embedded base, heads).

    python scripts/train_guard.py --psysuicide ../shared/data/psysuicide/valid.json --client-turns ../shared/data/cpsycound

Data: the building half of PsySUICIDE's validation split (MIT), the building half of the project's own corpus, and, as plain
negatives, client turns of CPsyCounD (CC BY 4.0) in which no rule finds anything, and what clients say in the starter corpus's talks
without danger, alone and as talks; letters and threads, lines of the corpus within what clients tell in both, and harmless lines (`safety.letters`);
and of the corpus's harmless talks starts, up to some message, and fragments, single messages.
The measuring halves are never read here except to be left out (`safety.measure.building`; of CPsyCounD and the starter corpus, every other dialogue).

What `DECIDING` names is held back from both layers: on it the decision is learnt, how the layers' log odds and the rules' findings
add up, since no rule was mended on it either (but on PsySUICIDE's part) and most of it has other authors. `--base FOLDER` keeps the
fit of the base, some two hours on two cores, to decide again.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from listener_lora import LAYERS, Net, Texts, fit
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from hearmeglm.data import starter
from hearmeglm.models.load import STARTER, load_tokenizer
from hearmeglm.safety.classifier import BUCKETS, gram_set
from hearmeglm.safety.decision import HEADS, Found, Trust, decide, mixed
from hearmeglm.safety.guard import RULES, WINDOWS, Guard
from hearmeglm.safety.letters import calm_talks, letters
from hearmeglm.safety.lexicon import HIGH, IMMINENT, KINDS, LOW, MODERATE
from hearmeglm.safety.listener import features, fold, load_base, token_windows
from hearmeglm.safety.measure import Example, building, corpus, psysuicide

SEED = 7
LETTERS, THREADS, LETTER_LENGTH = 2000, 1600, 190
STARTS, FRAGMENTS = 1500, 8000
"""Talks without danger that are also learnt up to some message, and messages of such talks that are also learnt alone, as the guard meets them."""
DECIDING = {
    "_extra_voices7": 0.0,
    "_extra_spec": 0.67,
    "_extra_posts4": 0.67,
    "_extra_everyday": 0.75,
    "_extra_ask": 0.75,
    "_extra_long": 0.75,
    "_extra_voices10": 0.75,
    "_extra_talks11": 0.8,
    "_extra_kinds": 0.8,
    "_extra_voices11": 0.8,
    "_extra_tester": 0.8,
    "_extra_counsel": 0.8,
}
"""Files of the corpus, and from which share of each label's lines on they decide (neighbours are often twins); besides, every fourth text of PsySUICIDE's half and talk of the starter corpus's."""
POSTS = ("psysuicide-", "_extra_posts3", "_extra_posts4", "_extra_posts5", "_extra_posts6", "_extra_posts7")
"""Texts labelled as PsySUICIDE's are, which the head "post" learns from."""
SURE = {IMMINENT: 0.0, HIGH: 0.01}
"""Level of a finding -> share of the crises that have one which the layers may talk out of it."""
REAL = 6.0
"""Weight, in the decision, of a text that somebody really wrote (PsySUICIDE)."""
LINEAR_ALARMS = 0.08
"""As `--false-alarms`, for the linear layer where it is alone: the weaker one rather asks once too often."""
GUARD = Guard.load(layers="rules")


def decides(examples: list[Example]) -> set[str]:
    """Ids of the texts that are held back from the layers: the last of each file's crises, risks and harmless ones."""
    groups = [(e.id.rpartition("-")[0], e.crisis, e.risk) for e in examples]
    sizes, seen, out = Counter(groups), Counter(), set()
    for e, group in zip(examples, groups, strict=True):
        share = next((share for name, share in DECIDING.items() if name in e.id), 1.0)
        if seen[group] >= share * sizes[group] or (e.source == "psysuicide" and int(e.id.rpartition("-")[2]) % 8 == 0):
            out.add(e.id)
        seen[group] += 1
    return out


def texts(example: Example) -> tuple[str, str, Found]:
    """(masked end of the talk, the talk as written, what the rules make of its last turn)."""
    session, tail, hits = GUARD.session(), "", []
    for turn in example.turns:
        masked, hits, _ = GUARD.findings(turn, session)
        session.turns, session.before = session.turns + 1, masked[-160:]
        tail = f"{tail}\n{masked}"[-700:] if tail else masked[-700:]
    return tail, "\n".join(example.turns), Found.of(hits)


def matrix(rows: list[str]) -> csr_matrix:
    """Rows of n-grams / sqrt(n)."""
    sets = [gram_set(text) for text in rows]
    data = np.concatenate([np.full(len(g), 1 / np.sqrt(len(g))) for g in sets])
    indptr = np.cumsum([0, *map(len, sets)])
    return csr_matrix((data, np.concatenate(sets), indptr), shape=(len(rows), BUCKETS))


def client_talks(folder: Path) -> list[list[str]]:
    """What clients say without any finding, case by case, in the even cases of CPsyCounD."""
    cases = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("case_*[02468].txt"))]
    return calm_talks(GUARD, [("zh", re.findall(r"^来访者[^：]*：(.+)$", case, flags=re.M)) for case in cases])["zh"]


def client_turns(talks: list[list[str]], wanted: int) -> list[Example]:
    """Of those talks, messages that stand alone, evenly drawn."""
    turns = [turn for talk in talks for turn in talk]
    drawn = np.random.default_rng(SEED).permutation(len(turns))[:wanted].tolist()
    return [Example(f"cpsycound-{i}", (turns[i],), False, False, "none", "none", "zh", "cpsycound") for i in drawn]


def everyday(talks: list[tuple[str, list[str]]], name: str) -> list[Example]:
    """What clients say in counselling talks without danger: each message alone, each talk whole and up to a random message."""
    rng = np.random.default_rng(SEED)
    parts = [(lang, (message,)) for lang, said in talks for message in said]
    longer = [(lang, said) for lang, said in talks if len(said) > 1]
    parts += [(lang, tuple(said[: int(rng.integers(2, len(said) + 1))])) for lang, said in longer]
    parts += [(lang, tuple(said)) for lang, said in longer]
    return [
        Example(f"{name}-{i}", t, False, False, "none", "none", lang, "starter") for i, (lang, t) in enumerate(parts)
    ]


def starts(talks: list[Example]) -> list[Example]:
    """Talks without danger up to a random message before the last, evenly drawn."""
    rng = np.random.default_rng(SEED)
    drawn = [talks[i] for i in rng.permutation(len(talks))[:STARTS]]
    return [replace(e, id=f"{e.id}-start", turns=e.turns[: int(rng.integers(1, len(e.turns)))]) for e in drawn]


def fragments(talks: list[Example]) -> list[Example]:
    """Messages of talks without danger, each alone, evenly drawn: odd and private, as answers are whose question nobody sees."""
    said = [
        replace(e, id=f"{e.id}-fragment{n}", turns=(turn,), kind="none")
        for e in talks
        for n, turn in enumerate(e.turns)
    ]
    return [said[i] for i in np.random.default_rng(SEED).permutation(len(said))[:FRAGMENTS]]


def source_id(example: Example) -> str:
    """Id of the line or talk that a letter, a thread, a start or a fragment was made from, or its own."""
    return re.split("-(?:letter|thread|start|fragment)", example.id)[0]


def labels(examples: list[Example]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((n, 3) labels by HEADS, (n, 3) how much each is learnt from, which rows are posts).

    What the corpus leaves open teaches only "post".
    """
    posts = np.array([any(name in e.id for name in POSTS) for e in examples])
    y = np.array([[e.risk, bool(e.crisis), e.risk] for e in examples])
    w = np.array([{"own": 1.0, "psysuicide": 1.0, "cpsycound": 0.3, "starter": 1.0}[e.source] for e in examples])
    real = np.array([e.source == "psysuicide" for e in examples])
    known = np.array([e.crisis is not None for e in examples])
    return (
        y,
        np.stack([w * (known | y[:, 0]), w * known, w * np.where(real, 3.0, np.where(posts, 1.0, 0.1))], axis=1),
        posts,
    )


def linear(masked: list[str], y: np.ndarray, w: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """((n, 3) log odds of all texts, the models), learnt from some rows."""
    x = matrix(masked)
    models = []
    for h in range(len(HEADS)):
        pick = rows & (w[:, h] > 0)
        model = LogisticRegression(C=10.0, max_iter=150, class_weight="balanced")
        models.append(model.fit(x[pick], y[pick, h], sample_weight=w[pick, h]))
    return np.stack([m.decision_function(x) for m in models], axis=1), models


def windows(tokenizer: Any, text: str) -> list[list[int]]:
    """Token ids of all of a text's windows that the guard reads, of those half overlapping only every other and the first."""
    parts = token_windows(tokenizer, text, WINDOWS)
    return [*parts[:-1:2], parts[-1]]


def base(
    ids: list[list[list[int]]],
    y: np.ndarray,
    w: np.ndarray,
    kinds: list[str],
    rows: np.ndarray,
    kept: Path,
    start: Path | None,
) -> dict[str, np.ndarray]:
    """What listener.npz takes of the base's fit on some rows; a fit already in `kept` is not made again.

    Args:
        ids: token ids of the windows of each text. start: fit to go on from.
    """
    if not (kept / "fit.npz").is_file():
        kept.mkdir(parents=True, exist_ok=True)
        tokens = sum(len(window) for i in np.flatnonzero(rows) for window in ids[i])
        print(f"{rows.sum()} texts, {tokens} tokens", flush=True)
        kind = torch.tensor([KINDS.index(k) if k in KINDS else -100 for k in kinds])
        data = Texts(ids, torch.tensor(y, dtype=torch.float32), torch.tensor(w, dtype=torch.float32), kind)
        some = np.random.default_rng(SEED).permutation(np.flatnonzero(rows))
        model, sample = load_base(max(LAYERS))[1], [ids[i][0] for i in some[:2000]]
        net = Net(model, sample, dict(np.load(start)) if start else None)
        fit(net, data, some, np.flatnonzero(~rows))
        np.savez(kept / "part.npz", **net.parts())
        (kept / "part.npz").replace(kept / "fit.npz")
    return dict(np.load(kept / "fit.npz"))


def odds_of(parts: dict[str, np.ndarray], ids: list[list[list[int]]]) -> np.ndarray:
    """(texts, 3) log odds by HEADS with a fit's parts: the worst of each text's windows."""
    model = load_base(max(parts["layers"]))[1]
    pairs = {n.removesuffix(".down") for n in parts if n.endswith(".down")}
    fold(model, {n: (parts[f"{n}.down"].astype(np.float32), parts[f"{n}.up"].astype(np.float32)) for n in pairs})
    read = features(model, [w for text in ids for w in text], parts["layers"].tolist(), int(parts["both_ways"]))
    z = (read - parts["mean"]) / parts["scale"] @ parts["heads"][: len(HEADS)].astype(np.float32).T
    ends = np.cumsum([len(text) for text in ids])[:-1]
    return np.stack([part.max(0) for part in np.split(z + parts["bias"][: len(HEADS)], ends)])


def decision(
    odds: np.ndarray,
    found: list[Found],
    y: np.ndarray,
    known: np.ndarray,
    posts: np.ndarray,
    weight: np.ndarray,
    share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """How log odds are mixed, and the rows of `Trust`, by one logistic model each for risk (posts weigh as much as all others) and crisis.

    About `share` of the texts that are no crisis raise an alarm; F1 of risk is highest on the posts. Grave findings are believed as far as
    `SURE` says.

    Args:
        odds: (n, heads of the layers) log odds of texts held out. y: (n, 3) labels. known: (n, 3) whether each is known.
        posts: rows labelled as PsySUICIDE's are. weight: of each row.

    Returns:
        (2, heads of the layers) and (2, 7).
    """
    x = np.concatenate([odds, np.array([f.features() for f in found], dtype=float)], axis=1)
    balance = weight * np.where(posts, (~posts).sum() / posts.sum(), 1.0) * known[:, 2]
    risk = LogisticRegression(max_iter=1000).fit(x, y[:, 0], sample_weight=balance)
    labelled = known[:, 1]
    crisis = LogisticRegression(max_iter=1000).fit(x[labelled], y[labelled, 1], sample_weight=weight[labelled])
    heads = odds.shape[1]
    mix = np.stack([m.coef_[0][:heads] for m in (risk, crisis)])
    trust = np.stack([[*m.coef_[0][heads:], m.intercept_[0]] for m in (risk, crisis)])
    total = np.stack([m.decision_function(x) for m in (risk, crisis)])
    level = np.array([f.level for f in found])
    calm = np.sort(np.where(level == IMMINENT, np.inf, total[1])[labelled & ~y[:, 1]])[::-1]
    least = calm[int(share * len(calm))]
    for grave, missed in SURE.items():
        rows = level == grave
        more = max(0.0, least - np.quantile(total[1][labelled & y[:, 1] & rows], missed))
        trust[1][grave - LOW] += more
        total[1] += more * rows

    def f1(least_risk: float) -> float:
        said = ((total[1] > least) | (total[0] >= least_risk))[posts]
        right, of = said & y[posts, 0], weight[posts]
        return float(2 * (of * right).sum() / ((of * said).sum() + (of * y[posts, 0]).sum()))

    grid = np.linspace(-4, 4, 81)  # few texts are real: the middle of the best stretch, not the best single point
    trust[0][-1] -= grid[5:-5][np.convolve([f1(at) for at in grid], np.ones(11) / 11, "valid").argmax()]
    trust[1][-1] -= least
    return mix, trust


def main() -> None:
    """Train, decide, write the files."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--psysuicide", type=Path, required=True)
    args.add_argument("--client-turns", type=Path)
    args.add_argument("--negatives", type=int, default=1000, help="client turns that stand alone")
    args.add_argument(
        "--false-alarms",
        type=float,
        default=0.065,
        help="share of held-back texts without a crisis that may raise an alarm",
    )
    args.add_argument("--base", type=Path, default=Path("runs/guard"), help="keeps the fit of the base")
    args.add_argument("--start", type=Path, help="fit.npz or listener.npz to go on from, for two more epochs")
    args.add_argument("--linear-only", action="store_true", help="leave listener.npz alone")
    args.add_argument("--out", type=Path, default=RULES)
    opt = args.parse_args()

    examples = [e for e in [*corpus(), *psysuicide(opt.psysuicide)] if building(e)]
    deciding = decides(examples)
    lines = [e for e in examples if e.source == "own" and len(e.turns) == 1]
    talks = starter.client_talks()[::2]
    calm = calm_talks(GUARD, [(e.lang, e.turns) for e in lines if not e.risk and e.id not in deciding])
    if opt.client_turns:
        cases = client_talks(opt.client_turns)
        examples += client_turns(cases, opt.negatives)
        calm["zh"] += cases
    for lang, told in calm_talks(GUARD, talks).items():  # half of what a letter draws, however few they are
        calm[lang] += told * max(1, round(len(calm[lang]) / len(told)))
    harmless_talks = [e for e in examples if e.source == "own" and len(e.turns) > 1 and not e.risk]
    examples += letters(lines, calm, wanted=LETTERS, longest=LETTER_LENGTH, seed=SEED)
    examples += letters(lines, calm, wanted=THREADS, longest=LETTER_LENGTH, seed=SEED + 1, apart=True)
    examples += starts(harmless_talks) + fragments(harmless_talks)
    rough = [GUARD.assess(said).risk for _, said in talks]
    usual = [talk for talk, found in zip(talks, rough, strict=True) if not found]
    examples += everyday([talk for n, talk in enumerate(usual) if n % 4], "starter")
    held_back = everyday(usual[::4], "starter-deciding")
    held_back += everyday([talk for talk, found in zip(talks, rough, strict=True) if found], "starter-rough")
    examples += held_back
    deciding |= {e.id for e in held_back}
    rows = np.array([source_id(e) not in deciding for e in examples])
    masked, said, found = (list(column) for column in zip(*map(texts, examples), strict=True))
    y, w, posts = labels(examples)
    doubtful = [e.source == "starter" and f.level > 0 for e, f in zip(examples, found, strict=True)]
    w[np.ix_(doubtful, [0, 2])] = 0  # no crisis, but who knows whether it tells of a risk
    real = np.array([REAL if e.source == "psysuicide" else 1.0 for e in examples])
    print(
        f"{rows.sum()} texts to learn from, {np.sum(~rows)} to decide on; risk {y[:, 0].mean():.3f}, crisis {y[w[:, 1] > 0, 1].mean():.3f}",
        flush=True,
    )

    # n-grams learn nothing from half a sentence but doubt
    whole = np.array(["-fragment" not in e.id for e in examples])
    z, models = linear(masked, y, w, rows & whole)
    held = [e for e, learnt in zip(examples, rows, strict=True) if not learnt]
    of_held = (
        [f for f, learnt in zip(found, rows, strict=True) if not learnt],
        *(column[~rows] for column in (y, w > 0, posts, real)),
    )
    mix, trust = decision(z[~rows], *of_held, LINEAR_ALARMS)
    show("rules + linear", held, of_held[0], z[~rows], mix, trust)
    write_linear(opt.out / "weights.npz", models, mix, trust)
    if opt.linear_only:
        return
    kinds = [e.kind if e.source == "own" else "" for e in examples]
    tokenizer = load_tokenizer(STARTER)
    ids = [windows(tokenizer, text) for text in said]
    parts = base(ids, y, w, kinds, rows, opt.base, opt.start)
    both = np.concatenate([odds_of(parts, [ids[i] for i in np.flatnonzero(~rows)]), z[~rows]], axis=1)
    mix, trust = decision(both, *of_held, opt.false_alarms)
    show("rules + linear + base", held, of_held[0], both, mix, trust)
    with open(opt.out / "listener.npz", "wb") as out:
        np.savez_compressed(out, mix=mix.astype(np.float32), trust=trust, **parts)
    print(f"listener.npz: {(opt.out / 'listener.npz').stat().st_size / 1024:.0f} KiB")


def show(
    name: str, examples: list[Example], found: list[Found], odds: np.ndarray, mix: np.ndarray, trust: np.ndarray
) -> None:
    """On the texts held back: recall and false alarms of `crisis`, and F1 of `risk`, by where they come from."""
    print(
        f"{name}; mix {mix.round(2).tolist()}; findings (low to imminent, framed, bare) and constant add {trust.round(2).tolist()}"
    )
    level = np.array([decide(f, *mixed(mix, z), Trust.of(trust)) for f, z in zip(found, odds, strict=True)])
    source = np.array([_group(e) for e in examples])
    for s in sorted(set(source)):
        of = [(int(v), e) for v, e, o in zip(level, examples, source, strict=True) if o == s]
        crisis = [v >= MODERATE for v, e in of if e.crisis]
        false = [v >= MODERATE for v, e in of if e.crisis is False]
        hits, said, risk = sum(v > 0 and e.risk for v, e in of), sum(v > 0 for v, _ in of), sum(e.risk for _, e in of)
        print(
            f"  {s}: recall {np.mean(crisis or [0]):.3f} of {len(crisis)}, false {np.mean(false or [0]):.3f} of {len(false)}, "
            f"risk F1 {2 * hits / max(1, said + risk):.3f} ({hits}/{said} right, {hits}/{risk} found)",
            flush=True,
        )


def _group(example: Example) -> str:
    if made := re.search("-(letter|thread|start|fragment)", example.id):
        return f"{made[1]}s"
    return next((name for name in DECIDING if name in example.id), example.source)


def write_linear(path: Path, models: list[Any], mix: np.ndarray, trust: np.ndarray) -> None:
    """int8 weights with one scale a head."""
    words = np.stack([m.coef_[0] for m in models])
    scale = np.abs(words).max(axis=1) / 127
    with open(path, "wb") as out:
        np.savez_compressed(
            out,
            weights=np.round(words / scale[:, None]).astype(np.int8),
            scale=scale.astype(np.float32),
            bias=np.array([m.intercept_[0] for m in models], dtype=np.float32),
            mix=mix.astype(np.float32),
            trust=trust,
        )
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
