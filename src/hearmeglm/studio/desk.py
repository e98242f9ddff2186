"""What every tab is given, and how a tab turns errors of the package into something a person can read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

    def fade(self, pulse: Any, *notes: Any) -> None:
        """Let the notes of what was started go when the job has ended."""
        import gradio as gr

        def ended(mark: str) -> Any:
            left = gr.skip() if mark.endswith("|running") else ""
            return [left] * len(notes) if len(notes) > 1 else left

        pulse.change(ended, [pulse], list(notes), show_progress="hidden")

    def confirmed(self, key: str, inputs: int) -> str:
        """JavaScript that asks before a destructive step and passes the answer on as the first input."""
        import json

        names = ", ".join(f"x{i}" for i in range(inputs))
        rest = f", {names}" if names else ""
        return f"(ok{rest}) => [window.confirm({json.dumps(self.words(key))}){rest}]"


class Sheet:
    """A form for some fields of the recipe, saved to the run's recipe file as soon as a control is left.

    Attributes:
        fields: what it asks for.
        controls: a control for each field, and a state with the run and stage that the controls show: when another run has been
            chosen and its values are still on their way, nothing is saved.
    """

    def __init__(self, desk: Desk) -> None:
        import gradio as gr

        self.desk = desk
        self.fields: list[form.Field] = []
        self._of = gr.State("")
        self._controls: list[Any] = []

    @property
    def controls(self) -> list[Any]:
        """Inputs for `save`, outputs of `show`."""
        return [*self._controls, self._of]

    def add(self, paths: Sequence[str], known: Mapping[str, form.Field] | None = None) -> None:
        """Place controls for these fields here."""
        table = known or form.by_path(Recipe)
        for path in paths:
            self.fields.append(table[path])
            self._controls.append(table[path].control(self.desk.words))

    def show(self, run: RunDir | None, stage: str = "") -> list[Any]:
        """Values for the controls; empty ones without a run, or where the stage of that name is gone."""
        recipe = run.recipe if run else None
        out: list[Any] = []
        for one in self.fields:
            try:
                out.append(one.shown(form.value_at(recipe, one.key(stage))) if recipe else None)
            except (KeyError, AttributeError):
                out.append(None)
        return [*out, _mark(run.path.name, stage) if run else ""]

    def save(self, run: str | None, stage: str, raw: Sequence[Any]) -> bool:
        """Write what differs into the run's recipe; returns whether anything did."""
        *values, of = raw
        if not run or of != _mark(run, stage):
            return False
        changes = {f.key(stage): f.read(v) for f, v in zip(self.fields, values, strict=True)}
        return self.desk.store.edit(run, changes)

    def on_edit(self, run: Any, stage: Any, then: Any, outputs: Sequence[Any]) -> None:
        """Save when a control is left or chosen; `then(run)` fills `outputs` (say, the recipe's text)."""
        import gradio as gr

        def edited(run_name: str | None, part: str, *raw: Any) -> Any:
            if not self.save(run_name, part or "", raw):
                return [gr.skip() for _ in outputs]
            return then(run_name)

        triggers = [e for f, c in zip(self.fields, self._controls, strict=True) for e in _events(f, c)]
        gr.on(triggers, self.desk.safe(edited), [run, stage, *self.controls], list(outputs), show_progress="hidden")


def _mark(run: str, stage: str) -> str:
    return f"{run}/{stage}"


def _events(field: form.Field, control: Any) -> list[Any]:
    return [control.input] if field.kind in ("bool", "choice") else [control.blur, control.submit]
