"""Commands: chat and generate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .common import JsonFlag, print_json

if TYPE_CHECKING:
    from ..chat.guarded import GuardedModel
    from ..chat.model import ChatModel, Chunk
    from ..chat.sessions import KeptTalk
    from ..models.reference import ModelRef
    from ..recipe import Sampling
    from ..safety.policy import Policy
    from ..types import Message

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
    dry_multiplier: Annotated[
        float | None,
        typer.Option(min=0, help="Penalise what repeats the reply so far (DRY); default: the model's own."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    region: Annotated[
        str | None,
        typer.Option(help="Whose hotlines to show: CN, HK, TW, US …; /region changes it. Default: the policy's."),
    ] = None,
    lang: Annotated[str, typer.Option(help="Language of the tool's own words: zh or en.")] = "zh",
    policy: Annotated[
        Path | None, typer.Option(help="Policy file; `hearme guard policy --out FILE` writes one.")
    ] = None,
    sessions: Annotated[
        Path | None, typer.Option(help="Keep the talk in this file and go on with it next time; off by default.")
    ] = None,
    session: Annotated[str, typer.Option(help="Name of the talk in --sessions.")] = "terminal",
    session_key: Annotated[Path | None, typer.Option(help="File with the encryption key of --sessions.")] = None,
    guard: Annotated[bool, typer.Option("--guard/--no-guard", help="The safety guard around the model.")] = True,
) -> None:
    """Talk in the terminal. `clear` forgets, `stop` ends, `/help` lists the rest."""
    from ..chat.notices import Clock
    from ..chat.open import open_model
    from ..chat.terminal import TerminalChat
    from ..models.reference import resolve
    from ..recipe import Sampling
    from ..safety.hotlines import check_region, warning
    from ..safety.policy import may_open
    from .screen import Screen, agree

    words: Literal["zh", "en"] = "en" if lang == "en" else "zh"
    ref = resolve(model)
    rules = may_open("127.0.0.1", policy)
    rules = rules.model_copy(
        update={
            "region": check_region(region or rules.region),  # an unknown one is refused before the model is loaded
            "store_sessions": sessions is not None,
            "remote_model": ref.kind == "remote" and not _is_here(ref.source),
        }
    )
    screen = Screen(words)
    with _kept(sessions, session, session_key, rules) as kept:
        if kept:
            rules = rules.model_copy(update={"retention_days": kept.store.retention_days})
            chosen = (kept.state() or {}).get("region")
            if chosen and region is None:
                rules = rules.model_copy(update={"region": check_region(chosen)})
        if not agree(screen, rules.first_use(words), words):
            raise typer.Exit(1)
        inner = open_model(ref)
        guarded = _Guarding(inner, rules, words, kept) if guard and rules.crisis_protocol else None
        clock = Clock()  # an AI speaks, guarded or not
        beside: Callable[[ChatModel], ChatModel] = guarded.beside if guarded else lambda base: base
        talk = TerminalChat(
            model=guarded.model if guarded else inner,
            write=screen.write,
            sampling=Sampling(
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                repetition_penalty=repetition_penalty,
                dry_multiplier=dry_multiplier,
                max_new_tokens=max_new_tokens,
                seed=seed,
            ),
            system=system,
            lang=words,
            open_base=(lambda: beside(open_model(_base_of(ref.source, ref.template)))) if ref.adapter else None,
            set_region=guarded.set_region if guarded else None,
            notice=guarded.notice if guarded else lambda text: "\n".join(clock.due(rules, text, words)),
            paint=screen.paint,
            board=screen.board if screen.colours else None,
            keeper=guarded or kept,
            history=list(kept.messages()) if kept else [],
        )
        for line in warning(rules.region, words):
            screen.write(screen.paint(line) + "\n")
        if screen.interactive:
            screen.write(screen.paint(_welcome(inner.name, words, guarded is not None, len(talk.history))) + "\n")
        try:
            talk.run(screen.lines(lambda: talk.draft))
        except KeyboardInterrupt:
            screen.write("\n")


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


class _Guarding:
    """The guard around the terminal's model: notices, region, incident log, and its state beside the kept talk."""

    def __init__(self, inner: ChatModel, rules: Policy, lang: Literal["zh", "en"], kept: KeptTalk | None) -> None:
        from ..chat.guarded import GuardedModel, GuardEvent
        from ..chat.notices import Clock
        from ..safety.guard import guard
        from ..safety.incidents import IncidentLog

        self._rules, self._lang, self._kept = rules, lang, kept
        saved = (kept.state() if kept else None) or {}
        self._clock = Clock.from_json(saved.get("clock"))
        self._session = guard().session(saved or None)
        incidents = IncidentLog.of(rules)

        def incident(event: GuardEvent) -> None:
            incidents.record(event.turn)

        self.model = GuardedModel(inner, rules.region, self._session, incident, policy=rules)

    def beside(self, base: ChatModel) -> ChatModel:
        """`base` behind the same guard; it sees the talk's state and region and changes neither."""
        return _Beside(base, self.model)

    def set_region(self, code: str) -> str:
        """Take another region's hotlines; returns them as lines."""
        from ..safety.hotlines import check_region, get, warning

        self.model.region = check_region(code)
        self._rules = self._rules.model_copy(update={"region": self.model.region})
        rows = [row.text(self._lang) for row in get(self.model.region)]
        return "\n".join([*rows, *warning(self.model.region, self._lang)])

    def notice(self, text: str) -> str:
        """What the policy wants to be shown before the reply to `text`."""
        crisis = self._session.worst.crisis or self._session.guard.assess([text]).crisis
        return "\n".join(self._clock.due(self._rules, text, self._lang, crisis=crisis))

    def add(self, message: Message) -> None:
        """Keep a message together with the guard's state and the clock."""
        if self._kept:
            state = {**self._session.to_json(), "clock": self._clock.to_json(), "region": self.model.region}
            self._kept.add(message, state)

    def trim(self, keep: int) -> None:
        """Forget all but the first messages; what the guard has heard stays heard."""
        if self._kept:
            self._kept.trim(keep)


