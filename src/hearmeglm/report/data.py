"""What the report knows about a run: typed, built from the run's files, None where a step did not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..recipe import Recipe, Stage
from ..types import Dialogue, Generation, Message


@dataclass(frozen=True, slots=True)
class Made:
    """How a step was made, from its manifest.

    Attributes:
        finished: local time of the machine, ISO 8601 with offset.
        inputs, files: name -> sha256.
    """

    step: str
    finished: str
    seed: int
    machine: str
    commit: str
    versions: Mapping[str, str]
    inputs: Mapping[str, str]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Spread:
    """n, mean and quantiles of a length; n 0 means that there was nothing to measure."""

    n: int
    mean: float = 0.0
    min: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceData:
    """One data source after preparing. `lengths` and `turns_each` are of the dialogues kept, in characters and turns."""

    name: str
    kind: str
    format: str
    licence: str
    missing: bool
    read: int
    kept: int
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    turns: int
    languages: Mapping[str, int]
    characters: Spread
    reply_characters: Spread
    lengths: tuple[int, ...] = ()
    turns_each: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitData:
    """One split: how many dialogues and counsellor turns, and from where."""

    name: str
    dialogues: int
    turns: int
    sources: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """How often one thing was done for one reason."""

    source: str
    action: str
    reason: str
    n: int


@dataclass(frozen=True, slots=True)
class DataPart:
    """The prepared data."""

    sources: tuple[SourceData, ...]
    splits: tuple[SplitData, ...]
    persona_pairs: int
    near_duplicate_groups: int
    ledger: tuple[LedgerLine, ...]
    example: Dialogue | None
    emoji_example: Dialogue | None
    made: Made | None


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve: optimizer step and loss in nats per supervised token."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Said:
    """What a checkpoint answered to a fixed question."""

    step: int
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class StagePart:
    """One trained stage: settings, result (names as transformers has them), curves, answers of its checkpoints."""

    name: str
    settings: Stage
    result: Mapping[str, float | int | str | bool | None]
    train: tuple[Point, ...]
    valid: tuple[Point, ...]
    said: tuple[Said, ...]
    adapter_bytes: int
    made: Made | None


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One model of the before/after comparison: metric -> value, None where unknown."""

    name: str
    values: Mapping[str, float | None]
    unscored: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Delta:
    """A paired difference `after - before` of one metric with its 95 % interval and permutation p over dialogues."""

    metric: str
    before: str
    after: str
    mean_before: float
    mean_after: float
    difference: float
    low: float
    high: float
    p: float
    dialogues: int
    prompts: int


@dataclass(frozen=True, slots=True)
class EvalPart:
    """The before/after comparison; `every`: the same models on every counsellor turn of some of the dialogues."""

    models: tuple[ModelPart, ...]
    deltas: tuple[Delta, ...]
    dialogues: int
    prompts: int
    turns: str
    seed: int
    batch_size: int
    sampling: Mapping[str, float | int | str]
    tokenisation: str
    made: Made | None
    every: tuple[ModelPart, ...] = ()
    every_prompts: int = 0
    every_dialogues: int = 0

    def model(self, name: str) -> ModelPart | None:
        """The model called `name`."""
        return next((m for m in self.models if m.name == name), None)


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """Passed of n for one model on one suite; `kinds` is (kind, passed, n); `figures` are further named numbers."""

    model: str
    n: int
    passed: int
    kinds: tuple[tuple[str, int, int], ...]
    figures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuitePart:
    """One suite of questions (persona, style, crisis …) put to models."""

    name: str
    digest: str
    file: str
    scores: tuple[SuiteScore, ...]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """One model on the keyed questions: accuracy with its 95 % interval, recall and F1 averaged over the letters."""

    model: str
    n: int
    unscored: int
    accuracy: float | None
    low: float | None
    high: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class JudgeMean:
    """One criterion of one model: mean, 95 % interval, number scored and unscored."""

    model: str
    criterion: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int


@dataclass(frozen=True, slots=True)
class JudgePart:
    """What the judges said; `agreement` is (criterion, Krippendorff's alpha or None, units)."""

    mode: str
    judges: tuple[str, ...]
    means: tuple[JudgeMean, ...]
    agreement: tuple[tuple[str, float | None, int], ...]
    raw: str
    seed: int
    file: str


@dataclass(frozen=True, slots=True)
class StyleRow:
    """Style of one model's replies (`reference`: the counsellors'): metric -> mean, None without a reply it applies to."""

    model: str
    n: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Episode:
    """A talk shown as a picture. `model` answered the assistant turns; `sampling` as the run has it."""

    name: str
    model: str
    system: str
    sampling: str
    messages: tuple[Message, ...]
    file: str


@dataclass(frozen=True, slots=True)
class GuardRow:
    """How often the guard sees a crisis in one kind of texts, with its 95 % Wilson interval."""

    name: str
    kind: str
    n: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Capture:
    """A picture of the studio or a terminal at one moment."""

    where: str
    moment: str
    path: Path


@dataclass(frozen=True, slots=True)
class Owner:
    """Who hands the report in; empty strings are blank lines on the cover."""

    student_id: str
    name: str
    class_name: str
    instructor: str
    grade: str
    date: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report, a model card or a data card says about a run."""

    run: str
    recipe: Recipe
    recipe_digest: str
    owner: Owner
    data: DataPart | None
    stages: tuple[StagePart, ...]
    evals: EvalPart | None
    judge: JudgePart | None
    suites: tuple[SuitePart, ...]
    knowledge: tuple[Knowledge, ...]
    style: tuple[StyleRow, ...]
    heldout: tuple[Generation, ...]
    episodes: tuple[Episode, ...]
    captures: tuple[Capture, ...]
    guard: tuple[GuardRow, ...]
    bench: tuple[Mapping[str, float | str | None], ...]
    log: tuple[Made, ...]

    def suite(self, name: str) -> SuitePart | None:
        """The suite called `name`."""
        return next((s for s in self.suites if s.name == name), None)

    def episode(self, name: str, model: str = "") -> Episode | None:
        """The episode called `name`, of `model` if that is given."""
        return next((e for e in self.episodes if e.name == name and model in ("", e.model)), None)

    @property
    def base_name(self) -> str:
        """The base as it may be printed: a local folder by its last name, since a report travels."""
        base = self.recipe.base
        return Path(base).name if Path(base).is_absolute() else base

    @property
    def tuned(self) -> str:
        """Name of the last trained stage of the recipe (the last one planned if none is trained)."""
        names = [s.name for s in self.stages] or list(self.recipe.stages)
        return names[-1] if names else "base"
