"""What quantising costs: size, memory, speed and quality of several forms of one model, side by side.

Each model is measured in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..chat.model import ChatModel, complete
from ..chat.open import open_model
from ..errors import ModelError
from ..models.load import base_dir
from ..models.reference import resolve
from ..recipe import Persona, Sampling
from ..types import Message, messages_from_json
from .crisis import load_cases, run_crisis_suite
from .items import draw_items, read_dialogues
from .overlap import averages, score_pairs
from .persona import score_replies
from .suites import load_suite

HISTORY_TOKENS = 300
SPEED_TOKENS = 128
COLUMNS = (
    "model", "size_mb", "memory_mb", "load_s", "first_token_cold_s", "first_token_warm_s", "tokens_per_s", "n_texts", "bleu-4", "rouge-l",
    "persona", "crisis",
)  # fmt: skip
_CLIENT = "我最近总是睡不好，心里空落落的，不知道该跟谁说，白天也没有精神。"
_COUNSELLOR = "听起来这段时间你很辛苦。愿意多说一点，是从什么时候开始的吗？"


def bench(
    refs: Sequence[str],
    *,
    test_file: Path | None = None,
    texts: int = 20,
    suite: int = 40,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Measure every model of `refs` (RUN|MODEL), one after the other.

    Args:
        test_file: dialogues whose last counsellor turns are answered for BLEU-4 and ROUGE-L; none: left out.
        texts: how many of them.
        suite: how many rows of the persona suite and of the crisis suite are asked (evenly spread); 0 leaves both out.
        on_row: called with each row as soon as it is made.

    Returns:
        One row a model with the keys of `COLUMNS`; None where it was left out.

    Raises:
        ModelError: a model that cannot be loaded.
    """
    rows = []
    for ref in refs:
        job = {"ref": ref, "test_file": str(test_file) if test_file else None, "texts": texts, "suite": suite}
        child = subprocess.run(
            [sys.executable, "-m", "hearmeglm.evals.bench", json.dumps(job)], stdout=subprocess.PIPE, text=True
        )
        if child.returncode:
            raise ModelError(
                f"measuring failed with exit code {child.returncode}", where=ref, hint="see the lines above"
            )
        rows.append(json.loads(child.stdout.splitlines()[-1]))
        on_row(rows[-1])
    return rows


def measure(ref: str, test_file: str | None, texts: int, suite: int) -> dict[str, Any]:
    """One row; run in a process of its own."""
    start = time.perf_counter()
    model: Any = open_model(ref)
    complete(model, [Message("user", "你好")], Sampling(max_new_tokens=1))
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"model": model.name, "size_mb": size_of(ref) / 1e6, "load_s": time.perf_counter() - start}
    row |= speed(model)
    row["memory_mb"] = _peak_bytes() / 1e6
    if test_file:
        items = draw_items(read_dialogues(Path(test_file)), "last", texts, 0)
        said = _ask(model, [i.messages for i in items], 128)
        scores = averages(score_pairs((p, i.reference) for p, i in zip(said, items, strict=True)))
        row |= {"n_texts": len(items), "bleu-4": scores["bleu-4"], "rouge-l": scores["rouge-l"]}
    if suite:
        persona = Persona()
        whole = load_suite("persona", persona)
        some = type(whole)(whole.name, whole.digest, whole.rows[:: max(1, len(whole.rows) // suite)])
        replies = _ask(model, [messages_from_json(r["messages"]) for r in some.rows], 64)
        judged = score_replies(some, replies, persona)
        row["persona"] = f"{judged['passed']}/{judged['n']}"
        cases = load_cases()
        crisis = run_crisis_suite(model, cases[:: max(1, len(cases) // suite)]).all_passed
        row["crisis"] = f"{crisis['hits']}/{crisis['n']}"
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}


def speed(model: Any) -> dict[str, float]:
    """First token after a history of `HISTORY_TOKENS` tokens, cold and with that history in the cache; tokens a second."""
    talk = [Message("user", _CLIENT)]
    while len(model.template.encode_prompt(talk, model.tokenizer)) < HISTORY_TOKENS:
        talk += [Message("assistant", _COUNSELLOR), Message("user", _CLIENT)]
    one = Sampling(max_new_tokens=1)
    cold = complete(model, talk, one)
    again = [*talk, Message("assistant", _COUNSELLOR), Message("user", "嗯，大概一个月了。")]
    complete(model, [*again[:-1], Message("user", "好。")], one)  # the reply before is in the cache, as in a talk
    warm = complete(model, again, one)
    tokens, seconds, seed = 0, 0.0, 0
    while tokens < SPEED_TOKENS and seed < 32:
        long = Sampling(max_new_tokens=SPEED_TOKENS, temperature=1.0, seed=seed)
        reply = complete(model, talk[:1], long)
        tokens += max(0, reply.tokens - 1)
        seconds += reply.total_s - reply.first_token_s
        seed += 1
    return {
        "first_token_cold_s": cold.total_s,
        "first_token_warm_s": warm.total_s,
        "tokens_per_s": tokens / seconds if seconds else 0.0,
    }


def size_of(ref: str) -> int:
    """Bytes of the weights that have to be shipped: the GGUF file, or base and adapter."""
    found = resolve(ref)
    if found.kind == "gguf":
        return Path(found.source).stat().st_size
    if found.kind != "hf":
        return 0
    folders = [base_dir(found.source), *([found.adapter] if found.adapter else [])]
    return sum(p.stat().st_size for f in folders for s in ("*.safetensors", "*.bin") for p in f.glob(s))


def _ask(model: ChatModel, talks: Sequence[Sequence[Message]], tokens: int) -> list[str]:
    sampling = Sampling(max_new_tokens=tokens)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda t: complete(model, t, sampling).text, talks))


def _peak_bytes() -> int:
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
