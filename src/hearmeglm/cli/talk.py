"""Commands: chat and generate."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import JsonFlag, print_json

if TYPE_CHECKING:
    from ..recipe import Sampling

ModelArg = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN|MODEL]",
        help="A shipped name, a run (RUN:base, RUN:stage1 …), a model directory, a .gguf file, http://host/v1#model, or a hub id. Default: Jerry.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(chat)
    app.command()(generate)


def chat(
    model: ModelArg = None,
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    temperature: Annotated[float, typer.Option(min=0, max=5, help="0: greedy; 0.95 as the original's episodes.")] = 0.7,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Keep the smallest set of tokens that reaches this probability.")
    ] = 0.9,
    top_k: Annotated[int, typer.Option(min=0, help="Keep the k likeliest tokens; 0: all.")] = 0,
    repetition_penalty: Annotated[float, typer.Option(min=0.01, help="Above 1: avoid repeating.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    region: Annotated[str, typer.Option(help="Whose hotlines to show: CN, HK, TW, US …; /region changes it.")] = "CN",
    lang: Annotated[str, typer.Option(help="Language of the tool's own words: zh or en.")] = "zh",
    guard: Annotated[bool, typer.Option("--guard/--no-guard", help="The safety guard around the model.")] = True,
) -> None:
    """Talk in the terminal. `clear` forgets, `stop` ends, `/help` lists the rest."""
    from ..chat.guarded import GuardedModel
    from ..chat.model import ChatModel
    from ..chat.open import open_model
    from ..chat.terminal import TerminalChat
    from ..models.reference import resolve
    from ..safety import hotlines

    ref = resolve(model)
    hotlines.get(region)  # an unknown region is refused before the model is loaded
    inner: ChatModel = open_model(ref)
    guarded = GuardedModel(inner, region=region) if guard else None

    def set_region(code: str) -> str:
        rows = hotlines.get(code.upper())
        if guarded:
            guarded.set_region(code.upper())
        return "\n".join(row.text("zh" if lang == "zh" else "en") for row in rows)

    talk = TerminalChat(
        model=guarded or inner,
        write=_write,
        sampling=_sampling(temperature, top_p, top_k, repetition_penalty, max_new_tokens, seed),
        system=system,
        lang=lang,
        open_base=(lambda: open_model(_base_of(ref.source, ref.template))) if ref.adapter else None,
        set_region=set_region,
    )
    interactive = sys.stdin.isatty()
    if interactive:
        _write(_welcome(inner.name, lang, guard))
    try:
        talk.run(_lines(interactive), (lambda: None))
    except KeyboardInterrupt:
        _write("\n")


def generate(
    model: Annotated[str, typer.Option(help="RUN|MODEL; see `hearme chat --help`.")],
    infile: Annotated[Path, typer.Option("--in", help='JSONL with {"id", "turns": [user messages]}.')],
    out: Annotated[Path, typer.Option("--out", help='JSONL with {"id", "answer", "answers"}.')],
    guard: Annotated[
        bool, typer.Option("--guard", help="Put the safety guard around the model (default: the bare model).")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 256,
    json_out: JsonFlag = False,
) -> None:
    """Batch answers: every turn of a talk is answered in order, greedy, no system prompt; the last is the `answer`."""
    from ..chat.batch import answer_file
    from ..chat.open import open_model

    chat_model = open_model(model)
    if guard:
        from ..chat.guarded import GuardedModel

        done = answer_file(lambda: GuardedModel(chat_model), infile, out, max_new_tokens)
    else:
        done = answer_file(lambda: chat_model, infile, out, max_new_tokens)
    if json_out:
        print_json({"model": chat_model.name, "answered": done, "out": str(out)})
    else:
        print(f"{done} talks answered by {chat_model.name} -> {out}")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _lines(interactive: bool) -> Iterator[str]:
    if not interactive:
        yield from sys.stdin
        return
    try:
        import readline  # noqa: F401  # line editing and history, where the platform has it
    except ImportError:
        pass
    while True:
        try:
            yield input("\n> ")
        except EOFError:
            return


def _sampling(temperature: float, top_p: float, top_k: int, penalty: float, tokens: int, seed: int) -> Sampling:
    from ..recipe import Sampling

    return Sampling(
        temperature=temperature, top_p=top_p, top_k=top_k, repetition_penalty=penalty, max_new_tokens=tokens, seed=seed
    )


def _base_of(source: str, template: str):  # type: ignore[no-untyped-def]  # ModelRef, imported late
    from ..models.reference import ModelRef

    return ModelRef("hf", "base", source, None, template)


def _welcome(name: str, lang: str, guard: bool) -> str:
    from ..safety.policy import notice

    off = {"zh": "（安全守护已关闭，仅供研究）\n", "en": "(the safety guard is off: for research only)\n"}
    hint = {"zh": "/help 查看命令，stop 结束。\n", "en": "/help lists the commands, stop ends.\n"}
    return f"{name}\n{notice(lang)}\n" + ("" if guard else off[lang]) + hint[lang]
