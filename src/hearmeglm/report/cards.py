"""Model card and data card in the hub's format (YAML head, Markdown body), from the same data as the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..data.licences import normalise
from ..errors import UserError
from ..files import write_text
from ..run import RunDir
from .blocks import LANGS, Block, Bullets, Lang, NotRun, Para, Table
from .collect import collect
from .data import ReportData
from .sections import closing, corpus, evaluation, story, training
from .words import Words, number

NAMES = {"model": "model-card.md", "data": "data-card.md"}
MODEL = (
    ("base", story.base),
    ("setup", training.setup),
    ("training", training.results),
    ("results", evaluation.before_after),
    ("persona", evaluation.persona),
    ("safety", closing.safety),
    ("limits", closing.limits),
    ("licences", closing.licences),
    ("reproduce", closing.reproduce),
)
DATA = (
    ("sources", corpus.sources),
    ("samples", corpus.samples),
    ("cleaning", corpus.cleaning),
    ("split", corpus.split),
    ("licences", closing.licences),
)
HUB_BASE = {"starter": "google/gemma-3-270m"}
BODY = {
    "model": {
        "zh": "{name}（{developer}）是在 `{base}` 上微调的心理支持对话模型。它是研究与演示用的模型，不是医疗服务；危机时请联系当地紧急电话或热线。",
        "en": "{name} (by {developer}) is a dialogue model for psychological support, tuned from `{base}`. It is for research and demonstration, not care; in a crisis call your local emergency number or hotline.",
    },
    "data": {
        "zh": "训练 {name} 所用对话的来源、清洗与划分。来访者的原话可能涉及痛苦与自伤；个人信息已在训练前替换。",
        "en": "Sources, cleaning and split of the dialogues that {name} was tuned on. Clients' words may be about pain and self-harm; personal data were replaced before training.",
    },
}


def write_cards(run: RunDir, *, kind: str = "both", out: Path | None = None) -> list[Path]:
    """Write the cards of a run.

    Args:
        kind: model, data, or both.
        out: folder; `RUN/report` if None.

    Raises:
        UserError: another kind.
    """
    if kind not in (*NAMES, "both"):
        raise UserError(f"expected model, data or both, found {kind!r}", where="--kind")
    d = collect(run)
    made = []
    for name in NAMES if kind == "both" else (kind,):
        path = (out or run.path / "report") / NAMES[name]
        write_text(path, model_card(d) if name == "model" else data_card(d))
        made.append(path)
    return made


def model_card(d: ReportData) -> str:
    """The model card: head for the hub, then Chinese and English."""
    head: dict[str, Any] = {
        "language": ["zh", "en"],
        "license": "gemma" if d.recipe.base == "starter" else "other",
        "base_model": HUB_BASE.get(d.recipe.base, d.base_name),
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["psychological-support", "counselling", "lora", "hearmeglm"],
        "datasets": [n for n, s in d.recipe.data.sources.items() if s.enabled],
    }
    if (results := _index(d)) is not None:
        head["model-index"] = [results]
    return _card(d, "model", d.recipe.persona.name, head, MODEL)


def data_card(d: ReportData) -> str:
    """The data card: head for the hub, then Chinese and English."""
    size = sum(s.dialogues for s in d.data.splits) if d.data else 0
    licences = sorted({normalise(s.licence).lower() for s in d.recipe.data.sources.values() if s.enabled and s.licence})
    head = {
        "language": ["zh", "en"],
        "license": licences or ["unknown"],
        "task_categories": ["text-generation"],
        "tags": ["psychological-support", "counselling", "dialogue"],
        "size_categories": [_size(size)],
        "configs": [{"config_name": "default", "data_files": [{"split": _SPLIT[s.name], "path": f"{s.name}.jsonl"} for s in d.data.splits]}] if d.data else [],
    }  # fmt: skip
    return _card(d, "data", f"{d.recipe.name}: data", head, DATA)


_SPLIT = {"train": "train", "valid": "validation", "test": "test"}


def _size(n: int) -> str:
    return "n<1K" if n < 1000 else "1K<n<10K" if n < 10_000 else "10K<n<100K" if n < 100_000 else "100K<n<1M"


def _index(d: ReportData) -> dict[str, Any] | None:
    """The hub's `model-index`: what the tuned model scored on the run's test split."""
    found = d.evals.model(d.tuned) if d.evals else None
    if found is None or d.evals is None:
        return None
    names = {
        "bleu-4": "BLEU-4 (characters)",
        "rouge-1": "ROUGE-1",
        "rouge-2": "ROUGE-2",
        "rouge-l": "ROUGE-L",
        "loss": "held-out loss (nats/token)",
    }
    metrics = [
        {"type": key.split("-")[0], "name": label, "value": value}
        for key, label in names.items()
        if (value := found.values.get(key)) is not None
    ]
    result = {
        "task": {"type": "text-generation"},
        "dataset": {
            "type": d.recipe.name,
            "name": f"{d.recipe.name} test split, n = {d.evals.prompts}",
            "split": "test",
        },
        "metrics": metrics,
    }
    return {"name": d.recipe.persona.name, "results": [result]}  # fmt: skip


def _card(d: ReportData, kind: str, title: str, head: Mapping[str, Any], parts: Any) -> str:
    who = d.recipe.persona
    out = ["---", yaml.safe_dump(dict(head), allow_unicode=True, sort_keys=False).strip(), "---", "", f"# {title}", ""]
    for lang in LANGS:
        w = Words(lang)
        text = BODY[kind][lang].format(name=who.name, developer=who.developer, base=d.base_name)
        out += [f"## {w('label.lang')}", "", text, ""]
        for key, build in parts:
            out += [f"### {w(f'sec.{key}')}", ""]
            for block in build(d, w):
                out += _markdown(block, lang, w)
    out += [f"<!-- hearme card: run {d.run}, recipe {d.recipe_digest[:16]}, seed {number(d.recipe.seed)} -->", ""]
    return "\n".join(out)


def _markdown(block: Block, lang: Lang, w: Words) -> list[str]:
    """A block as Markdown; pictures, chats and listings stay in the report."""
    if isinstance(block, Para):
        return [block.text, ""]
    if isinstance(block, Bullets):
        return [*(f"{i}. {t}" if block.ordered else f"- {t}" for i, t in enumerate(block.items, 1)), ""]
    if isinstance(block, NotRun):
        return [f"> **{w('label.notrun')}** {block.text}" + (f" — `{block.command}`" if block.command else ""), ""]
    if isinstance(block, Table):
        rule = ["---:" if block.align[i : i + 1] == "r" else "---" for i in range(len(block.head))]
        lines = [_row(block.head), _row(rule), *map(_row, block.rows)]
        source = [f"{w('label.source')}: `{block.source}`", ""] if block.source else []
        return [f"**{block.caption}**", "", *lines, "", *source]
    return []


def _row(cells: Any) -> str:
    return "| " + " | ".join(" ".join(str(c).split()).replace("|", "\\|") for c in cells) + " |"
