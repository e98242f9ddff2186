"""Before you start: what a recipe's training will take on this machine, from its data, its model's shapes and a short probe."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..models.template import Encoded
from ..recipe import Recipe, Stage
from ..run import RunDir
from .memory import Shape, device_memory, shape_of, table, training_bytes, widest

PROBE_SECONDS = 14.0
PROBE_LIMIT = 2e9
"""Parameters above which no probe is run: loading alone would take minutes."""
ANSWER_STEPS = 48
HOLES = 1.6
"""glibc keeps holes between micro-batches of different sizes: activations of a whole stage took 1.2 to 1.6 times the probe's."""
FORWARD_SHARE = 0.4
"""Evaluation's time per token as a share of training's (forward only)."""


@dataclass(frozen=True)
class StagePlan:
    """One stage: `tokens` real tokens in all `steps`; seconds and bytes are None where they could not be told."""

    stage: str
    examples: int
    tokens: int
    supervised_tokens: int
    steps: int
    evaluations: int
    seconds: float | None
    peak_bytes: float
    checkpointing: bool


@dataclass(frozen=True)
class Plan:
    """What training will take.

    Attributes:
        tokens_per_second: measured by the probe; None without one.
        memory: total and available bytes of the device that trains.
        table: for bases of 1e9 parameters and more: memory by batch, weight format and checkpointing, for a plain stack and for this engine.
        notes: what limits the figures.
    """

    base: str
    device: str
    parameters: int
    trainable: int
    stages: list[StagePlan]
    tokens_per_second: float | None
    memory: dict[str, int]
    fits: bool
    seconds: float | None
    table: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Probe:
    tokens_per_second: float
    bytes_before: float
    bytes_per_token: float
    answer_seconds: float
    load_seconds: float


def plan(recipe: Recipe, run: RunDir | None = None) -> Plan:
    """Estimate parameters, tokens, steps, time and peak memory of every stage.

    Args:
        run: a run whose prepared data is used; without one the data is prepared into a temporary folder.

    Raises:
        DataError, ModelError, RecipeError: as the training itself would.
    """
    from ..models.load import default_device, load_tokenizer, quiet_libraries
    from ..models.template import find_template
    from .arguments import make_schedule
    from .mix import build_mix

    quiet_libraries()
    device = default_device()
    shape = model_shape(recipe)
    tokenizer = load_tokenizer(recipe.base, trust_remote_code=recipe.trust_remote_code)
    template = find_template(recipe.template, tokenizer)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (
            run.data.path
            if run is not None and (run.data.path / "train.jsonl").is_file()
            else _prepare(recipe, Path(temporary))
        )
        mixes = {name: build_mix(recipe, name, folder, template, tokenizer) for name in recipe.stages}
    last = list(recipe.stages)[-1]
    probe = _probe(recipe, recipe.stages[last], mixes[last].train, device) if shape.parameters < PROBE_LIMIT else None
    notes = [] if probe else ["no probe for a base of this size: memory by arithmetic (within 10 to 15 %), no time"]
    stages = []
    for name, mix in mixes.items():
        from ..models.collate import order

        settings = recipe.stages[name]
        lengths = [len(e.input_ids) for e in mix.train]
        schedule, indices = make_schedule(
            settings,
            len(mix.train),
            order(lengths, settings.epochs, settings.batch_size, settings.draw_seed(recipe.seed)),
            1,
            bool(mix.valid),
        )
        tokens = sum(lengths[i] for i in indices)
        evaluations = sum(schedule.evaluates(s) for s in range(1, schedule.steps + 1))
        largest = widest(lengths, indices, settings.batch_size)
        held_out = sum(len(e.input_ids) for e in mix.valid) * evaluations
        seconds = None
        if probe:
            answers = evaluations * probe.answer_seconds if settings.samples else 0.0
            seconds = probe.load_seconds + (tokens + held_out * FORWARD_SHARE) / probe.tokens_per_second + answers
        peak = _peak(recipe, settings, shape, largest, probe)
        if settings.patience:
            notes.append(f"{name}: early stopping may end it sooner")
        learnt = sum(sum(y != -100 for y in mix.train[i].labels[1:]) for i in indices)
        stages.append(
            StagePlan(
                name,
                len(indices),
                tokens,
                learnt,
                schedule.steps,
                evaluations,
                seconds,
                peak,
                settings.checkpointing == "on",
            )
        )
        notes += [f"{name}: {n}" for n in mix.notes]
    memory = device_memory(device)
    fits = max((s.peak_bytes for s in stages), default=0.0) <= memory["available"]
    total = sum(s.seconds or 0.0 for s in stages) if probe else None
    tables = (
        {}
        if shape.parameters < 1e9
        else {"plain stack": table(shape, 1024, fused=False), "this engine": table(shape, 1024, fused=True)}
    )
    return Plan(
        recipe.base,
        device,
        shape.parameters,
        shape.trainable,
        stages,
        probe.tokens_per_second if probe else None,
        memory,
        fits,
        total,
        tables,
        notes,
    )


