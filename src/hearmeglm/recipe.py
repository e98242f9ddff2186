"""A Recipe: one YAML file that says everything about a run. Defaults live here, in these fields, and nowhere else.

Every field carries the explanation that the reference page and the studio show. All errors of a recipe are reported at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from .errors import RecipeError
from .files import sha256_json, write_text
from .sections import Report, Section

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Kind = Literal["counselling", "emoji", "knowledge", "self-cognition", "crisis"]
PERSONA_SOURCE = "persona"
"""Name of the source that is made from the persona file instead of being read."""


class Persona(Section):
    """Who the counsellor says it is; the self-cognition pairs are made from these."""

    name: str = Field("Jerry", min_length=1, description="The counsellor's name.")
    developer: str = Field("VastEpiphany", min_length=1, description="Who built it, as it shall answer.")
    role_zh: str = Field("AI心理支持咨询师", description="What it is, in Chinese.")
    role_en: str = Field("AI psychological-support counsellor", description="What it is, in English.")
    file: str | None = Field(
        None,
        description="A pairs file of your own (template placeholders {name}, {developer}, {role}); the packaged one if empty.",
    )


class Source(Section):
    """One data source."""

    format: str = Field("auto", description="Reader; `hearme data formats` lists them, `auto` recognises the file.")
    path: str = Field(
        "",
        description="File or folder, from the recipe's folder (shipped recipes: from the working directory); in YAML also a list, of which the first that exists is taken. Empty: the packaged corpus.",
    )
    kind: Kind = Field(
        "counselling", description="What it teaches: decides the stage that uses it by default and how it is counted."
    )
    enabled: bool = Field(True, description="Switch a source off without deleting it.")
    optional: bool = Field(False, description="If its path is missing: announce it and go on (otherwise an error).")
    limit: Positive | None = Field(
        None, description="Read at most this many dialogues (chosen by content and seed, not the first ones)."
    )
    only: list[Kind] = Field(
        default_factory=list,
        description="Of a source that holds several kinds (the packaged corpus), take only these; empty: all.",
    )
    licence: str = Field("", description="Licence of the data, for the licence ledger.")


class Split(Section):
    """Shares of the three splits, by dialogue and stratified by source."""

    train: Fraction = Field(0.8, description="Share used for training.")
    valid: Fraction = Field(0.1, description="Share for choosing the checkpoint (early stopping).")
    test: Fraction = Field(0.1, description="Share that is only ever used for the before/after evaluation.")
    reason: str = Field("", description="Why these shares; printed in the statistics and the report.")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + valid + test must be 1, found {total:g}")
        return self


class Limits(Section):
    """Caps on the number of dialogues per split, after splitting (persona pairs are not counted)."""

    train: Positive | None = Field(None, description="At most this many training dialogues.")
    valid: Positive | None = Field(None, description="At most this many validation dialogues.")
    test: Positive | None = Field(None, description="At most this many test dialogues.")


class Data(Section):
    """Where the dialogues come from and how they are divided."""

    sources: dict[str, Source] = Field(default_factory=dict, description="Data sources by name.")
    split: Split = Field(default_factory=Split, description="Shares of train, valid and test.")
    limits: Limits = Field(default_factory=Limits, description="Caps per split.")
    near_duplicate: Fraction = Field(
        0.8,
        description="Jaccard similarity of character 5-grams from which two dialogues count as near-duplicates and stay on one side of the split; 0 switches the search off.",
    )
    scrub: bool = Field(
        True, description="Replace personal data (names, phones, addresses …) by placeholders before training."
    )
    max_opening: Positive | None = Field(
        None, description="Keep at most this many dialogues that open with the same counsellor sentence."
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        if PERSONA_SOURCE in self.sources:
            raise ValueError(f"a source may not be named {PERSONA_SOURCE!r}: that name stands for the persona's pairs")
        return self


class Lora(Section):
    """Which weights are trained."""

    method: Literal["lora", "rslora", "dora", "pissa", "full"] = Field(
        "lora", description="LoRA and its variants, or full tuning."
    )
    rank: Positive = Field(8, description="Rank r of the adapter: how much it can learn, and its size.")
    alpha: Positive = Field(
        16, description="Scale: the update is multiplied by alpha / rank (rsLoRA: alpha / sqrt(rank))."
    )
    dropout: Fraction = Field(0.0, description="Dropout on the adapter's input.")
    targets: str | list[str] = Field("all-linear", description="Which modules get an adapter: `all-linear` or names.")
    lr_ratio: float | None = Field(
        None, gt=0, description="LoRA+: learning rate of B divided by that of A (16 is usual); empty: equal."
    )
    quantize: Literal["none", "nf4"] = Field(
        "none", description="QLoRA: keep the frozen base in 4 bits (needs bitsandbytes)."
    )
    start: str | None = Field(
        None,
        description="An adapter to go on from, a folder or the name of a shipped one: the first stage starts with its weights. Rank and alpha must be its own.",
    )


class Stage(Section):
    """One fine-tuning stage. A later stage continues the adapter of the one before it."""

    mix: dict[str, float] = Field(
        default_factory=dict,
        description="Sources of this stage and how many times each is seen per epoch (0.5: half of it, 2: twice).",
    )
    preferences: str | None = Field(
        None,
        description="A JSON Lines file of rated answers, `{prompt: [messages], chosen, rejected}`: turns the stage into preference tuning (DPO).",
    )
    beta: float = Field(
        0.1, gt=0, description="DPO: how dearly the model pays for leaving what it was before the stage."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    epochs: float = Field(3, gt=0, description="Passes over the mix.")
    max_steps: Positive | None = Field(
        None, description="Stop after this many optimizer steps, whatever the epochs say."
    )
    batch_size: Positive = Field(4, description="Dialogues a device sees at once.")
    accumulation: Positive = Field(8, description="Micro-batches per optimizer step.")
    max_length: Positive = Field(
        1024, description="Cutoff in tokens: later turns of a longer dialogue are cut at a turn's end."
    )
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup", "cosine_with_min_lr"] = Field(
        "cosine", description="How the learning rate falls."
    )
    warmup: Fraction = Field(0.0, description="Share of the steps in which the learning rate rises from 0.")
    optimizer: Literal["adamw", "adafactor", "sgd"] = Field("adamw", description="Optimizer.")
    weight_decay: float = Field(0.0, ge=0, description="Pull of the weights towards 0.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are shortened to it.")
    label_smoothing: Fraction = Field(0.0, description="Share of the target probability spread over all tokens.")
    neftune: float | None = Field(None, gt=0, description="NEFTune: noise on the input embeddings (5 is usual).")
    packing: bool = Field(True, description="Put dialogues end to end instead of padding; each attends to itself only.")
    checkpointing: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Gradient checkpointing: less memory, about a third more time; `auto` only when memory needs it.",
    )
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto", description="Number format of the frozen weights and the arithmetic."
    )
    eval_steps: Positive | None = Field(
        None, description="Evaluate every so many optimizer steps; empty: at the end of each epoch."
    )
    save_steps: Positive | None = Field(
        None, description="Write a checkpoint every so many optimizer steps; empty: at every evaluation."
    )
    data_seed: int | None = Field(
        None,
        description="Chooses which part of a source is seen and in which order; empty: the recipe's seed. A run that goes on from another one takes a new number to see other dialogues.",
    )
    patience: Positive | None = Field(
        None,
        description="Early stopping: evaluations without improvement before it stops; the best checkpoint is restored.",
    )
    freeze_layers: Annotated[int, Field(ge=0)] = Field(
        0, description="The first so many layers get no adapter (or stay frozen in full tuning)."
    )
    samples: bool = Field(True, description="Let every evaluated checkpoint answer the fixed questions.")
    trackers: list[str] = Field(
        default_factory=lambda: ["tensorboard"],
        description="Where the curves go beside metrics.jsonl: tensorboard, wandb …",
    )

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not self.mix and not self.preferences:
            raise ValueError("a stage needs a `mix` of sources, or `preferences`")
        return self

    def draw_seed(self, seed: int) -> int:
        """The seed of what is seen and in which order; `seed` is the recipe's."""
        return seed if self.data_seed is None else self.data_seed


