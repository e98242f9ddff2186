"""Evaluation: method, before/after with intervals, judge, persona, dialogues."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from .. import figures
from ..blocks import Block, Bubble, Bullets, Chat, Code, Heading, NotRun, Para, Table
from ..data import Episode, ModelPart, ReportData, SuitePart
from ..original import JUDGE, OVERLAP
from ..words import Words, number, percent

METRICS = (
    "n", "bleu-4", "rouge-1", "rouge-2", "rouge-l", "loss", "bits-per-char", "runtime_s", "samples_per_s", "steps_per_s", "first_token_s", "total_s",
    "tokens_per_reply", "chars_per_reply", "tokens_per_s", "capped",
)  # fmt: skip
EVERY = ("n", "bleu-4", "rouge-1", "rouge-2", "rouge-l", "loss", "bits-per-char", "tokens_per_reply", "capped")
"""Of every turn: no speed, which the last turns have measured."""
EPISODES = ("identity", "misleading-premise", "tone", "knowledge", "emoji")
SAID, SAID_LINES = 360, 16
"""Most characters and lines of a reply in a picture; the file named below it has all."""
SMALL = 100
"""Below so many replies the report says that the numbers show the procedure, not the model."""


def _model(name: str, w: Words) -> str:
    return w.known(f"model.{name}", name)


def method(d: ReportData, w: Words) -> tuple[Block, ...]:
    """How before and after are compared."""
    points = Bullets(w.lines("method.points"))
    if d.evals is None:
        return (points,)
    e = d.evals
    models = ", ".join(_model(m.name, w) for m in e.models)
    turns = w.known(f"method.turns.{e.turns}", e.turns)
    sampling = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in e.sampling.items() if v != "")
    return (
        Para(w("method.text", models=models, prompts=number(e.prompts), dialogues=number(e.dialogues), turns=turns, seed=e.seed)),
        Para(w("method.sampling", sampling=sampling, batch=e.batch_size), quiet=True),
        points,
    )  # fmt: skip


def _metric(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key == "n":
        return number(int(value))
    if key == "capped":
        return percent(value, 1)
    return number(
        value, ",.2f" if key in ("runtime_s", "tokens_per_reply", "chars_per_reply", "tokens_per_s") else ",.4f"
    )


def _means(key: str, caption: str, models: Sequence[ModelPart], metrics: Sequence[str], source: str, w: Words) -> Table:
    known = [k for k in metrics if any(m.values.get(k) is not None for m in models)]
    rows = tuple((w(f"m.{k}"), *(_metric(k, m.values.get(k)) for m in models)) for k in known)
    heads = (w("head.measure"), *(_model(m.name, w) for m in models))
    return Table(key, caption, heads, rows, "l" + "r" * len(models), (), source)


def before_after(d: ReportData, w: Words) -> tuple[Block, ...]:
    """The table, paired differences with intervals, style, and the original's figures."""
    command = f"hearme evaluate {d.run}"
    original = Table(
        "tab:overlap-original", w("cap.overlap.original"), (w("head.measure"), w("head.before"), w("head.after")),
        tuple((w(f"m.{k}"), _metric(k, a), _metric(k, b)) for k, (a, b) in OVERLAP.items()), "lrr", (), "original report, table 5",
    )  # fmt: skip
    if d.evals is None:
        absent = [
            ("tab:overlap", "results.none"),
            ("fig:overlap", "cap.fig.overlap"),
            ("tab:delta", "results.delta.none"),
        ]
        return (*(NotRun(key, w(text), command) for key, text in absent), original)
    e = d.evals
    out: list[Block] = []
    if e.prompts < SMALL:
        out.append(Para(w("results.small", n=e.prompts)))
    source = f"evals/summary.json; n = {e.prompts}, seed {e.seed}"
    out.append(_means("tab:overlap", w("cap.overlap"), e.models, METRICS, source, w))
    unscored = "; ".join(f"{_model(m.name, w)} {k}: {n}" for m in e.models for k, n in m.unscored.items())
    out.append(Para(w("results.unscored", items=unscored) if unscored else w("results.unscored.none"), quiet=True))
    out.append(figures.overlap(e, w))
    if e.every:
        out.append(Para(w("results.every", prompts=number(e.every_prompts), dialogues=number(e.every_dialogues))))
        source = f"evals/summary.json; n = {e.every_prompts}, seed {e.seed}"
        out.append(_means("tab:overlap-every", w("cap.overlap.every"), e.every, EVERY, source, w))
    elif e.turns == "last":
        out.append(
            NotRun(
                "tab:overlap-every",
                w("cap.overlap.every"),
                f"hearme run RECIPE --run {d.run} --set evaluation.every=25",
            )
        )
    if e.deltas:
        heads = tuple(w(f"head.{h}") for h in ("measure", "pair", "before", "after", "difference", "interval", "p"))
        cells = tuple(
            (
                w(f"m.{x.metric}"),
                f"{_model(x.before, w)} → {_model(x.after, w)}",
                number(x.mean_before, ".3f"),
                number(x.mean_after, ".3f"),
                number(x.difference, "+.3f"),
                f"[{x.low:+.3f}, {x.high:+.3f}]",
                number(x.p, ".4f"),
            )
            for x in e.deltas
        )
        note = (
            f"scores.jsonl; {w('delta.n', dialogues=e.deltas[0].dialogues, prompts=e.deltas[0].prompts)}; seed {e.seed}"
        )
        shown = [x for x in e.deltas if x.before == e.deltas[0].before]
        out += [Table("tab:delta", w("cap.delta"), heads, cells, "llrrrrr", (), note), figures.deltas(shown, w)]
    else:
        out.append(NotRun("tab:delta", w("results.delta.none"), command))
    if d.style:
        metrics = [m for m in d.style[0].values if any(r.values.get(m) is not None for r in d.style)]
        means = [(w.known(f"st.{m}", m), *(number(r.values.get(m), ".3f") for r in d.style)) for m in metrics]
        means.append(("n", *(number(r.n) for r in d.style)))
        columns = (w("head.measure"), *(_model(r.model, w) for r in d.style))
        out.append(
            Table(
                "tab:style",
                w("cap.style"),
                columns,
                tuple(means),
                "l" + "r" * len(d.style),
                (),
                "generations.jsonl",
            )
        )
    else:
        out.append(NotRun("tab:style", w("style.none"), command))
    return (*out, original)  # fmt: skip


