"""Side by side: models of one run, or of several, on the prompts that both sides answered.

Means are paired by prompt, intervals and tests are clustered by dialogue, p-values are corrected over all comparisons shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..files import read_json, read_jsonl
from ..run import RunDir
from ..types import Generation, Score
from .language import language
from .stats import bootstrap, cohens_dz, holm, permutation_p, wins

if TYPE_CHECKING:
    from rich.table import Table

HEADLINE = ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "bleu-word", "chrf", "loss", "length-ratio", "repetition")
"""Metrics compared unless others are named (with the judge's, if it has spoken): a small family, so that Holm costs little."""
LOWER_IS_BETTER = frozenset({"loss", "bits-per-char", "repetition"})
Key = tuple[str, str]  # run:model, metric


@dataclass(frozen=True, slots=True)
class Board:
    """Everything known about some runs.

    Attributes:
        values: (model, metric) -> prompt id -> value (None: unscored).
        clusters: prompt id -> dialogue id. languages: prompt id -> language of the reference.
    """

    values: dict[Key, dict[str, float | None]]
    clusters: dict[str, str]
    languages: dict[str, str]

    @property
    def models(self) -> list[str]:
        """Models in the order of the files."""
        return list(dict.fromkeys(m for m, _ in self.values))

    @property
    def metrics(self) -> list[str]:
        """Metrics in the order of the files."""
        return list(dict.fromkeys(m for _, m in self.values))


def read_board(runs: Sequence[RunDir]) -> Board:
    """Scores of the runs (and of their judge, if there was one); models are named `run:model` if there are several runs.

    Raises:
        RunError: a run that is not evaluated.
    """
    values: dict[Key, dict[str, float | None]] = {}
    clusters: dict[str, str] = {}
    languages: dict[str, str] = {}
    names = run_names(runs)
    for run, name in zip(runs, names, strict=True):
        if not run.scores.is_file() or not run.generations.is_file():
            raise RunError(
                "expected an evaluated run (scores.jsonl), found none",
                where=str(run.path),
                hint=f"hearme evaluate {run.path}",
            )
        prefix = f"{name}:" if len(runs) > 1 else ""
        for _, row in read_jsonl(run.generations):
            clusters[row["id"]] = row["dialogue_id"]
            languages[row["id"]] = language(row["reference"])
        for path in (run.scores, *sorted((run.evals.path / "judge").glob("scores.*.jsonl"))):
            for _, row in read_jsonl(path):
                score = Score.from_json(row)
                values.setdefault((prefix + score.model, score.metric), {})[score.id] = score.value
    return Board(values, clusters, languages)


def run_names(runs: Sequence[RunDir]) -> list[str]:
    """Folder names; with a number where two are alike."""
    plain = [r.path.resolve().name for r in runs]
    return [n if plain.count(n) == 1 else f"{n}-{i + 1}" for i, n in enumerate(plain)]


def describe(board: Board, metric: str, model: str, *, seed: int = 0) -> dict[str, Any]:
    """Mean with its 95 % interval, n, dialogues and unscored count of one model."""
    cell = board.values.get((model, metric), {})
    known = {i: v for i, v in cell.items() if v is not None}
    found = bootstrap(list(known.values()), [board.clusters.get(i, i) for i in known], seed=seed)
    out: dict[str, Any] = {"n": len(known), "unscored": len(cell) - len(known)}
    if found is not None:
        out |= {"mean": found.mean, "low": found.low, "high": found.high, "dialogues": found.clusters}
    return out


def paired(board: Board, metric: str, a: str, b: str, *, seed: int = 0) -> dict[str, Any] | None:
    """`b` against `a` on the prompts where both have a number; None if there is none.

    Returns:
        Mean difference with interval, permutation p, Cohen's dz, wins/ties/losses (a win is better, whichever way the
        metric points), n, dialogues, and how many pairs lack a number.
    """
    left, right = board.values.get((a, metric), {}), board.values.get((b, metric), {})
    shared = [i for i in left if i in right]
    both = [(i, x, y) for i in shared if (x := left[i]) is not None and (y := right[i]) is not None]
    if not both:
        return None
    differences = [y - x for _, x, y in both]
    clusters = [board.clusters.get(i, i) for i, _, _ in both]
    interval = bootstrap(differences, clusters, seed=seed)
    p = permutation_p(differences, clusters, seed=seed)
    assert interval is not None
    assert p is not None
    up, ties, down = wins(differences)
    if metric in LOWER_IS_BETTER:
        up, down = down, up
    return {
        "metric": metric,
        "before": a,
        "after": b,
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": p,
        "dz": cohens_dz(differences),
        "wins": up,
        "ties": ties,
        "losses": down,
        "n": len(both),
        "dialogues": interval.clusters,
        "unscored": len(shared) - len(both),
    }


def compare(runs: Sequence[RunDir], *, metrics: Sequence[str] | None = None, seed: int = 0) -> dict[str, Any]:
    """The whole comparison: every model described, each model against the first one and against the one before it.

    Returns:
        `{"models", "metrics", "describe": {metric: {model: …}}, "pairs": [… with "p_holm"], "by_language", "retention"}`.
    """
    board = read_board(runs)
    wanted = [m for m in board.metrics if (m in metrics if metrics else m in HEADLINE or m.startswith("judge"))]
    models = board.models
    pairs = []
    for metric in wanted:
        for a, b in _against(models):
            if (found := paired(board, metric, a, b, seed=seed)) is not None:
                pairs.append(found)
    for row, corrected in zip(pairs, holm([row["p"] for row in pairs]), strict=True):
        row["p_holm"] = corrected
    return {
        "runs": [str(r.path) for r in runs],
        "models": models,
        "metrics": wanted,
        "seed": seed,
        "describe": {m: {name: describe(board, m, name, seed=seed) for name in models} for m in wanted},
        "pairs": pairs,
        "by_language": by_language(board, wanted, seed),
        "retention": retention(runs),
    }


def _against(models: Sequence[str]) -> list[tuple[str, str]]:
    """(before, after): everyone against the first, and each tuned model against its predecessor."""
    out = [(models[0], m) for m in models[1:]]
    out += list(pairwise(models[1:]))
    return out


def by_language(board: Board, metrics: Sequence[str], seed: int) -> dict[str, Any]:
    """The same means on the prompts of each language: English after Chinese tuning must not hide in an average."""
    out: dict[str, Any] = {}
    for lang in sorted(set(board.languages.values())):
        ids = {i for i, have in board.languages.items() if have == lang}
        part = Board(
            {k: {i: v for i, v in cell.items() if i in ids} for k, cell in board.values.items()},
            board.clusters,
            board.languages,
        )
        out[lang] = {m: {name: describe(part, m, name, seed=seed) for name in board.models} for m in metrics}
    return out


def retention(runs: Sequence[RunDir]) -> list[dict[str, Any]]:
    """What stage 1 taught after stage 2, from the persona suite's results by kind, where they exist (`hearme suite persona RUN`)."""
    out = []
    for run, name in zip(runs, run_names(runs), strict=True):
        path = run.evals.path / "suites" / "persona.json"
        if not path.is_file():
            continue
        result = read_json(path)
        stages = [s for s in run.recipe.stages if s in result["models"]]
        kinds = dict.fromkeys(k for s in stages for k in result["models"][s]["kinds"])
        for kind in kinds:
            cells = {s: result["models"][s]["kinds"].get(kind, {"n": 0, "passed": 0}) for s in stages}
            out.append({"run": name, "kind": kind, "stages": cells, "digest": result["digest"]})
    return out


def table(result: dict[str, Any]) -> list[Table]:
    """Means, then paired differences, then retention."""
    from rich.box import SIMPLE
    from rich.table import Table

    means = Table(title="Means [95 % interval, dialogues resampled] 均值")
    means.add_column("")
    for name in result["models"]:
        means.add_column(name, justify="right")
    for metric in result["metrics"]:
        cells = [result["describe"][metric][m] for m in result["models"]]
        if any("mean" in c for c in cells):
            means.add_row(metric, *(_mean(c) for c in cells))
    pairs = Table(title="Paired differences 配对差 (p: sign flips by dialogue, Holm-corrected)", box=SIMPLE)
    pairs.add_column("metric", overflow="fold")
    pairs.add_column("before → after", overflow="fold")
    for head in ("difference", "95 %", "p Holm", "dz", "win/tie/loss", "n"):
        pairs.add_column(head, justify="right", overflow="fold")
    for r in result["pairs"]:
        pairs.add_row(
            r["metric"],
            f"{r['before']} → {r['after']}",
            f"{r['difference']:+.3f}",
            f"{r['low']:+.2f} … {r['high']:+.2f}",
            f"{r['p_holm']:.4f}",
            "–" if r["dz"] is None else f"{r['dz']:+.2f}",
            f"{r['wins']}/{r['ties']}/{r['losses']}",
            f"{r['n']} (+{r['unscored']} unscored)" if r["unscored"] else str(r["n"]),
        )
    out = [means, pairs]
    if result["retention"]:
        kept = Table(title="Retention 保持: what a stage taught, after the next one (persona suite)")
        kept.add_column("kind")
        for stage in result["retention"][0]["stages"]:
            kept.add_column(stage, justify="right")
        for r in result["retention"]:
            kept.add_row(r["kind"], *(f"{c['passed']}/{c['n']}" for c in r["stages"].values()))
        out.append(kept)
    return out


def _mean(cell: dict[str, Any]) -> str:
    if "mean" not in cell:
        return f"– ({cell['unscored']} unscored)" if cell["unscored"] else "–"
    text = f"{cell['mean']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
    return f"{text} ({cell['unscored']} unscored)" if cell["unscored"] else text


def figure(result: dict[str, Any], path: Path) -> None:
    """Forest plot of the paired differences against the first model, one panel a metric; PNG, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..files import atomic_open

    first = result["models"][0]
    metrics = [m for m in result["metrics"] if any(r["metric"] == m and r["before"] == first for r in result["pairs"])]
    columns = min(4, max(1, len(metrics)))
    height = -(-len(metrics) // columns) or 1
    drawing = Figure(figsize=(3.1 * columns, 0.9 + (0.5 + 0.4 * len(result["models"])) * height), layout="constrained")
    panels = drawing.subplots(height, columns, squeeze=False).flat
    for axes, metric in zip(panels, metrics, strict=False):
        rows = [r for r in result["pairs"] if r["metric"] == metric and r["before"] == first]
        for y, r in enumerate(rows):
            axes.plot([r["low"], r["high"]], [y, y], color="#33658a")
            axes.plot(r["difference"], y, "o", color="#33658a")
        axes.axvline(0, color="#999", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [r["after"] for r in rows], fontsize=7)
        axes.set_title(f"{metric} − {first}", fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.margins(y=0.4)
        axes.invert_yaxis()
    for axes in list(drawing.axes)[len(metrics) :]:
        axes.set_visible(False)
    with atomic_open(path, "wb") as out:
        FigureCanvasAgg(drawing).print_figure(out, format="png", dpi=150)


def show(run: RunDir, wanted: str) -> dict[str, Any]:
    """One dialogue (or one prompt) with every model's answers and scores.

    Args:
        wanted: a prompt id (`dialogue#turn`) or a dialogue id.

    Raises:
        RunError: not evaluated, or nothing of that id.
    """
    if not run.generations.is_file():
        raise RunError(
            "expected an evaluated run (generations.jsonl), found none",
            where=str(run.path),
            hint=f"hearme evaluate {run.path}",
        )
    found = [
        g for _, row in read_jsonl(run.generations) if wanted in {(g := Generation.from_json(row)).id, g.dialogue_id}
    ]
    if not found:
        some = [row["id"] for _, (_, row) in zip(range(3), read_jsonl(run.generations), strict=False)]
        raise RunError(
            f"expected the id of an answer or a dialogue, found {wanted!r}",
            where=str(run.path),
            hint=f"for example {', '.join(some)}",
        )
    scores: dict[Key, dict[str, float | None]] = {}
    board = read_board([run])
    for (model, metric), cell in board.values.items():
        for i, value in cell.items():
            scores.setdefault((i, model), {})[metric] = value
    prompts = []
    for i in dict.fromkeys(g.id for g in found):
        same = [g for g in found if g.id == i]
        answers = [
            {
                "model": g.model,
                "prediction": g.prediction,
                "tokens": g.tokens,
                "finish_reason": g.finish_reason,
                "scores": scores.get((i, g.model), {}),
            }
            for g in same
        ]
        prompts.append(
            {
                "id": i,
                "messages": [m.to_json() for m in same[0].messages],
                "reference": same[0].reference,
                "answers": answers,
            }
        )
    return {"dialogue_id": found[0].dialogue_id, "prompts": prompts}
