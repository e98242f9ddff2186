"""Forms from the recipe's schema: limits, choices and defaults come from the pydantic fields, and nowhere else."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..errors import RecipeError

if TYPE_CHECKING:
    from .words import Words

Kind = Literal["int", "float", "bool", "choice", "text", "yaml"]


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        path: where it is in a recipe; `*` stands for the name of a stage or source.
        kind: which control it gets; `yaml` for lists and mappings, written on one line.
        low, high: limits; None where there is none. `open_low`: the lower limit itself is not allowed.
        optional: an empty control means None.
    """

    path: str
    kind: Kind
    description: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    optional: bool = False

    def key(self, name: str = "") -> str:
        """The path with `*` filled in."""
        return self.path.replace("*", name)

    def control(self, words: Words, value: Any = None) -> Any:
        """A Gradio component, labelled and explained in the language of `words`."""
        import gradio as gr

        label, info = words.field(self)
        common = {"label": label, "info": info, "value": self.shown(value), "elem_classes": ["field"]}
        if self.kind == "bool":
            return gr.Checkbox(**common)
        if self.kind == "choice":
            return gr.Dropdown(choices=list(self.choices), **common)
        if self.kind in ("int", "float"):
            # An open limit is left to the recipe's own check, which says what is wrong.
            low = None if self.open_low and self.kind == "float" else self.low
            return gr.Number(minimum=low, maximum=self.high, precision=0 if self.kind == "int" else None, **common)
        return gr.Textbox(lines=1, max_lines=6, **common)

    def shown(self, value: Any) -> Any:
        """A recipe's value as the control shows it."""
        if self.kind == "yaml" and value is not None:
            return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip()
        if self.kind == "text":
            return "" if value is None else str(value)
        return value

    def read(self, raw: Any) -> Any:
        """The recipe's value of what a control holds.

        Raises:
            RecipeError: a list or mapping that is not YAML.
        """
        if raw is None or (raw == "" and self.optional):
            return None
        if self.kind == "int":
            return int(raw)
        if self.kind == "yaml":
            try:
                return yaml.safe_load(raw)
            except yaml.YAMLError:
                raise RecipeError(
                    f"expected YAML such as {{persona: 1}} or [a, b], found {raw!r}", where=self.path
                ) from None
        return raw


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[Field]:
    """Every setting of a pydantic model, sections opened up, named tables of sections under `*`."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        kind, optional, extra = _unwrap(info.annotation, list(info.metadata))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{path}.")
        elif get_origin(kind) is dict and _is_model(get_args(kind)[1]):
            yield from fields(get_args(kind)[1], f"{path}.*.")
        else:
            yield _field(path, kind, optional, extra, info)


def by_path(model: type[BaseModel]) -> Mapping[str, Field]:
    """`fields` by their paths."""
    return {f.path: f for f in fields(model)}


def value_at(recipe: BaseModel, path: str) -> Any:
    """The value that a recipe has at `a.b.c`; names of stages and sources are keys."""
    node: Any = recipe
    for part in path.split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node


def _field(path: str, kind: Any, optional: bool, extra: list[Any], info: FieldInfo) -> Field:
    low = high = None
    open_low = False
    for m in [*extra, *info.metadata]:
        if (value := getattr(m, "gt", None)) is not None:
            low, open_low = (value + 1, False) if kind is int else (value, True)
        if (value := getattr(m, "ge", None)) is not None:
            low = value
        if (value := getattr(m, "le", None)) is not None:
            high = value
    choices: tuple[str, ...] = ()
    what: Kind
    if get_origin(kind) is Literal:
        what, choices = "choice", tuple(str(c) for c in get_args(kind))
    else:
        simple: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
        what = simple.get(kind, "yaml")
    return Field(path, what, info.description or "", choices, low, high, open_low, optional)


def _unwrap(kind: Any, extra: list[Any]) -> tuple[Any, bool, list[Any]]:
    """Annotated[...] and `| None` taken off: the bare type, whether None is allowed, the limits found on the way."""
    optional = False
    while True:
        if get_origin(kind) is Annotated:
            kind, *more = get_args(kind)
            for m in more:
                extra += list(m.metadata) if isinstance(m, FieldInfo) else [m]
        elif get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind):
            rest = [a for a in get_args(kind) if a is not type(None)]
            optional = True
            if len(rest) != 1:
                return kind, True, extra
            kind = rest[0]
        else:
            return kind, optional, extra


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