class _Beside:
    """A model that answers beside a guarded one, with a copy of its guard's state."""

    def __init__(self, base: ChatModel, guarded: GuardedModel) -> None:
        self._base, self._guarded, self.name = base, guarded, base.name

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        from ..chat.guarded import GuardedModel
        from ..safety.guard import guard

        session = self._guarded.session
        copy = guard().session(session.to_json()) if session else None
        beside = GuardedModel(self._base, self._guarded.region, copy, policy=self._guarded.policy)
        return beside.stream(messages, sampling)


@contextmanager
def _kept(path: Path | None, name: str, key: Path | None, rules: Policy) -> Iterator[KeptTalk | None]:
    if path is None:
        yield None
        return
    from ..chat.sessions import KeptTalk, SessionStore, read_key

    cipher = read_key(key) if key else None
    with SessionStore(path, key=cipher, retention_days=rules.retention, at_first=rules.retention_days) as store:
        yield KeptTalk(store, name)


def _is_here(url: str) -> bool:
    from urllib.parse import urlsplit

    from ..safety.policy import is_loopback

    return is_loopback(urlsplit(url).hostname or "")


def _base_of(source: str, template: str) -> ModelRef:
    from ..models.reference import ModelRef

    return ModelRef("hf", "base", source, None, template)


def _welcome(name: str, lang: str, guard: bool, kept: int) -> str:
    off = {"zh": "（安全守护已关闭，仅供研究）", "en": "(the safety guard is off: for research only)"}
    again = {"zh": f"（接着上次的对话，共{kept}条）", "en": f"(going on with the kept talk, {kept} messages)"}
    hint = {"zh": "/help 查看命令，stop 结束。", "en": "/help lists the commands, stop ends."}
    return "\n".join([name, *([] if guard else [off[lang]]), *([again[lang]] if kept else []), hint[lang]])
