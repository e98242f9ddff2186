"""Before/after: every model of a recipe answers the same held-out prompts, and every answer is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import RunError
from ..files import sha256_file, write_json, write_jsonl
from ..recipe import Recipe
from ..run import Result, RunDir
from ..types import Generation, Score
from .answering import answer_locally, answer_remotely
from .contestants import BASE, PROMPTED, Contestant, contestants
from .heldout import Heldout, heldout
from .items import Item, draw_items, every_turn, read_dialogues
from .overlap import TOKENISATION
from .scoring import score_generations
from .summary import chart, summarise

FILES = ("summary.json", "overlap.png", "../generations.jsonl", "../scores.jsonl")


def evaluate(recipe: Recipe, run: RunDir, *, via: Mapping[str, str] | None = None) -> Result:
    """Generate, score and summarise; a second call with nothing changed does nothing, an interrupted one goes on.

    Args:
        via: models to ask elsewhere instead of loading their weights: name -> RUN|MODEL, for example
            `http://host:8000/v1#jerry` (vLLM, llama.cpp's server) or a `.gguf` file. Their held-out loss stays unknown.

    Writes:
        `generations.jsonl`, `scores.jsonl`, `evals/summary.json`, `evals/overlap.png`.

    Raises:
        RunError: data or a stage is missing, or no dialogue can be asked.
    """
    test = run.data.path / "test.jsonl"
    if not test.is_file():
        raise RunError(
            "expected data/test.jsonl in the run, found none",
            where=str(run.path),
            hint="`hearme prepare` makes it",
        )
    who = contestants(recipe, run)
    inputs = {
        "test": sha256_file(test),
        "recipe": recipe.digest("base", "template", "persona", "evaluation", "seed"),
        **{f"model:{c.name}": c.digest for c in who},
        **{f"via:{name}": ref for name, ref in (via or {}).items()},
    }
    if (earlier := run.evals.done(inputs)) is not None:
        return earlier
    plan = recipe.evaluation
    talks = read_dialogues(test)
    items = draw_items(talks, plan.turns, plan.limit, recipe.seed)
    if not items:
        raise RunError(
            "expected held-out counselling dialogues, found none",
            where=str(test),
            hint="raise the test share or its limit",
        )
    run.evals.begin()
    parts = [items, every_turn(talks, plan.every, recipe.seed)]
    generations: list[Generation] = []
    scores: list[Score] = []
    tables: list[dict[str, Any]] = [_counts(part) for part in parts]
    for c, number, replies, losses, runtime in _answers(who, parts, recipe, run, via or {}):
        marks = score_generations(replies, losses)
        tables[number]["models"][c.name] = summarise(
            replies, marks, losses, None if number else runtime, plan.batch_size
        )  # replies of the second part may stem from the first: its time is not its own
        if number == 0:
            generations += replies
            scores += marks
    summary = {
        **tables[0],
        **({"every": tables[1]} if plan.every else {}),
        "turns": plan.turns,
        "greedy": plan.sampling.temperature == 0,
        "sampling": plan.sampling.model_dump(mode="json"),
        "batch_size": plan.batch_size,
        "seed": recipe.seed,
        "tokenisation": TOKENISATION,
    }
    write_jsonl(run.generations, generations)
    write_jsonl(run.scores, scores)
    chart(summary, run.evals.path / "overlap.png")
    write_json(run.evals.path / "summary.json", summary)
    return run.evals.finish(inputs, summary, seed=recipe.seed, files=FILES)


def _counts(items: Sequence[Item]) -> dict[str, Any]:
    return {"models": {}, "dialogues": len({i.dialogue_id for i in items}), "prompts": len(items)}


def _answers(
    who: Sequence[Contestant], parts: Sequence[Sequence[Item]], recipe: Recipe, run: RunDir, via: Mapping[str, str]
) -> Iterator[tuple[Contestant, int, list[Generation], list[Heldout], float]]:
    """Answers and losses model by model and part by part; weights are loaded once per adapter (base and prompted base share them)."""
    from ..models.load import load_model, load_tokenizer

    loaded: Any = None
    loaded_for: object = ()
    tokenizer: Any = None
    for c in who:
        file = run.evals.path / "answers" / f"{c.name}.jsonl"
        if c.name not in via and (loaded is None or loaded_for != (c.base, c.adapter)):
            loaded = None  # free the old weights first
            tokenizer = tokenizer or load_tokenizer(recipe.base, trust_remote_code=recipe.trust_remote_code)
            loaded = load_model(c.base, adapter=c.adapter, trust_remote_code=recipe.trust_remote_code)
            loaded_for = (c.base, c.adapter)
        for number, items in enumerate(parts):
            if not items:
                continue
            with progress(f"{c.name}: answers", len(items)) as step:
                if c.name in via:
                    from ..chat.open import open_model

                    replies, runtime = answer_remotely(open_model(via[c.name]), c, items, recipe, file, step)
                    yield c, number, replies, [], runtime
                    continue
                template = c.template(recipe, tokenizer)
                replies, runtime = answer_locally(loaded, tokenizer, template, c, items, recipe, file, step)
            with progress(f"{c.name}: held-out loss", len(items)) as step:
                losses = heldout(loaded, tokenizer, template, items, c.history(recipe.persona), step)
            yield c, number, replies, losses, runtime


@contextmanager
def progress(label: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr; yields `step(n=1)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n=1: bar.advance(task, n)


__all__ = ["BASE", "FILES", "PROMPTED", "evaluate"]
