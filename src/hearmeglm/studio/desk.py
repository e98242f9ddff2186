"""What every tab is given, and how a tab turns errors of the package into something a person can read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import HearmeError
from ..recipe import Recipe
from ..run import RunDir
from . import form, jobs, markup
from .models import Models
from .store import Store
from .words import Words


@dataclass(frozen=True)
class Desk:
    """The studio in one language.

    Attributes:
        words: its string table.
        store: the runs.
        models: loaded chat models, shared by both languages.
    """

    words: Words
    store: Store
    models: Models

    def run(self, name: str | None) -> RunDir | None:
        """The chosen run, or None where none is chosen or it is gone."""
        try:
            return self.store.open(name)
        except HearmeError:
            return None

    def safe(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn` with errors of this package shown as a message that stays until it is closed."""
        import gradio as gr

        def told(err: HearmeError) -> Any:
            title, what, where, hint = self.words.error(err)
            text = " ".join(
                t
                for t in (
                    what,
                    where and self.words("error.where", where=where),
                    hint and self.words("error.hint", hint=hint),
                )
                if t
            )
            return gr.Error(text, duration=None, title=title, print_exception=False)

        if inspect.isgeneratorfunction(fn):

            @functools.wraps(fn)
            def flow(*args: Any) -> Iterator[Any]:
                try:
                    yield from fn(*args)
                except HearmeError as err:
                    raise told(err) from None

            return flow

        @functools.wraps(fn)
        def call(*args: Any) -> Any:
            try:
                return fn(*args)
            except HearmeError as err:
                raise told(err) from None

        return call

    def start(self, name: str | None, step: str, *argv: str) -> str:
        """Start `hearme ARGV` as a job of a run; returns the notice to show."""
        job = jobs.start(self.store.open(name).path, step, argv)
        return markup.notice(self.words("job.started"), "good", job.command)

    def confirmed(self, key: str, inputs: int) -> str:
        """JavaScript that asks before a destructive step and passes the answer on as the first input."""
        import json

        names = ", ".join(f"x{i}" for i in range(inputs))
        rest = f", {names}" if names else ""
        return f"(ok{rest}) => [window.confirm({json.dumps(self.words(key))}){rest}]"


@dataclass
class Sheet:
    """A form for some fields of the recipe, saved to the run's recipe file as soon as a control is left."""

    desk: Desk
    fields: list[form.Field] = field(default_factory=list)
    controls: list[Any] = field(default_factory=list)

    def add(self, paths: Sequence[str], known: Mapping[str, form.Field] | None = None) -> None:
        """Place controls for these fields here."""
        table = known or form.by_path(Recipe)
        for path in paths:
            self.fields.append(table[path])
            self.controls.append(table[path].control(self.desk.words))

    def show(self, recipe: Recipe | None, name: str = "") -> list[Any]:
        """Values for the controls; empty ones without a recipe, or where the stage of that name is gone."""
        out = []
        for one in self.fields:
            try:
                out.append(one.shown(form.value_at(recipe, one.key(name))) if recipe else None)
            except (KeyError, AttributeError):
                out.append(None)
        return out

    def read(self, raw: Sequence[Any], name: str = "") -> dict[str, Any]:
        """What the controls say, by the recipe's keys."""
        return {f.key(name): f.read(v) for f, v in zip(self.fields, raw, strict=True)}

    def save(self, run: str | None, name: str, raw: Sequence[Any]) -> bool:
        """Write what differs into the run's recipe; returns whether anything did."""
        if not run or (not name and any("*" in f.path for f in self.fields)):
            return False
        return self.desk.store.edit(run, self.read(raw, name))

    def on_edit(self, run: Any, name: Any, then: Any, outputs: Sequence[Any]) -> None:
        """Save when a control is left or chosen; `then(run)` fills `outputs` (say, the recipe's text)."""
        import gradio as gr

        def edited(run_name: str | None, part: str, *raw: Any) -> Any:
            if not self.save(run_name, part or "", raw):
                return [gr.skip() for _ in outputs]
            return then(run_name)

        triggers = [e for f, c in zip(self.fields, self.controls, strict=True) for e in _events(f, c)]
        gr.on(triggers, self.desk.safe(edited), [run, name, *self.controls], list(outputs), show_progress="hidden")


def _events(field: form.Field, control: Any) -> list[Any]:
    return [control.input] if field.kind in ("bool", "choice") else [control.blur, control.submit]
