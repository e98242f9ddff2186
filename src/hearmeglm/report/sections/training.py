"""Training: every hyperparameter with its reason, curves, and results beside the original's."""

from __future__ import annotations

from typing import Any

from .. import figures
from ..blocks import Block, Heading, NotRun, Para, Table
from ..data import ReportData
from ..original import TRAINING
from ..words import Words, number

ADAPTER = ("method", "rank", "alpha", "targets", "dropout")
PER_STAGE = (
    "learning_rate", "epochs", "batch_size", "accumulation", "max_length", "scheduler", "warmup", "optimizer", "weight_decay", "max_grad_norm",
    "packing", "dtype", "data_seed", "patience",
)  # fmt: skip
RESULTS = (
    "epoch", "steps", "train_loss", "eval_loss", "train_runtime", "eval_runtime", "train_samples_per_second", "train_steps_per_second",
    "eval_samples_per_second", "eval_steps_per_second", "num_input_tokens_seen", "total_flos", "train_examples", "valid_examples",
    "tokens_per_second", "peak_memory_bytes", "device",
)  # fmt: skip


def _show(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "✔" if value else "✘"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def setup(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Every hyperparameter of every stage, and why."""
    recipe = d.recipe
    if not recipe.stages:
        return (NotRun("tab:setup", w("setup.none")),)
    names = list(recipe.stages)

    def why(key: str) -> str:
        own = recipe.report.reasons.get(key)
        return ((own.zh if w.lang == "zh" else own.en) if own else "") or w(f"why.{key}")

    rows = [(w(f"set.{key}"), *[_show(getattr(recipe.lora, key))] * len(names), why(key)) for key in ADAPTER]
    if recipe.lora.start:
        rows.insert(
            0, (w("set.start"), recipe.lora.start, *(w.known(f"model.{n}", n) for n in names[:-1]), why("start"))
        )
    rows += [(w(f"set.{key}"), *(_show(getattr(recipe.stages[n], key)) for n in names), why(key)) for key in PER_STAGE]
    rows.append((w("set.seed"), *[str(recipe.seed)] * len(names), why("seed")))
    stages = tuple(w.known(f"model.{n}", n) for n in names)
    sources = list(dict.fromkeys(s for n in names for s in recipe.stages[n].mix))
    mix = tuple(
        (w("sources.persona") if s == "persona" else s, *(_show(recipe.stages[n].mix.get(s)) for n in names))
        for s in sources
    )
    return (
        Para(w("setup.text", n=len(names), recipe=recipe.name)),
        Table("tab:setup", w("cap.setup"), (w("head.setting"), *stages, w("head.why")), tuple(rows), "l" + "r" * len(names) + "l", (2.3, *[2.0] * len(names), 6), "recipe.yaml"),
        Table("tab:mix", w("cap.mix"), (w("head.source"), *stages), mix, "l" + "r" * len(names), (), "recipe.yaml"),
    )  # fmt: skip


def _result(key: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    if key == "peak_memory_bytes":
        return number(value / 2**30, ".2f")
    if key == "total_flos":
        return number(value, ".2e")
    if key.endswith("runtime"):
        return number(value, ",.2f")
    return number(value, ".3f") if key.endswith("per_second") else number(value)


def results(d: ReportData, w: Words) -> tuple[Block, ...]:
    """Curves, result table, what the checkpoints said."""
    out: list[Block] = [Para(w("training.text"))]
    trained = {s.name: s for s in d.stages}
    names = list(d.recipe.stages) or ["stage1", "stage2"]
    for i, name in enumerate([*names, *["stage2"] * (2 - len(names))], 1):
        key, label = f"fig:loss-{i}", w.known(f"model.{name}", name)
        if name in trained:
            out.append(figures.loss(trained[name], i, w))
        else:
            out.append(NotRun(key, w("cap.loss", stage=label), f"hearme train {d.run} --stage {name}"))
    if not d.stages:
        out.append(NotRun("tab:training", w("cap.training"), f"hearme train {d.run}"))
        return tuple(out)
    heads = [w("head.measure")]
    for i, s in enumerate(d.stages):
        heads.append(w.known(f"model.{s.name}", s.name))
        if i < len(TRAINING):
            heads.append(w("head.original"))
    rows = []
    for key in RESULTS:
        cells = [w(f"res.{key}")]
        for i, s in enumerate(d.stages):
            cells.append(_result(key, s.result.get(key)))
            if i < len(TRAINING):
                cells.append(_result(key, TRAINING[i].get(key)))
        rows.append(tuple(cells))
    files = ", ".join(f"{s.name}/result.json" for s in d.stages) + f"; seed {d.recipe.seed}"
    out.append(
        Table("tab:training", w("cap.training"), tuple(heads), tuple(rows), "l" + "r" * (len(heads) - 1), (), files)
    )
    if any(s.said for s in d.stages):
        out += [Heading(w("training.said", name=d.recipe.persona.name)), Para(w("training.said.text"))]
    for s in d.stages:
        if s.said:
            last = max(x.step for x in s.said)
            said = tuple(
                (w.known(f"said.{x.question}", x.question), " ".join(x.answer.split()))
                for x in s.said
                if x.step == last
            )
            name = w.known(f"model.{s.name}", s.name)
            out.append(
                Table(
                    f"tab:said-{s.name}",
                    w("cap.said", stage=name, step=last),
                    (w("head.question"), w("head.answer")),
                    said,
                    "ll",
                    (1, 3),
                    f"{s.name}/samples.jsonl",
                )
            )
    return tuple(out)  # fmt: skip
