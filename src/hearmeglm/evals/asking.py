"""Put a list of talks to models, whatever they are: the models of a run in batches, or any RUN|MODEL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..chat.model import complete
from ..files import sha256_json
from ..models.reference import ModelRef, resolve
from ..recipe import Evaluation, Persona, Recipe, Sampling
from ..run import RunDir
from ..types import Message
from .answering import answer_locally, seed_of
from .contestants import BASE, PROMPTED, Contestant, contestants
from .items import Item

GREEDY = Sampling(max_new_tokens=128)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class Asked:
    """One model's replies to the talks, in their order; `tokens` as counted by the model."""

    model: str
    replies: list[str]
    capped: float


@dataclass(frozen=True, slots=True)
class Target:
    """A model to ask: loaded weights of a run or reference, or a ChatModel."""

    name: str
    contestant: Contestant | None
    ref: ModelRef | None


def targets(where: str, models: Sequence[str] | None = None) -> tuple[list[Target], Recipe | None, Path | None]:
    """The models that `where` (RUN|MODEL) means: those of a run's evaluation, or one model.

    Args:
        models: only these of a run.

    Returns:
        Targets, the run's recipe and the folder that keeps answers (None for a single model).
    """
    if (Path(where) / "recipe.yaml").is_file():
        run = RunDir.open(where)
        recipe = run.recipe
        wanted = list(models or recipe.evaluation.models)
        plan = Evaluation(**{**recipe.evaluation.model_dump(), "models": wanted})
        recipe = Recipe(**{**recipe.model_dump(), "evaluation": plan.model_dump()})
        return [Target(c.name, c, None) for c in contestants(recipe, run)], recipe, run.evals.path / "answers"
    ref = resolve(where)
    return [Target(ref.name, None, ref)], None, None


def ask(
    where: str,
    talks: Sequence[tuple[str, Sequence[Message]]],
    *,
    sampling: Sampling = GREEDY,
    models: Sequence[str] | None = None,
    system: str | None = None,
    progress: Callable[[str, int], Any] | None = None,
) -> Iterator[Asked]:
    """Every model's replies to every talk `(id, messages)`.

    Args:
        where: RUN|MODEL.
        models: of a run, only these.
        system: a system message before each talk.
        progress: called with model and number of talks; a context manager that yields a step function.
    """
    from contextlib import nullcontext

    show = progress or (lambda name, n: nullcontext(lambda k=1: None))
    head = (Message("system", system),) if system else ()
    items = [Item(i, i, 0, (*head, *m), "") for i, m in talks]
    found, recipe, folder = targets(where, models)
    loaded: dict[object, Any] = {}
    for target in found:
        with show(target.name, len(items)) as step:
            if target.ref is not None and target.ref.kind != "hf":
                yield _ask_chat(target, items, sampling, step)
                continue
            yield _ask_weights(target, recipe, folder, items, sampling, step, loaded)


def _ask_chat(target: Target, items: Sequence[Item], sampling: Sampling, step: Callable[..., Any]) -> Asked:
    from ..chat.open import open_model

    model = open_model(target.ref)
    replies, capped = [], 0
    for item in items:
        reply = complete(model, item.messages, sampling.model_copy(update={"seed": seed_of(item.id)}))
        replies.append(reply.text)
        capped += reply.finish_reason == "length"
        step()
    return Asked(target.name, replies, capped / max(1, len(items)))


def _ask_weights(
    target: Target,
    recipe: Recipe | None,
    folder: Path | None,
    items: Sequence[Item],
    sampling: Sampling,
    step: Callable[..., Any],
    loaded: dict[object, Any],
) -> Asked:
    import tempfile

    from ..models.load import load_model, load_tokenizer

    c, ref = target.contestant, target.ref
    if c is None:
        assert ref is not None
        c = Contestant(ref.name, ref.adapter, False, sha256_json([ref.source, str(ref.adapter)]))
        recipe = Recipe(name="ask", base=ref.source, template=ref.template, trust_remote_code=ref.trust_remote_code)  # type: ignore[call-arg]
    assert recipe is not None
    plan = recipe.evaluation.model_copy(
        update={"sampling": sampling, "batch_size": max(recipe.evaluation.batch_size, 32)}
    )
    recipe = recipe.model_copy(update={"evaluation": plan})
    if "tokenizer" not in loaded:
        loaded["tokenizer"] = load_tokenizer(recipe.base, trust_remote_code=recipe.trust_remote_code)
    if loaded.get("adapter", "none yet") != c.adapter:
        loaded.pop("model", None)
        loaded["model"] = load_model(recipe.base, adapter=c.adapter, trust_remote_code=recipe.trust_remote_code)
        loaded["adapter"] = c.adapter
    tokenizer = loaded["tokenizer"]
    template = c.template(recipe, tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        file = (folder or Path(scratch)) / f"{c.name}.suites.jsonl"
        made, _ = answer_locally(loaded["model"], tokenizer, template, c, items, recipe, file, step)
    capped = sum(g.finish_reason == "length" for g in made) / max(1, len(made))
    return Asked(c.name, [g.prediction for g in made], capped)


def persona_of(where: str) -> Persona:
    """The persona of a run, else the default one."""
    if (Path(where) / "recipe.yaml").is_file():
        return RunDir.open(where).recipe.persona
    return Persona()  # type: ignore[call-arg]


__all__ = ["BASE", "GREEDY", "PROMPTED", "Asked", "ask", "persona_of", "targets"]
