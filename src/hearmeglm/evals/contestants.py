"""Who answers in a before/after comparison: the base, the base with a prompt, and every tuned stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import sha256_file, sha256_json
from ..models.reference import stage_weights
from ..models.template import Template, find_template, load_template
from ..recipe import Persona, Recipe
from ..run import RunDir
from ..types import Message
from .items import Item

BASE, PROMPTED = "base", "base-prompted"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model of the comparison.

    Attributes:
        name: `base`, `base-prompted` or a stage's name.
        base: directory or hub id of the model that is loaded.
        adapter: PEFT adapter directory; None for the base and for fully tuned models.
        prompted: True for the base with persona and transcript in its prompt.
        digest: of everything besides prompt and sampling that decides its replies.
    """

    name: str
    base: str
    adapter: Path | None
    prompted: bool
    digest: str

    def history(self, persona: Persona) -> Callable[[Item], tuple[Message, ...]]:
        """The messages that this model gets for an item: everyone the same ones, the prompted base its persona before them."""
        if not self.prompted:
            return lambda item: item.messages
        sentence = persona_sentence(persona)

        def prompted(item: Item) -> tuple[Message, ...]:
            system = [m.content for m in item.messages if m.role == "system"]
            rest = tuple(m for m in item.messages if m.role != "system")
            return (Message("system", "\n".join([sentence, *system])), *rest)

        return prompted

    def template(self, recipe: Recipe, tokenizer: Any) -> Template:
        """The run's template; for the prompted base the plain transcript."""
        return load_template("plain") if self.prompted else find_template(recipe.template, tokenizer)


def contestants(recipe: Recipe, run: RunDir) -> list[Contestant]:
    """The models of `recipe.evaluation.models` in order.

    Raises:
        RunError: a stage is not trained yet.
    """
    out = []
    for name in recipe.evaluation.models:
        tuned = name not in (BASE, PROMPTED)
        base, adapter = stage_weights(run, name) if tuned else (recipe.base, None)
        weights = _digest(adapter or Path(base)) if tuned else ""
        digest = sha256_json([recipe.base, recipe.template, recipe.trust_remote_code, weights])
        out.append(Contestant(name, base, adapter, name == PROMPTED, digest))
    return out


def _digest(adapter: Path) -> str:
    files = sorted(
        p for p in adapter.iterdir() if p.suffix in {".safetensors", ".bin"} or p.name == "adapter_config.json"
    )
    return sha256_json([[p.name, sha256_file(p)] for p in files])


def persona_sentence(persona: Persona) -> str:
    """What the prompted base is told about itself, in one sentence."""
    return (
        f"你是{persona.name}，由{persona.developer}开发的{persona.role_zh}。"
        "以下是你与来访者的对话，请用温和、简短、像真人聊天的语气回应来访者。"
    )


def cut_at(text: str, stops: Sequence[str]) -> str:
    """`text` up to the first stop text."""
    return text[: min((at for s in stops if (at := text.find(s)) >= 0), default=len(text))]