class Sampling(Section):
    """How the next token is chosen. Temperature 0 is greedy."""

    temperature: float = Field(0.0, ge=0, le=5, description="0: always the likeliest token; higher: more varied.")
    top_p: Fraction = Field(1.0, description="Keep the smallest set of tokens whose probability reaches this.")
    top_k: Annotated[int, Field(ge=0)] = Field(0, description="Keep the k likeliest tokens; 0: all.")
    repetition_penalty: float = Field(1.0, gt=0, description="Divide the scores of tokens already used by this.")
    dry_multiplier: float | None = Field(
        None,
        ge=0,
        description="Penalise what repeats an earlier part of the reply (DRY). 0: off, 0.8: usual; empty: as the model's recipe.",
    )
    max_new_tokens: Positive = Field(128, description="Longest reply in tokens.")
    seed: int = Field(0, description="Seed of the draw; unused when greedy.")
    stop: tuple[str, ...] = Field((), description="Texts that end a reply (not part of it).")

    def settled(self, dry_multiplier: float | None) -> Sampling:
        """With a model's own `dry_multiplier` where none is given."""
        return self if self.dry_multiplier is not None else self.model_copy(update={"dry_multiplier": dry_multiplier})


class Evaluation(Section):
    """The before/after comparison on the test split."""

    models: list[str] = Field(
        default_factory=lambda: ["base", "base-prompted", "stage1", "stage2"],
        description="Who answers: `base`, `base-prompted` (persona and transcript in the prompt), and stages by name.",
    )
    turns: Literal["last", "every"] = Field("last", description="Answer the last counsellor turn, or every one.")
    limit: Positive | None = Field(None, description="At most this many prompts a model.")
    every: int = Field(
        0,
        ge=0,
        description="Beside `turns`: of so many of the dialogues answer every counsellor turn; last turns are mostly easy closings.",
    )
    sampling: Sampling = Field(default_factory=Sampling, description="Greedy unless said otherwise.")
    batch_size: Positive = Field(16, description="Prompts decoded together.")


