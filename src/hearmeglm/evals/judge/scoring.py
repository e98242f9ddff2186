"""Judge every reply by every judge: concurrent, resumable, every item scored or unscored with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...files import write_jsonl
from ...types import Score
from .client import CallFailed, JudgeClient, OutOfBudget
from .rubric import mode, ranges, score_prompt
from .sources import Judged
from .verdict import PARSERS, Unreadable

READINGS = 3
"""How often an unreadable verdict is asked for before the item is unscored."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge said about one reply, once.

    Attributes:
        scores: criterion -> points; None if unscored.
        reason: why it is unscored.
        raw: the judge's last answer, whole.
        length: characters of the reply, for the length check.
    """

    id: str
    dialogue_id: str
    model: str
    judge: str
    sample: int
    scores: dict[str, float] | None
    reason: str
    raw: str
    length: int
    group: str = ""


def read_verdict(
    client: JudgeClient,
    messages: list[dict[str, str]],
    parse: Callable[[str], T],
    again: str,
    *,
    temperature: float,
    sample: int,
) -> tuple[T | None, str, str]:
    """Ask until the answer can be read: (verdict or None, reason, raw answer)."""
    asked, text, fault = messages, "", ""
    try:
        for _ in range(READINGS):
            text = client.ask(asked, temperature=temperature, sample=sample)
            try:
                return parse(text), "", text
            except Unreadable as err:
                fault = str(err)
                asked = [
                    *messages,
                    {"role": "assistant", "content": text},
                    {"role": "user", "content": again.replace("{fault}", fault)},
                ]
    except (CallFailed, OutOfBudget) as err:
        return None, str(err), text
    return None, f"unreadable after {READINGS} readings: {fault}", text


def judge_items(
    clients: Sequence[JudgeClient],
    items: Sequence[Judged],
    *,
    mode_name: str = "cpsycoun",
    samples: int = 1,
    temperature: float = 0.0,
    workers: int = 8,
    on_verdict: Callable[[], None] = lambda: None,
) -> list[Verdict]:
    """A Verdict for every (judge, sample, item), in that order; unscored ones among them.

    Raises:
        UserError: a server refuses the requests themselves (key, model name); nothing answered so far is lost.
    """
    texts = mode(mode_name)
    parse = PARSERS[mode_name]
    work = [(c, s, i) for c in clients for s in range(samples) for i in items]

    def one(job: tuple[JudgeClient, int, Judged]) -> Verdict:
        client, sample, item = job
        prompt = score_prompt(mode_name, item.history, item.reply)
        scores, reason, raw = read_verdict(
            client, prompt, parse, texts["again"], temperature=temperature, sample=sample
        )
        on_verdict()
        return Verdict(
            item.id,
            item.dialogue_id,
            item.model,
            client.model,
            sample,
            scores,
            reason,
            raw,
            len(item.reply),
            item.group,
        )

    return in_parallel(one, work, workers)


def in_parallel(do: Callable[[Any], T], work: Sequence[Any], workers: int) -> list[T]:
    """Results in the order of `work`; the first exception cancels what has not begun."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        futures = [pool.submit(do, job) for job in work]
        out = [f.result() for f in futures]
        pool.shutdown()
        return out
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def scores_of(verdicts: Iterable[Verdict], mode_name: str) -> list[Score]:
    """Score rows, one per item, model and criterion: the mean over judges and samples that gave a number, else unscored."""
    cells: dict[tuple[str, str], list[Verdict]] = {}
    for v in verdicts:
        cells.setdefault((v.id, v.model), []).append(v)
    prefix = "judge" if mode_name == "cpsycoun" else f"judge-{mode_name}"
    out = []
    for (item, model), found in cells.items():
        known = [v.scores for v in found if v.scores is not None]
        for criterion in ranges():
            value = sum(s[criterion] for s in known) / len(known) if known else None
            reason = "" if known else found[0].reason
            out.append(Score(item, model, f"{prefix}:{criterion}", value, reason))
    return out


def write_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Every verdict with its raw text, atomically."""
    write_jsonl(path, (asdict(v) for v in verdicts))


def estimate(
    clients: Sequence[JudgeClient], items: Sequence[Judged], mode_name: str, samples: int, temperature: float
) -> dict[str, int]:
    """Cost told first: calls still to make, calls answered from the cache, and tokens (about one per 1.6 characters, answers 60 or 250)."""
    calls = cached = tokens = 0
    for item in items:
        prompt = score_prompt(mode_name, item.history, item.reply)
        size = int(sum(len(m["content"]) for m in prompt) / 1.6) + (250 if mode_name == "strict" else 60)
        for client in clients:
            for sample in range(samples):
                if client.cached(prompt, temperature=temperature, sample=sample):
                    cached += 1
                else:
                    calls, tokens = calls + 1, tokens + size
    return {"calls": calls, "cached": cached, "tokens": tokens}