def judge(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Method, prompt, code, scores, agreement and a raw verdict; each said to be not run where it was not."""
    from ...evals.judge import rubric, verdict

    command = f"hearme judge {d.run} --base-url URL --model NAME"
    tree = rubric.rubric()["criteria"]
    names = {key: (c["zh"], int(c["max"])) for key, c in tree.items()}

    def label(key: str) -> str:
        return names[key][0] if w.lang == "zh" and key in names else key

    mode = d.judge.mode if d.judge else "cpsycoun"
    out: list[Block] = [Para(w("judge.text")), figures.criteria(names, w), figures.workflow(w)]
    if d.judge is None:
        out.append(NotRun("tab:judge", w("judge.none"), command))
    else:
        j = d.judge
        rows = tuple(
            (
                _model(m.model, w),
                label(m.criterion),
                number(m.mean),
                "–" if m.low is None else f"[{m.low:.4f}, {m.high:.4f}]",
                number(m.n),
                number(m.unscored),
            )
            for m in j.means
        )
        heads = ("model", "criterion", "mean", "interval", "n", "unscored")
        out.append(
            Table(
                "tab:judge",
                w("cap.judge"),
                tuple(w(f"head.{h}") for h in heads),
                rows,
                "llrrrr",
                (),
                f"{j.file}; seed {j.seed}",
            )
        )
        out.append(Para(w("judge.who", judges=", ".join(j.judges)), quiet=True))
    if d.judge and any(alpha is not None for _, alpha, _ in d.judge.agreement):
        cells = tuple((label(k), number(alpha), number(n)) for k, alpha, n in d.judge.agreement)
        out.append(
            Table(
                "tab:agreement",
                w("cap.agreement"),
                (w("head.criterion"), w("head.alpha"), w("head.units")),
                cells,
                "lrr",
                (),
                d.judge.file,
            )
        )
    else:
        out.append(NotRun("tab:agreement", w("judge.agreement.none"), command))
    out.append(
        Code(
            str(rubric.mode(mode)["system"]).strip(),
            "fig:judge-prompt",
            w("cap.judge.prompt"),
            "evals/judge/rubric.yaml",
        )
    )
    out.append(
        Code(
            inspect.getsource(verdict.parse_list).strip(),
            "fig:judge-code",
            w("cap.judge.code"),
            "evals/judge/verdict.py",
        )
    )
    if d.judge and d.judge.raw:
        out.append(Code(d.judge.raw, "fig:judge-raw", w("cap.judge.raw"), f"evals/judge/verdicts.{mode}.jsonl"))
    else:
        out.append(NotRun("fig:judge-raw", w("judge.raw.none"), command))
    published = tuple((label(k), f"{a:.4f}", f"{b:.4f}") for k, (a, b) in JUDGE.items())
    columns = (w("head.criterion"), w("head.before"), w("head.after"))
    out.append(
        Table("tab:judge-original", w("cap.judge.original"), columns, published, "lrr", (), "original report, table 6")
    )
    return tuple(out)  # fmt: skip


def suite_table(key: str, caption: str, suite: SuitePart, w: Words) -> Table:
    """Passed / asked by kind, a column a model."""
    kinds = list(dict.fromkeys(k for s in suite.scores for k, _, _ in s.kinds))
    cells = {(s.model, k): f"{p}/{n}" for s in suite.scores for k, p, n in s.kinds}
    rows = [(w.known(f"guard.{k}", k), *(cells.get((s.model, k), "–") for s in suite.scores)) for k in kinds]
    rows.append((w("suite.all"), *(f"{s.passed}/{s.n} ({percent(s.passed, s.n)})" for s in suite.scores)))
    heads = (w("head.category"), *(_model(s.model, w) for s in suite.scores))
    return Table(
        key, caption, heads, tuple(rows), "l" + "r" * len(suite.scores), (), f"{suite.file}; sha256 {suite.digest[:16]}"
    )


def persona(d: ReportData, w: Words) -> tuple[Block, ...]:
    """The persona suite, self-cognition as a classification, and the keyed questions."""
    suite = d.suite("persona")
    out: list[Block] = []
    if suite is None:
        command = f"hearme suite persona {d.run}"
        out += [NotRun("tab:persona", w("persona.none"), command), NotRun("tab:self", w("cap.self"), command)]
    else:
        out.append(Para(w("persona.text", n=max(s.n for s in suite.scores), digest=suite.digest[:16])))
        out.append(suite_table("tab:persona", w("cap.persona"), suite, w))
        rows = tuple(
            (w(f"self.{k}"), *(number(s.figures.get(k)) for s in suite.scores))
            for k in ("accuracy", "precision", "recall", "f1")
        )
        heads = (w("head.measure"), *(_model(s.model, w) for s in suite.scores))
        out.append(Table("tab:self", w("cap.self"), heads, rows, "l" + "r" * len(suite.scores), (), suite.file))
    if not d.knowledge:
        return (*out, NotRun("tab:knowledge", w("knowledge.none"), f"hearme suite knowledge {d.run}"))
    known = tuple(
        (
            _model(k.model, w),
            number(k.accuracy),
            "–" if k.low is None or k.high is None else f"[{k.low:.4f}, {k.high:.4f}]",
            number(k.recall),
            number(k.f1),
            number(k.n),
            number(k.unscored),
        )
        for k in d.knowledge
    )
    heads = (
        w("head.model"),
        *(w(f"know.{k}") for k in ("accuracy", "interval", "recall", "f1")),
        "n",
        w("head.unscored"),
    )
    return (*out, Table("tab:knowledge", w("cap.knowledge"), heads, known, "lrrrrrr", (), "evals/suites/knowledge.json"))  # fmt: skip


def dialogues(d: ReportData, w: Words) -> tuple[Block, ...]:
    """The five episodes as chat pictures, and one test prompt with every model's answer."""
    out: list[Block] = [Para(w("dialogues.text"))]
    for name in EPISODES:
        shown = [e for m in ("base", d.tuned) if (e := d.episode(name, m)) is not None]
        if shown:
            out.append(_episode(name, shown, d, w))
        else:
            out.append(
                NotRun(f"fig:episode-{name}", w("ep.none", name=w(f"ep.{name}")), f"hearme suite episodes {d.run}")
            )
    if d.heldout:
        out += [Heading(w("ep.heldout")), _heldout(d, w)]
    return tuple(out)


def shortened(text: str, w: Words) -> str:
    """A reply as a picture holds it, with what was left out counted: an untuned model may go on for a thousand tokens."""
    lines = [line for line in text.splitlines() if line.strip()]
    short = "\n".join(lines[:SAID_LINES])[:SAID]
    left = len("\n".join(lines)) - len(short)
    return f"{short}{w('ep.cut', n=number(left))}" if left else text


def _episode(name: str, shown: Sequence[Episode], d: ReportData, w: Words) -> Chat:
    columns = []
    for e in shown:
        who = {"user": w("who.user"), "assistant": d.recipe.persona.name if e.model == d.tuned else _model(e.model, w)}
        first = (Bubble("system", w("label.system"), e.system),) if e.system else ()
        talk = tuple(Bubble(m.role, who[m.role], shortened(m.content, w)) for m in e.messages if m.role != "system")
        columns.append((_model(e.model, w) if len(shown) > 1 else "", (*first, *talk)))
    sampling = shown[-1].sampling
    source = f"{shown[-1].file}; {w('ep.sampling', sampling=sampling) if sampling else w('ep.greedy')}"
    return Chat(f"fig:episode-{name}", w(f"ep.{name}"), tuple(columns), source)


def _heldout(d: ReportData, w: Words) -> Chat:
    first = d.heldout[0]
    history = tuple(
        Bubble(
            m.role,
            {"system": w("label.system"), "user": w("who.user"), "assistant": w("ep.reference")}[m.role],
            m.content,
        )
        for m in first.messages
    )
    answers = [Bubble("assistant", _model(g.model, w), shortened(g.prediction, w)) for g in d.heldout]
    answers.append(Bubble("assistant", w("ep.reference"), first.reference))
    return Chat("fig:heldout", w("ep.heldout"), (("", (*history, *answers)),), f"generations.jsonl, {first.id}")  # fmt: skip
