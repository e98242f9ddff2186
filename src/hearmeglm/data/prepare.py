"""Prepare a run's data: raw sources in; train, valid and test out, with a ledger of everything that was changed or left out.

RUN/data/{train,valid,test}.jsonl   a Dialogue a line (also a valid OpenAI `messages` line)
RUN/data/ledger.jsonl               source, file, place, reason, action, detail
RUN/data/stats.json                 per source: read = kept + dropped, why, lengths; splits; openings
RUN/data/figures/                   length histograms per source, shares of sources and splits
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import DataError, HearmeError
from ..files import sha256_file, write_json, write_jsonl
from ..recipe import PERSONA_SOURCE, Data, Recipe, Source
from ..run import Result, RunDir
from ..types import Dialogue
from . import figures, identity, length, licences, persona, privacy, sources, starter, stats
from .clean import Cleaner
from .dedup import Signatures, comparable, content_key, groups, near_pairs
from .openings import count as count_openings
from .openings import opening
from .prose import speak
from .records import Note
from .split import SPLITS, assign, draw, sample

LEARNT = ("train", "valid")
LISTED = "list or heading in a counsellor's turn"
EVALUATION_ONLY = {"psysuicide"}


@dataclass
class Gathered:
    """What one source gave.

    Attributes:
        read: records found.
        dropped: how many of them were lost, by reason.
        kept: the dialogues that are left.
        licence: as the recipe or the data says.
    """

    name: str
    source: Source
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    kept: list[Dialogue] = field(default_factory=list)
    missing: bool = False

    def drop(self, reason: str) -> None:
        self.dropped[reason] += 1


def prepare(recipe: Recipe, run: RunDir) -> Result:
    """Read, clean, deduplicate, scrub and split the recipe's sources into the run's `data` folder.

    A second call with the same recipe and the same files does nothing and says so.

    Returns:
        The step's Result; its summary holds `splits`, `sources` (read, kept, dropped by reason), `missing` (optional sources
        that were not there) and `near_duplicate_groups`.

    Raises:
        DataError: a source that is missing and not optional, cannot be read, or has nothing to train on.
        HearmeError: a record that is neither kept nor dropped, or a role label left in a reply (faults of ours).
    """
    with_persona = any(PERSONA_SOURCE in stage.mix for stage in recipe.stages.values())
    inputs = _inputs(recipe, with_persona)
    step = run.data
    if (done := step.done(inputs)) is not None:
        return done
    step.begin()
    ledger: list[Note] = []
    gathered = [_gather(name, source, recipe, ledger) for name, source in recipe.data.sources.items() if source.enabled]
    _drop_duplicates(gathered, ledger)
    _cap_openings(gathered, recipe.data, recipe.seed, ledger)
    for one in gathered:
        if not one.missing and one.read != len(one.kept) + sum(one.dropped.values()):
            raise HearmeError(
                f"{one.name}: {one.read} records read, {len(one.kept)} kept, {dict(one.dropped)} dropped: some are unaccounted for"
            )
        if not one.kept and not one.missing:
            why = ", ".join(f"{r}: {n}" for r, n in one.dropped.most_common(3))
            raise DataError(
                f"expected dialogues to train on, found none ({why})",
                where=one.name,
                hint="check the source's path, format and kind",
            )
    splits, group_count = _divide(gathered, recipe, ledger)
    _speak(gathered, splits, ledger)
    if with_persona:
        pairs = list(persona.pairs(recipe.persona))
        keys = [content_key(d) for d in pairs]
        names = assign(
            keys, [d.meta["lang"] + d.meta["topic"] for d in pairs], list(range(len(pairs))), persona.SPLIT, recipe.seed
        )
        for name, pair in zip(names, pairs, strict=True):
            splits[name].append(pair)
        for name in LEARNT:
            splits[name] += persona.late(splits[name], recipe.seed)
    files = _write(step.path, recipe, gathered, splits, ledger, group_count)
    summary = {
        "splits": {name: len(splits[name]) for name in SPLITS},
        "persona_pairs": sum(d.source == PERSONA_SOURCE for s in splits.values() for d in s),
        "sources": {g.name: _counts(g) for g in gathered},
        "missing": [g.name for g in gathered if g.missing],
        "near_duplicate_groups": group_count,
        "ledger_lines": len(ledger),
    }
    return step.finish(inputs, summary, seed=recipe.seed, files=files)


def _inputs(recipe: Recipe, with_persona: bool) -> dict[str, str]:
    inputs = {"recipe": recipe.digest("data", "persona", "seed"), "version": __version__, "persona": str(with_persona)}
    if with_persona:
        file = persona.pairs_file(recipe.persona)
        inputs["persona"] = sha256_file(file) if file.is_file() else "missing"
    for name, source in recipe.data.sources.items():
        if source.enabled:
            missing = source.path and not Path(source.path).exists()
            inputs[f"source:{name}"] = "missing" if missing else sources.digest(source.path)
    return inputs


def _gather(name: str, source: Source, recipe: Recipe, ledger: list[Note]) -> Gathered:
    """Read, select, clean and scrub one source."""
    out = Gathered(name, source)
    if source.path and not Path(source.path).exists():
        if not source.optional:
            raise DataError(
                "expected the data of this source, found nothing",
                where=f"data.sources.{name}: {source.path}",
                hint="fetch it (`hearme data fetch`), correct the path, or set optional: true",
            )
        out.missing = True
        ledger.append(Note(source.path, "", "optional source is missing", "skipped", "", name))
        return out
    own = not source.path
    records = []
    for record in sources.read(source.path, source.format, source=name):
        if (
            source.only
            and record.dialogue is not None
            and record.dialogue.meta.get("kind", source.kind) not in source.only
        ):
            continue
        ledger.extend(Note(n.file, n.place, n.reason, n.action, n.detail, name) for n in record.notes)
        if record.dialogue is not None:
            records.append(record)
        elif lost := next((n for n in record.notes if n.action == "dropped"), None):
            out.drop(lost.reason)
    out.read = len(records) + sum(out.dropped.values())
    keys = [content_key(r.dialogue) for r in records if r.dialogue]
    chosen = set(sample(range(len(records)), keys, source.limit, recipe.seed))
    cleaner = Cleaner(recipe.persona, own=own, self_cognition=source.kind == "self-cognition")
    scrubber = (
        privacy.Scrubber(keep=(recipe.persona.name, recipe.persona.developer))
        if recipe.data.scrub and not own
        else None
    )
    for index, record in enumerate(records):
        dialogue = record.dialogue
        assert dialogue is not None
        if index not in chosen:
            _lose(out, ledger, record.file, record.place, f"not chosen: source limit of {source.limit}")
            continue
        if dialogue.meta.get("format") in EVALUATION_ONLY:
            _lose(out, ledger, record.file, record.place, "evaluation text without counsellor turns")
            continue
        cleaned = cleaner(dialogue)
        ledger.extend(cleaned.notes(record.file, record.place, name))
        out.changed.update({reason for _, reason, action, _ in cleaned.changes if action != "dropped"})
        if cleaned.dialogue is None:
            out.drop(cleaned.changes[-1][1])
            continue
        final = cleaned.dialogue
        if scrubber is not None:
            final, spans = scrubber.dialogue(final)
            if spans:
                types = Counter(s.type for s in spans)
                ledger.append(
                    Note(
                        record.file,
                        record.place,
                        "personal data",
                        "replaced",
                        ", ".join(f"{t} x{n}" for t, n in sorted(types.items())),
                        name,
                    )
                )
                out.changed["personal data"] += 1
        meta = {"kind": source.kind, **final.meta, "file": Path(record.file).name}
        out.kept.append(Dialogue(f"{name}/{final.id}", final.messages, name, meta))
    return out


def _lose(out: Gathered, ledger: list[Note], file: str, place: str, reason: str, detail: str = "") -> None:
    out.drop(reason)
    ledger.append(Note(file, place, reason, "dropped", detail, out.name))


def _drop_duplicates(gathered: list[Gathered], ledger: list[Note]) -> None:
    """Keep the first of each set of exact duplicates, within and across sources."""
    first: dict[str, str] = {}
    for one in gathered:
        kept = []
        for dialogue in one.kept:
            before = first.setdefault(content_key(dialogue), dialogue.id)
            if before == dialogue.id:
                kept.append(dialogue)
            else:
                _lose(one, ledger, dialogue.meta["file"], dialogue.id, "exact duplicate", f"of {before}")
        one.kept = kept


def _cap_openings(gathered: list[Gathered], data: Data, seed: int, ledger: list[Note]) -> None:
    """With `max_opening`, keep at most so many dialogues of a source that open with the same counsellor sentence."""
    if data.max_opening is None:
        return
    for one in gathered:
        seen: Counter[str] = Counter()
        lost = set()
        for dialogue in sorted(one.kept, key=lambda d: draw(seed, content_key(d))):
            seen[opening(dialogue)] += 1
            if seen[opening(dialogue)] > data.max_opening:
                lost.add(dialogue.id)
                _lose(one, ledger, dialogue.meta["file"], dialogue.id, "templated opening", opening(dialogue))
        one.kept = [d for d in one.kept if d.id not in lost]


def _divide(gathered: list[Gathered], recipe: Recipe, ledger: list[Note]) -> tuple[dict[str, list[Dialogue]], int]:
    """Split all sources together; returns the splits and the number of near-duplicate groups."""
    data = recipe.data
    dialogues = [d for one in gathered for d in one.kept]
    keys = [content_key(d) for d in dialogues]
    group = list(range(len(dialogues)))
    if data.near_duplicate:
        texts = [comparable(d) for d in dialogues]
        signatures = Signatures()
        for text in texts:
            signatures.add(text)
        pairs = near_pairs(signatures, data.near_duplicate, texts)
        group = groups(len(dialogues), pairs)
        for i, j, similarity in pairs:
            ledger.append(
                Note(
                    dialogues[j].meta["file"],
                    dialogues[j].id,
                    "near-duplicate, kept on one side of the split",
                    "read",
                    f"{similarity:.2f} like {dialogues[i].id}",
                    dialogues[j].source,
                )
            )
    names = assign(keys, [d.source for d in dialogues], group, data.split, recipe.seed)
    by_source = {one.name: one for one in gathered}
    splits: dict[str, list[Dialogue]] = {name: [] for name in SPLITS}
    for name in SPLITS:
        indices = [i for i, n in enumerate(names) if n == name]
        limit: int | None = getattr(data.limits, name)
        chosen = set(sample(indices, keys, limit, recipe.seed))
        for i in indices:
            if i in chosen:
                splits[name].append(dialogues[i])
            else:
                _lose(
                    by_source[dialogues[i].source],
                    ledger,
                    dialogues[i].meta["file"],
                    dialogues[i].id,
                    f"not chosen: data.limits.{name} of {limit}",
                )
    chosen_ids = {d.id for part in splits.values() for d in part}
    for one in gathered:
        one.kept = [d for d in one.kept if d.id in chosen_ids]
    sizes = Counter(group)
    return splits, sum(n > 1 for n in sizes.values())


def _speak(gathered: list[Gathered], splits: dict[str, list[Dialogue]], ledger: list[Note]) -> None:
    """What is learnt of talks: lists become running text, and the emoji manner is asked for in many wordings."""
    by_source = {one.name: one for one in gathered if one.source.kind != "knowledge"}
    for name in LEARNT:
        for place, dialogue in enumerate(splits[name]):
            one = by_source.get(dialogue.source)
            splits[name][place], changed = speak(identity.reworded(dialogue)) if one else (dialogue, 0)
            if one and changed:
                one.changed[LISTED] += 1
                ledger.append(
                    Note(dialogue.meta["file"], dialogue.id, LISTED, "replaced", f"{changed} turns", dialogue.source)
                )


def _counts(one: Gathered) -> dict[str, Any]:
    return {
        "kind": one.source.kind,
        "read": one.read,
        "kept": len(one.kept),
        "dropped": dict(one.dropped.most_common()),
        "changed": dict(one.changed.most_common()),
        **({"missing": True} if one.missing else {}),
    }


def _write(
    folder: Path,
    recipe: Recipe,
    gathered: list[Gathered],
    splits: dict[str, list[Dialogue]],
    ledger: list[Note],
    group_count: int,
) -> tuple[str, ...]:
    """Write everything; returns the paths relative to the step's folder."""
    files = []
    for name in SPLITS:
        write_jsonl(folder / f"{name}.jsonl", splits[name])
        files.append(f"{name}.jsonl")
    write_jsonl(folder / "ledger.jsonl", ledger)
    report: dict[str, Any] = {
        "sources": {},
        "splits": {},
        "missing": [g.name for g in gathered if g.missing],
        "near_duplicate_groups": group_count,
    }
    report["split"] = recipe.data.split.model_dump()
    report["licence"] = licences.ledger(
        (g.name, g.source.licence or (starter.LICENCE if not g.source.path else "")) for g in gathered
    )
    cutoff = min((stage.max_length for stage in recipe.stages.values()), default=1024)
    for one in gathered:
        tokens = length.token_lengths(one.kept, None, cutoff)
        values = tokens.pop("values")
        lengths = {**stats.lengths(one.kept), "tokens": tokens}
        report["sources"][one.name] = {
            **_counts(one),
            "path": one.source.path,
            "format": one.source.format,
            "licence": one.source.licence,
            **lengths,
            "length_conclusion": length.conclusion(lengths, cutoff),
            "openings": count_openings(one.kept).most_common(10),
        }
        if one.kept:
            figure = f"figures/lengths-{_safe(one.name)}.png"
            measures = {
                "characters": [stats.characters(d) for d in one.kept],
                "turns": [d.turns for d in one.kept],
                "tokens (estimate)": values,
            }
            figures.length_histograms(folder / figure, one.name, measures, cutoff)
            files.append(figure)
    for name in SPLITS:
        by_source = Counter(d.source for d in splits[name])
        report["splits"][name] = {
            "dialogues": len(splits[name]),
            "turns": sum(d.turns for d in splits[name]),
            "sources": dict(by_source),
        }
    share = recipe.data.split
    note = (
        share.reason
        or f"train {share.train:g} / valid {share.valid:g} / test {share.test:g}, by dialogue, stratified by source, seed {recipe.seed}"
    )
    figures.shares(folder / "figures/splits.png", ("数据划分", "splits"), {n: len(splits[n]) for n in SPLITS}, note)
    by_source = Counter(d.source for part in splits.values() for d in part)
    figures.shares(folder / "figures/sources.png", ("数据来源", "sources"), dict(by_source.most_common()))
    write_json(folder / "stats.json", report)
    return (*files, "ledger.jsonl", "stats.json", "figures/splits.png", "figures/sources.png")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