class Recipe(Section):
    """Everything about a run."""

    name: str = Field(min_length=1, description="Name of the run.")
    description: str = Field("", description="One sentence for the list of runs.")
    seed: int = Field(42, ge=0, description="Seed of every draw.")
    base: str = Field(
        "starter", description="The base model: `starter` (embedded Gemma 3 270M), a local directory, or a hub id."
    )
    template: str = Field(
        "auto",
        description="Chat template; `hearme models templates` lists them. `auto`: from the base's special tokens.",
    )
    trust_remote_code: bool = Field(
        False, description="Run code that comes with a base model. Off unless you know why."
    )
    persona: Persona = Field(default_factory=Persona, description="Who the counsellor says it is.")
    data: Data = Field(default_factory=Data, description="Sources, split, limits.")
    stages: dict[str, Stage] = Field(default_factory=dict, description="Fine-tuning stages in order.")
    lora: Lora = Field(
        default_factory=Lora, description="One adapter for all stages: a later one continues its weights."
    )
    evaluation: Evaluation = Field(default_factory=Evaluation, description="Before/after comparison.")
    report: Report = Field(default_factory=Report, description="Cover and free texts of the report.")

    @field_validator("stages", mode="before")
    @classmethod
    def _one_adapter(cls, stages: Any) -> Any:
        for name, stage in stages.items() if isinstance(stages, dict) else ():
            if isinstance(stage, dict) and (wrong := sorted({"lora", "rank", "alpha", "targets"} & stage.keys())):
                raise ValueError(
                    f"{name}.{wrong[0]}: rank, alpha and targets belong to the recipe's `lora`, since each stage continues the same adapter"
                )
        return stages

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        known = {*self.data.sources, PERSONA_SOURCE}
        wrong = [
            f"stages.{s}.mix: no source named {n!r} (have {', '.join(sorted(known))})"
            for s, stage in self.stages.items()
            for n in stage.mix
            if n not in known
        ]
        models = {"base", "base-prompted", *self.stages}
        wrong += [
            f"evaluation.models: no model named {m!r} (have {', '.join(sorted(models))})"
            for m in self.evaluation.models
            if m not in models
        ]
        wrong += [
            f"stages: {s!r} is a reserved name" for s in self.stages if s in {"base", "base-prompted", "data", "evals"}
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def digest(self, *parts: str) -> str:
        """Sha256 of the named top-level parts (all if none): what decides whether a step must run again."""
        dump = self.model_dump(mode="json")
        return sha256_json({k: dump[k] for k in parts} if parts else dump)

    def save(self, path: Path) -> None:
        """Write the recipe with every default spelled out."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json"), allow_unicode=True, sort_keys=False))


def parse_recipe(tree: dict[str, Any], where: str = "recipe") -> Recipe:
    """Build a Recipe from a plain mapping; raises RecipeError that lists every fault."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as err:
        faults = []
        for e in err.errors():
            key = ".".join(str(p) for p in e["loc"]) or "recipe"
            message = "unknown key" if e["type"] == "extra_forbidden" else e["msg"].removeprefix("Value error, ")
            found = (
                ""
                if e["type"] in ("extra_forbidden", "missing") or isinstance(e["input"], dict | BaseModel)
                else f", found {e['input']!r}"
            )
            faults.append(f"{key}: {message}{found}")
        raise RecipeError("; ".join(faults), where=where, hint="see docs/reference/recipe.md for every key") from None