def model_shape(recipe: Recipe) -> Shape:
    """Sizes and trained parameters of the recipe's base, without loading a weight."""
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from ..models.load import base_dir
    from .adapter import lora_config

    config = AutoConfig.from_pretrained(base_dir(recipe.base), trust_remote_code=recipe.trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code)
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    total = sum(p.numel() for p in model.parameters())
    if recipe.lora.method == "full":
        return shape_of(config, total, linear, total)
    plain = recipe.lora.model_copy(
        update={"method": "lora"}
    )  # as many parameters, and no decomposition of meta weights
    with torch.device("meta"):
        wrapped = get_peft_model(model, lora_config(plain, model, next(iter(recipe.stages.values())).freeze_layers))
    trainable = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    return shape_of(config, total + trainable, linear, trainable)


def _prepare(recipe: Recipe, folder: Path) -> Path:
    from ..data.prepare import prepare

    run = RunDir.create(folder / "run", recipe)
    prepare(recipe, run)
    return run.data.path


def _peak(recipe: Recipe, settings: Stage, shape: Shape, largest: int, probe: _Probe | None) -> float:
    if probe:
        return probe.bytes_before + probe.bytes_per_token * largest
    return training_bytes(
        shape, largest, four_bit=recipe.lora.quantize == "nf4", checkpointing=settings.checkpointing == "on", fused=True
    )


def _probe(recipe: Recipe, settings: Stage, examples: list[Encoded], device: str) -> _Probe:
    """Train on a few micro-batches of typical length for at most `PROBE_SECONDS` and throw the result away."""
    import torch

    from ..models.collate import pack, pad
    from ..models.engine import accelerate_training, checkpoint_layers
    from .adapter import build_model
    from .samples import seconds_to_answer
    from .usage import forget_peak, memory_now, peak_memory

    begun = time.perf_counter()
    model = build_model(recipe, settings, None, device)
    engine = accelerate_training(model, packing=settings.packing)
    if settings.checkpointing == "on":
        checkpoint_layers(model)
    load = time.perf_counter() - begun
    typical = sorted(examples, key=lambda e: len(e.input_ids))
    middle = len(typical) // 2
    batch = (typical[middle:] + typical[:middle])[: settings.batch_size]
    tokens = sum(len(e.input_ids) for e in batch)
    before = float(memory_now(torch))  # not the peak so far: loading holds weights twice for a moment
    forget_peak(torch)

    def work(some: list[Encoded]) -> float:
        start = time.perf_counter()
        made = pack(some) if engine.packing else pad(some, 0)
        moved = {k: v.to(device) if torch.is_tensor(v) else v for k, v in made.items()}
        model(**moved).loss.backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    with engine.training(model):
        work(batch[:1])  # first-time costs of the libraries
        times = [work(batch)]
        while sum(times) + times[-1] < PROBE_SECONDS and len(times) < 5:
            times.append(work(batch))
    peak = float(peak_memory(torch))
    answers = seconds_to_answer(model, ANSWER_STEPS) if settings.samples else 0.0
    return _Probe(
        tokens / min(sum(times) / len(times), sorted(times)[len(times) // 2]),
        before,
        max(peak - before, 0.0) / tokens * (HOLES if device == "cpu" else 1.0),
        answers,
        load,
    )
