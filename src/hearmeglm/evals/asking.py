"""Put talks to models, whatever they are: the models of a run in batches, or any RUN|MODEL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..chat.model import ChatModel, complete
from ..files import sha256_json
from ..models.reference import resolve
from ..models.template import Template
from ..recipe import Evaluation, Persona, Recipe, Sampling
from ..run import RunDir
from ..types import Message
from .answering import answer_locally, seed_of
from .contestants import Contestant, contestants
from .items import Item

GREEDY = Sampling(max_new_tokens=128)
Talk = tuple[str, Sequence[Message]]
"""An id and the messages to answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One model's replies to the talks, in their order, and the share that hit the cap."""

    model: str
    replies: list[str]
    capped: float


class Subject(Protocol):
    """A model that answers talks."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    def answer(self, talks: Sequence[Talk], sampling: Sampling, step: Callable[..., Any] = ...) -> Asked:
        """Replies to `talks`; `step` is called once for each."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """Weights at hand.

    Attributes:
        folder: where answers are kept between calls; None: nowhere.
    """

    name: str
    model: Any
    tokenizer: Any
    template: Template
    contestant: Contestant
    recipe: Recipe
    folder: Path | None = None

    def history(self, item: Item) -> tuple[Message, ...]:
        """The messages this model gets for an item."""
        return self.contestant.history(self.recipe.persona)(item)

    def answer(self, talks: Sequence[Talk], sampling: Sampling, step: Callable[..., Any] = lambda n=1: None) -> Asked:
        """See `Subject.answer`; batched, and answers already in `folder` are kept."""
        items = [Item(i, i, 0, tuple(m), "") for i, m in talks]
        sampling = sampling.settled(self.recipe.evaluation.sampling.dry_multiplier)
        rows = max(self.recipe.evaluation.batch_size, 32)
        plan = self.recipe.evaluation.model_copy(update={"sampling": sampling, "batch_size": rows})
        recipe = self.recipe.model_copy(update={"evaluation": plan})
        with tempfile.TemporaryDirectory() as scratch:
            file = (self.folder or Path(scratch)) / f"{self.name}.suites.jsonl"
            made, _ = answer_locally(
                self.model, self.tokenizer, self.template, self.contestant, items, recipe, file, step
            )
        capped = sum(g.finish_reason == "length" for g in made) / max(1, len(made))
        return Asked(self.name, [g.prediction for g in made], capped)


@dataclass(frozen=True)
class ServedModel:
    """A ChatModel: a server, a GGUF file, a script."""

    name: str
    model: ChatModel = field(repr=False)

    def answer(self, talks: Sequence[Talk], sampling: Sampling, step: Callable[..., Any] = lambda n=1: None) -> Asked:
        """See `Subject.answer`; one after the other."""
        replies, capped = [], 0
        for i, messages in talks:
            reply = complete(self.model, messages, sampling.model_copy(update={"seed": seed_of(i)}))
            replies.append(reply.text)
            capped += reply.finish_reason == "length"
            step()
        return Asked(self.name, replies, capped / max(1, len(replies)))


def subjects(where: str, models: Sequence[str] | None = None) -> Iterator[LoadedModel | ServedModel]:
    """The models that `where` (RUN|MODEL) means, loaded one after the other.

    Args:
        models: of a run, only these; by default those of its evaluation.
    """
    from ..models.load import load_model, load_tokenizer
    from ..models.template import find_template

    if (Path(where) / "recipe.yaml").is_file():
        yield from _of_run(RunDir.open(where), models)
        return
    ref = resolve(where)
    if ref.kind != "hf":
        from ..chat.open import open_model

        yield ServedModel(ref.name, open_model(ref))
        return
    own = Evaluation(models=["base"], sampling=Sampling(dry_multiplier=ref.dry_multiplier))
    recipe = Recipe(
        name="ask", base=ref.source, template=ref.template, trust_remote_code=ref.trust_remote_code, evaluation=own
    )
    tokenizer = load_tokenizer(ref.source, trust_remote_code=ref.trust_remote_code)
    model = load_model(ref.source, adapter=ref.adapter, trust_remote_code=ref.trust_remote_code)
    c = Contestant(ref.name, ref.source, ref.adapter, False, sha256_json([ref.source, str(ref.adapter)]))
    yield LoadedModel(ref.name, model, tokenizer, find_template(ref.template, tokenizer), c, recipe)


def _of_run(run: RunDir, models: Sequence[str] | None) -> Iterator[LoadedModel]:
    from ..models.load import load_model, load_tokenizer

    recipe = run.recipe
    plan = Evaluation(**{**recipe.evaluation.model_dump(), "models": list(models or recipe.evaluation.models)})
    recipe = Recipe(**{**recipe.model_dump(), "evaluation": plan.model_dump()})  # checks the names
    tokenizer = load_tokenizer(recipe.base, trust_remote_code=recipe.trust_remote_code)
    model: Any = None
    loaded_for: object = ()
    for c in contestants(recipe, run):
        if model is None or loaded_for != (c.base, c.adapter):
            model = None  # free the old weights first
            model = load_model(c.base, adapter=c.adapter, trust_remote_code=recipe.trust_remote_code)
            loaded_for = (c.base, c.adapter)
        template = c.template(recipe, tokenizer)
        yield LoadedModel(c.name, model, tokenizer, template, c, recipe, run.evals.path / "answers")


def ask(
    where: str,
    talks: Sequence[Talk],
    *,
    sampling: Sampling = GREEDY,
    models: Sequence[str] | None = None,
    system: str | None = None,
    progress: Callable[[str, int], Any] | None = None,
) -> Iterator[Asked]:
    """Every model's replies to every talk.

    Args:
        where: RUN|MODEL.
        system: a system message before each talk.
        progress: called with model and number of talks; a context manager that yields a step function.
    """
    show = progress or (lambda name, n: nullcontext(lambda k=1: None))
    head = (Message("system", system),) if system else ()
    for subject in subjects(where, models):
        with show(subject.name, len(talks)) as step:
            yield subject.answer([(i, (*head, *m)) for i, m in talks], sampling, step)


def persona_of(where: str) -> Persona:
    """The persona of a run, else the default one."""
    if (Path(where) / "recipe.yaml").is_file():
        return RunDir.open(where).recipe.persona
    return Persona()
